"""What a look at a cluster found, and the rules that turn its state into findings; no I/O."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from supervisor.core.spec import GroupSpec
from supervisor.core.suggest import did_you_mean
from supervisor.inspector.remedies import add_partitions, allow, create_topic
from supervisor.kafka.admin import GroupState, TopicState

KAFKA_SINK = "dlq_kafka"
_SHOWN = 5


class Level(StrEnum):
    """How much a finding matters: an error keeps records from being worked."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found, and what to do about it."""

    level: Level
    group: str
    text: str
    help: str = ""


def read_topics(spec: GroupSpec, seen: Iterable[str]) -> list[str]:
    """Return the topics that the group reads now: those it names, and those of ``seen`` that match its patterns.

    A pattern is a topic that begins with ``^``; librdkafka's regular expressions are taken for Python's.
    """
    found = [topic for topic in spec.topics if not topic.startswith("^")]
    for pattern in (topic for topic in spec.topics if topic.startswith("^")):
        found += [name for name in sorted(seen) if re.match(pattern, name)]
    return list(dict.fromkeys(found))


def dead_letter_topics(spec: GroupSpec, topics: Iterable[str]) -> dict[str, str]:
    """Return the dead-letter topic of each topic; empty when no sink of the group writes to Kafka."""
    if KAFKA_SINK not in (spec.dead_letters.sink, spec.dead_letters.fallback):
        return {}
    return {topic: spec.dead_letters.topic.replace("{topic}", topic) for topic in topics}


def check_topics(
    spec: GroupSpec, states: Mapping[str, TopicState], seen: Iterable[str], *, partitions: int = 1
) -> list[Finding]:
    """Say which topics are missing or may not be read; ``partitions`` is what a missing one would need."""
    found, good = [], []
    for topic in read_topics(spec, states):
        state = states[topic]
        if state.error:
            help_ = f"where it exists, allow it: {allow(spec, 'Read', topic=topic)}"
            found.append(Finding(Level.ERROR, spec.name, f"topic {topic!r} cannot be looked at: {state.error}", help_))
        elif not state.exists:
            create = create_topic(spec, topic, partitions)
            help_ = f"{did_you_mean(topic, seen)}correct groups.{spec.name}.topics, or create it: {create}"
            found.append(Finding(Level.ERROR, spec.name, f"topic {topic!r} does not exist", help_))
        elif state.operations is not None and "READ" not in state.operations:
            help_ = allow(spec, "Read", topic=topic)
            found.append(Finding(Level.ERROR, spec.name, f"no right to READ topic {topic!r}", help_))
        else:
            good.append(f"{topic} ({_count(state.partitions, 'partition')})")
    if good:
        found.append(Finding(Level.OK, spec.name, f"reads {_some(good)}"))
    for pattern in spec.topics:
        if pattern.startswith("^") and not any(re.match(pattern, topic) for topic in states):
            help_ = "topics that come later are found by themselves; those this user may not DESCRIBE are not seen"
            found.append(Finding(Level.WARNING, spec.name, f"no topic matches {pattern!r} now", help_))
    return found


def check_dead_letters(
    spec: GroupSpec,
    states: Mapping[str, TopicState],
    *,
    creates: bool | None,
    may_create: bool | None = None,
    partitions: int = 1,
) -> list[Finding]:
    """Say which dead-letter topics are missing, too small or may not be written.

    ``creates`` is the broker's ``auto.create.topics.enable``, ``may_create`` whether workers have the right to make any
    topic; ``None`` when it is not known. ``partitions`` is what a missing one needs whose source is missing, too.
    """
    found, good = [], []
    read = read_topics(spec, states)
    for topic, target in dead_letter_topics(spec, read).items():
        source, state = states.get(topic), states.get(target)
        if source is None or state is None:
            continue
        wanted = source.partitions or partitions
        if target in read:
            text = f"the group reads {target!r}, the dead-letter topic of {topic!r}: its letters would be worked again"
            help_ = f'narrow groups.{spec.name}.topics, or write topic = "dlq.{{topic}}" in its dead_letters'
            found.append(Finding(Level.ERROR, spec.name, text, help_))
            continue
        if state.error:
            help_ = f"where it exists, allow it: {allow(spec, 'Write', topic=target)}"
            text = f"dead-letter topic {target!r} cannot be looked at: {state.error}"
            found.append(Finding(Level.ERROR, spec.name, text, help_))
        elif not state.exists:
            create = create_topic(spec, target, wanted)
            if spec.dead_letters.create:
                found.append(_made_by_workers(spec, target, create, wanted, may_create=may_create))
            else:
                found.append(_missing_dead_letters(spec, target, create, creates=creates))
        elif state.operations is not None and "WRITE" not in state.operations:
            help_ = allow(spec, "Write", topic=target)
            text = f"no right to WRITE dead-letter topic {target!r}: a record that fails for good would block its lane"
            found.append(Finding(Level.ERROR, spec.name, text, help_))
        elif state.partitions < source.partitions:
            text = f"dead-letter topic {target!r} has {state.partitions} partitions, {topic!r} has {source.partitions}"
            help_ = f"letters keep their partition only where it exists: {add_partitions(spec, target, wanted)}"
            found.append(Finding(Level.WARNING, spec.name, text, help_))
        else:
            good.append(target)
    if good:
        found.append(Finding(Level.OK, spec.name, f"may write dead letters to {_some(good)}"))
    return found


