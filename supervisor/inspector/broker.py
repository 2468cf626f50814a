"""Ask the cluster what a group will meet when it starts: broker, topics, permissions, the live group."""

import time
from dataclasses import dataclass, field
from typing import Any

from supervisor.core.jsonable import from_json, to_json
from supervisor.core.retry_topics import retry_topics
from supervisor.core.spec import GroupSpec
from supervisor.core.suggest import did_you_mean
from supervisor.inspector.connecting import remedy
from supervisor.inspector.findings import (
    Finding,
    Level,
    check_dead_letters,
    check_group,
    check_topics,
    check_workers,
    dead_letter_topics,
    read_topics,
    unseen_group,
)
from supervisor.inspector.retry_findings import check_retry_topics
from supervisor.kafka.admin import Admin, AdminError, TopicState

TIMEOUT = 10.0
CLIENT_ID = "supervisor-check"


@dataclass(slots=True)
class _Cluster:
    """A cluster as one user sees it; groups with the same settings share it."""

    admin: Admin | None = None
    partitions: dict[str, int] = field(default_factory=dict)
    creates: bool | None = None
    may_create: bool | None = None
    problem: str = ""


def inspect_broker(request: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ``{"findings": [{"level", "group", "text", "help"}]}``.

    ``request``: one ``GroupSpec`` per group, each with an additional member ``workers`` (its number of
    workers on this host). Blocks for at most ``TIMEOUT`` seconds per step and cluster.
    """
    clusters: dict[str, _Cluster] = {}
    findings: list[Finding] = []
    for item in request:
        spec = from_json(GroupSpec, item)
        key = repr(sorted(spec.kafka.items()))
        if key not in clusters:
            clusters[key] = _look(spec)
        cluster = clusters[key]
        if cluster.admin is None:
            findings.append(Finding(Level.ERROR, spec.name, cluster.problem, remedy(cluster.problem, spec.kafka)))
            continue
        findings += _group(spec, int(item.get("workers") or 0), cluster, cluster.admin)
    return {"findings": [to_json(finding) for finding in findings]}


def _look(spec: GroupSpec) -> _Cluster:
    where = spec.kafka.get("bootstrap.servers", "(no bootstrap.servers)")
    began = time.monotonic()
    try:
        admin = Admin(spec.kafka, client_id=CLIENT_ID)
        partitions = admin.partitions(TIMEOUT)
    except AdminError as error:
        tried = time.monotonic() - began
        return _Cluster(problem=f"no answer from {where} within {tried:.1f} s: {error}")
    return _Cluster(admin, partitions, admin.creates_topics(TIMEOUT), admin.may_create_topics(TIMEOUT))


def _group(spec: GroupSpec, workers: int, cluster: _Cluster, admin: Admin) -> list[Finding]:
    where = spec.kafka.get("bootstrap.servers", "")
    findings = [Finding(Level.OK, spec.name, f"broker {where} answers")]
    topics = read_topics(spec, cluster.partitions)
    names = dict.fromkeys([*topics, *dead_letter_topics(spec, topics).values(), *retry_topics(spec)])
    states: dict[str, TopicState] = admin.topics(list(names), TIMEOUT)
    # A pattern must not match what was only looked up as a dead-letter topic.
    read = {name: state for name, state in states.items() if name in topics}
    wanted = max(1, workers)
    findings += check_topics(spec, read, cluster.partitions, partitions=wanted)
    misspelt = {name for name, state in read.items() if not state.exists and did_you_mean(name, cluster.partitions)}
    known = {name: state for name, state in states.items() if name not in misspelt}
    findings += check_dead_letters(
        spec, known, creates=cluster.creates, may_create=cluster.may_create, partitions=wanted
    )
    findings += check_retry_topics(spec, states, may_create=cluster.may_create)
    findings += check_workers(spec, read, workers)
    try:
        findings += check_group(spec, admin.group(spec.name, TIMEOUT))
    except AdminError as error:
        findings.append(unseen_group(spec, str(error), code=error.code))
    return findings
