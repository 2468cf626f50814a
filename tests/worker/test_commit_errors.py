"""P1: every way a commit can fail has its answer, and none of them loses or skips a record.

Errors are injected by the embedded broker; FACTS of each code are the answers of ``core.commits``.
"""

import pytest

from supervisor.core.spec import CommitSpec, GroupSpec
from supervisor.kafka.embedded import Api, EmbeddedBroker
from tests.broker.records import committed, produce
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec

SELF_HEALING = {
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    7: "REQUEST_TIMED_OUT",
}
KEPT = {27: "REBALANCE_IN_PROGRESS", 113: "STALE_MEMBER_EPOCH", 12: "OFFSET_METADATA_TOO_LARGE"}
LOST = {22: "ILLEGAL_GENERATION", 25: "UNKNOWN_MEMBER_ID"}
ENDING = {
    82: (76, "FENCED_INSTANCE_ID"),
    30: (78, "GROUP_AUTHORIZATION_FAILED"),
    29: (78, "TOPIC_AUTHORIZATION_FAILED"),
}


def _group(broker: EmbeddedBroker, name: str, protocol: str = "consumer", mode: str = "manual") -> GroupSpec:
    # The embedded broker makes every classic rebalance wait for most of the session timeout.
    session = {"session.timeout.ms": 2500, "heartbeat.interval.ms": 500} if protocol == "classic" else {}
    return group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        protocol=protocol,
        commit=CommitSpec(mode, 10**6, 0.1),
        kafka={**broker.settings, **session},
    )


@pytest.mark.parametrize("code", [*SELF_HEALING, *KEPT, *LOST])
def test_p1_a_commit_that_fails_is_made_good(code: int, name: str, start: Start, ledger: Ledger) -> None:
    with EmbeddedBroker({name: 1}) as broker:
        produce(broker.bootstrap, name, ["good"] * 20)
        worker = start(_group(broker, name, "classic" if code in LOST else "consumer"))
        worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20})

        broker.push_errors(Api.OFFSET_COMMIT, [code] * 2)
        produce(broker.bootstrap, name, ["good"] * 20)

        worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 40}, timeout=40)
        assert {offset for _, offset in ledger.places()} == set(range(40))
        assert worker.process.poll() is None
        if code not in SELF_HEALING:
            worker.wait(lambda: worker.stats["commit_errors"])  # failures are visible


@pytest.mark.parametrize("code", list(ENDING))
def test_a_commit_that_can_never_succeed_ends_the_worker(code: int, name: str, start: Start, ledger: Ledger) -> None:
    with EmbeddedBroker({name: 1}) as broker:
        produce(broker.bootstrap, name, ["good"] * 20)
        worker = start(_group(broker, name))
        worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20})

        broker.push_errors(Api.OFFSET_COMMIT, [code])
        produce(broker.bootstrap, name, ["good"] * 20)

        worker.wait(lambda: worker.process.poll() is not None)
        assert worker.process.returncode == ENDING[code][0]
        assert ENDING[code][1] in worker.of_type("bye")[-1]["reason"] or code == 82
        assert committed(broker.bootstrap, name, name) == {0: 20}


@pytest.mark.parametrize("mode", ["manual", "automatic"])
def test_p7_commits_that_are_refused_are_counted_by_code_and_are_no_commits(
    mode: str, name: str, start: Start, ledger: Ledger
) -> None:
    with EmbeddedBroker({name: 1}) as broker:
        produce(broker.bootstrap, name, ["good"] * 20)
        worker = start(_group(broker, name, mode=mode))
        worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 20})
        worker.wait(lambda: worker.stats["commits"])

        broker.push_errors(Api.OFFSET_COMMIT, [12] * 1000)
        produce(broker.bootstrap, name, ["good"] * 20)

        worker.wait(lambda: worker.stats["commit_errors"].get("OFFSET_METADATA_TOO_LARGE"))
        before = worker.stats
        worker.wait(lambda: worker.stats["commit_errors"] != before["commit_errors"])
        assert worker.stats["commits"] == before["commits"]
