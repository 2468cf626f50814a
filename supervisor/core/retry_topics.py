"""Retry topics: their names, which one a record goes to next, and what a copy carries in its headers. Pure.

A record that failed is copied to a topic in which every record waits equally long, so that the first is always the
first that is due. Each topic of a group has one retry topic per delay; a record only ever goes to a longer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from supervisor.core.letters import audit_id
from supervisor.core.spec import GroupSpec, RetryTier

PREFIX = "supervisor.retry."
LONGEST_TIME = 1e12
"""Seconds from the epoch, in the past or to come, that a time may lie away."""
Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class RetryTopic:
    """One retry topic: whose records wait in it, as which tier, for how many seconds."""

    name: str
    source: str
    tier: int
    delay: float


@dataclass(frozen=True, slots=True)
class Copy:
    """What is known of a record that comes from a retry topic: where it was first, and its attempts before.

    Times are seconds since the epoch. ``group`` is whose copy it is: several groups may share a retry topic.
    ``timestamp_type`` is who stamped the record, in Kafka's words; copies of earlier versions do not say it.
    """

    group: str
    topic: str
    partition: int
    offset: int
    timestamp: float | None
    attempts: int
    first_failed_at: float
    not_before: float
    timestamp_type: str = "CreateTime"


def retry_topics(group: GroupSpec) -> dict[str, RetryTopic]:
    """Return the retry topics of a group by their names, in the order of their tiers."""
    found = {}
    for index, tier in enumerate(group.retry.tiers):
        for source in group.topics:
            name = topic_name(group.retry.topic, group.name, source, tier)
            found[name] = RetryTopic(name, source, index, tier.delay)
    return found


def topic_name(template: str, group: str, topic: str, tier: RetryTier) -> str:
    """Return what the retry topic of a topic is called."""
    return template.replace("{group}", group).replace("{delay}", tier.label).replace("{topic}", topic)


def subscription(group: GroupSpec) -> tuple[str, ...]:
    """Return all that a group reads: its topics, and what it comes back to."""
    return (*group.topics, *(name for name in retry_topics(group) if name not in group.topics))


def next_tier(tiers: Sequence[RetryTier], at: int, after: float | None) -> int | None:
    """Return the next tier of a record that is in tier ``at`` (-1: none yet), ``None`` when it was in the last.

    ``after`` asks for the first that waits as long; where none does, the last one it is.
    """
    left = range(at + 1, len(tiers))
    if after is not None:
        left_long_enough = [tier for tier in left if tiers[tier].delay >= after]
        return left_long_enough[0] if left_long_enough else next(iter(reversed(left)), None)
    return next(iter(left), None)


def copy_headers(own: Headers, copy: Copy, *, error: str) -> Headers:
    """Return the headers of a copy: the record's own, and ours behind them; ``error`` names the exception's class."""
    fields = {
        "audit-id": audit_id(copy.group, copy.topic, copy.partition, copy.offset),
        "group": copy.group,
        "topic": copy.topic,
        "partition": str(copy.partition),
        "offset": str(copy.offset),
        "timestamp": "" if copy.timestamp is None else f"{copy.timestamp:.3f}",
        "timestamp-type": copy.timestamp_type,
        "attempts": str(copy.attempts),
        "first-failed-at": f"{copy.first_failed_at:.3f}",
        "not-before": f"{copy.not_before:.3f}",
        "exception-type": error,
    }
    return own_headers(own) + tuple((PREFIX + name, value.encode()) for name, value in fields.items())


def own_headers(headers: Headers) -> Headers:
    """Return what of a copy's headers was the record's own."""
    return tuple((name, value) for name, value in headers if not name.startswith(PREFIX))


def read_copy(headers: Headers) -> Copy | None:
    """Return what a copy's headers say; ``None`` for a record that somebody else put there, or broke."""
    fields = {name.removeprefix(PREFIX): value for name, value in headers if name.startswith(PREFIX)}
    try:
        return _copy({name: (value or b"").decode() for name, value in fields.items()})
    except (KeyError, ValueError):
        return None


def _copy(fields: Mapping[str, str]) -> Copy:
    return Copy(
        group=fields["group"],
        topic=fields["topic"],
        partition=_number(fields["partition"], bits=31),
        offset=_number(fields["offset"], bits=63),
        timestamp=_seconds(fields["timestamp"]) if fields["timestamp"] else None,
        attempts=_number(fields["attempts"], bits=31),
        first_failed_at=_seconds(fields["first-failed-at"]),
        not_before=_seconds(fields["not-before"]),
        timestamp_type=fields.get("timestamp-type", "CreateTime"),
    )


def _number(text: str, *, bits: int) -> int:
    number = int(text)
    if not 0 <= number < 1 << bits:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    """Return a time; not "nan" nor "inf", which nobody could wait for, and no machine write down."""
    seconds = float(text)
    if not abs(seconds) < LONGEST_TIME:
        raise ValueError
    return seconds
