"""Look at a group's committed offsets, and set them while nobody is in it; for a process that may die.

Set by a consumer's commit without membership: the broker takes it only while the group has no member, so there is
no moment between a look and the change.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from supervisor.core.resets import Applied, OffsetMove, ResetError, is_hopeless, is_unanswered, position
from supervisor.core.retry_topics import retry_topics, subscription
from supervisor.core.spec import GroupSpec
from supervisor.kafka.admin import Admin
from supervisor.kafka.lag import AT_ONCE, TIMEOUT, asking_settings, topics_of
from supervisor.kafka.offsets import AskError, Place, bounds, committed
from supervisor.kafka.patience import AGAIN_EVERY


class Offsets:
    """One group's committed offsets. Every call blocks; raises ``AskError`` or ``ResetError``."""

    def __init__(self, group: GroupSpec) -> None:
        self._group = group
        # Offsets of a transaction that is still open must be seen to be open, whatever the group reads.
        settings = asking_settings(group, client_id="supervisor-offsets") | {"isolation.level": "read_committed"}
        self._consumer = Consumer(settings)

    def moves(self, to: str | None, names: Sequence[str] = ()) -> tuple[OffsetMove, ...]:
        """Return the group's partitions (those of ``names``, or all) with what ``to`` makes of them.

        Retry topics are left alone unless they are named: what waits there is neither done anew nor skipped unasked.
        """
        places = self._places(names, is_reset=to is not None)
        found: list[OffsetMove] = []
        for at in range(0, len(places), AT_ONCE):
            some = places[at : at + AT_ONCE]
            done = committed(self._consumer, some, TIMEOUT)
            ends = bounds(self._consumer, some, TIMEOUT)
            times = self._at_time(some, int(to[1:])) if to is not None and to.startswith("@") else {}
            for place in some:
                name = f"{place[0]}/{place[1]}"
                if place not in ends or place not in done:
                    message = f"{name} could not be asked for: it has no leader now, or an open transaction holds it"
                    raise AskError(message)
                (earliest, end), before = ends[place], max(-1, done[place][0])
                after = (
                    None
                    if to is None
                    else position(to, name=name, earliest=earliest, end=end, at_time=times.get(place))
                )
                found.append(OffsetMove(*place, earliest, end, before, after))
        return tuple(found)

    def apply(self, moves: Sequence[OffsetMove], patience: float) -> Applied:
        """Commit what ``moves`` say, and return what became of each.

        Waits ``patience`` seconds for the group's last member to be gone and for a broker that is not ready;
        what cannot succeed is not tried again, and nothing is begun after it.
        """
        return apply(self._consumer.commit, moves, time.monotonic() + patience)

    def members(self) -> tuple[str, ...]:
        """Return who is in the group, as ``client id @ host``. May end the process, see ``kafka.members``."""
        return Admin(self._group.kafka, client_id="supervisor-offsets").group(self._group.name, TIMEOUT).members

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def _places(self, names: Sequence[str], *, is_reset: bool) -> tuple[Place, ...]:
        copies = retry_topics(self._group)
        topics = topics_of(self._consumer, subscription(self._group), optional=copies)
        for title, some in (("does not exist", topics.missing), ("may not be seen by this user", topics.denied)):
            if some and not names:
                message = f"topic {', '.join(some)} {title}"
                raise ResetError(message)
        if not names:
            return tuple(place for place in topics.places if not is_reset or place[0] not in copies)
        known = {f"{topic}/{partition}": (topic, partition) for topic, partition in topics.places}
        unknown = [name for name in names if name not in known]
        if unknown:
            message = f"{', '.join(unknown)}: no partition of a topic of group {self._group.name}"
            raise ResetError(message)
        return tuple(known[name] for name in dict.fromkeys(names))

    def _at_time(self, places: Sequence[Place], milliseconds: int) -> dict[Place, int]:
        asked = [TopicPartition(*place, milliseconds) for place in places]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=TIMEOUT)
        except KafkaException as error:
            raise AskError(error.args[0].name()) from error
        return {(one.topic, one.partition): one.offset for one in found if one.error is None}


class Commit(Protocol):
    """A consumer's own."""

    def __call__(self, *, offsets: list[TopicPartition], asynchronous: Literal[False]) -> list[TopicPartition]:
        """Commit and wait for the answer of each partition; raises ``KafkaException`` when there is one for all."""
        ...


def apply(
    commit: Commit, moves: Sequence[OffsetMove], deadline: float, *, sleep: Callable[[float], None] = time.sleep
) -> Applied:
    """As ``Offsets.apply``, by any ``commit``, until ``deadline`` (monotonic)."""
    wanted = [move for move in moves if move.after is not None]
    changed: list[OffsetMove] = []
    asked: set[str] = set()
    for at in range(0, len(wanted), AT_ONCE):
        left = wanted[at : at + AT_ONCE]
        while left:
            errors = _errors(commit, left)
            changed += [move for move in left if not errors[move.name]]
            left = [move for move in left if errors[move.name]]
            asked |= {move.name for move in left if is_unanswered(errors[move.name])}
            codes = [errors[move.name] for move in left]
            hopeless = next((code for code in codes if is_hopeless(code)), "")
            if left and (hopeless or time.monotonic() > deadline):
                unsure = [move for move in left if move.name in asked]
                unchanged = [move for move in left if move not in unsure] + wanted[at + AT_ONCE :]
                return Applied(tuple(changed), tuple(unchanged), tuple(unsure), hopeless or codes[0])
            if left:
                sleep(AGAIN_EVERY)
    return Applied(tuple(changed))


def _errors(commit: Commit, moves: Sequence[OffsetMove]) -> dict[str, str]:
    """Commit, and return each partition's error by its name, empty where it was set."""
    offsets = [TopicPartition(move.topic, move.partition, move.after or 0) for move in moves]
    try:
        done = commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        code, topics = str(error.args[0].name()), dict.fromkeys(move.topic for move in moves)
        if len(topics) == 1 or not is_hopeless(code):
            return dict.fromkeys((move.name for move in moves), code)
        # librdkafka raises one topic's error for all, though the broker took the others.
        parts = [_errors(commit, [move for move in moves if move.topic == topic]) for topic in topics]
        return {name: found for part in parts for name, found in part.items()}
    found = {f"{one.topic}/{one.partition}": one.error.name() if one.error is not None else "" for one in done or ()}
    return {move.name: found.get(move.name, "_TIMED_OUT") for move in moves}