def _made_by_workers(spec: GroupSpec, target: str, create: str, partitions: int, *, may_create: bool | None) -> Finding:
    text = f"dead-letter topic {target!r} does not exist yet: the first letter makes it"
    if may_create is not False:
        return Finding(Level.OK, spec.name, f"{text}, with {_count(partitions, 'partition')}")
    text += ", if a right on its own name lets it: this user may not make just any topic"
    return Finding(Level.WARNING, spec.name, text, f"{create}, or: {allow(spec, 'Create', topic=target)}")


def _missing_dead_letters(spec: GroupSpec, target: str, create: str, *, creates: bool | None) -> Finding:
    if creates:
        text = f"dead-letter topic {target!r} does not exist; the broker will create it, with its own partition count"
        return Finding(Level.WARNING, spec.name, text, f"to keep partitions the same: {create}")
    why = "the broker creates no topics" if creates is False else "whether the broker creates topics is not known"
    text = f"dead-letter topic {target!r} does not exist, and {why}: a record that fails for good would block its lane"
    return Finding(Level.ERROR if creates is False else Level.WARNING, spec.name, text, create)


def check_workers(spec: GroupSpec, states: Mapping[str, TopicState], workers: int) -> list[Finding]:
    """Say when some workers can have no partition."""
    partitions = sum(states[topic].partitions for topic in read_topics(spec, states))
    if not partitions or workers <= partitions:
        return []
    text = f"{workers} workers for {_count(partitions, 'partition')}: {workers - partitions} of them will be idle"
    help_ = f'set workers = {partitions}, add partitions, or raise concurrency with ordering = "key"'
    return [Finding(Level.WARNING, spec.name, text, help_)]


def check_group(spec: GroupSpec, state: GroupState) -> list[Finding]:
    """Say when the group cannot be joined: no right to, or live members that speak another protocol or assignor."""
    if state.operations is not None and "READ" not in state.operations:
        text = f"no right to READ consumer group {spec.name!r}"
        return [Finding(Level.ERROR, spec.name, text, allow(spec, "Read", group=spec.name))]
    if not state.members:
        return [Finding(Level.OK, spec.name, f"consumer group {spec.name!r} has no members now")]
    who = f"{_count(len(state.members), 'member')}: {_some(state.members)}"
    if state.protocol in ("classic", "consumer") and state.protocol != spec.protocol:
        text = f"the live group speaks protocol {state.protocol!r}, the config says {spec.protocol!r} ({who})"
        return [Finding(Level.ERROR, spec.name, text, _migration(f'protocol = "{state.protocol}"'))]
    ours = _assignors(spec)
    if spec.protocol == "classic" and state.assignor and state.assignor not in ours:
        text = f"the live group assigns by {state.assignor!r}, the config by {', '.join(map(repr, ours))} ({who})"
        keep = f'"partition.assignment.strategy" = "{state.assignor}" in [groups.{spec.name}.kafka]'
        return [Finding(Level.ERROR, spec.name, text, _migration(keep))]
    return [Finding(Level.OK, spec.name, f"consumer group {spec.name!r} is live with {who}")]


def unseen_group(spec: GroupSpec, error: str, *, code: str) -> Finding:
    """Say why the group could not be looked at: a right that is missing, or a cluster that is not well."""
    help_ = "the cluster is busy or starting: check again in a moment"
    if code.endswith("AUTHORIZATION_FAILED"):
        help_ = allow(spec, "Read", group=spec.name)
    text = f"consumer group {spec.name!r} cannot be looked at: {error}"
    return Finding(Level.ERROR, spec.name, text, help_)


def _assignors(spec: GroupSpec) -> list[str]:
    strategy = str(spec.kafka.get("partition.assignment.strategy", "cooperative-sticky"))
    return [name.strip() for name in strategy.split(",")]


def _migration(keep: str) -> str:
    return (
        "to migrate: 1. stop all members of the group, on every host (other consumers of that name too); "
        "2. run 'supervisor check' until it says that the group has no members (a killed member stays for its "
        "session timeout); 3. start with the new config: committed offsets are kept. "
        f"To join as it is: {keep}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
