"""A worker's consumer: chunks of records in, commits out, rebalances told as they happen.

One thread at a time may use a ``Source`` (the holder of the baton); callbacks run inside ``poll`` and
``close`` of that thread. Callbacks never raise: an exception inside ``consume()`` destroys records.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, cast

import confluent_kafka
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_STORED,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from supervisor.kafka import offsets as offsets_
from supervisor.kafka.logs import client_logger
from supervisor.kafka.offsets import AskError
from supervisor.kafka.settings import Settings
from supervisor.plugin.types import Message

Place = tuple[str, int]
NO_NOTES: Mapping[Place, str] = MappingProxyType({})
partition_of = confluent_kafka.Message.partition
topic_of = confluent_kafka.Message.topic
error_of = confluent_kafka.Message.error

logger = logging.getLogger(__name__)
LEAVE_POLL = 0.05
"""Seconds of one poll of a member that leaves."""
SILENT_POLLS = 40
"""Polls without a message in which a static member's leave must be on its way."""


class SettingsError(Exception):
    """librdkafka does not take the settings of a client; its text names the key, not the value of a secret."""


class Listener(Protocol):
    """What a source tells its owner, in the polling thread."""

    def assigned(self, places: Sequence[Place]) -> None: ...  # noqa: D102
    def revoked(self, places: Sequence[Place]) -> None: ...  # noqa: D102
    def lost(self, places: Sequence[Place]) -> None: ...  # noqa: D102
    def committed(self, results: Sequence[tuple[Place, int, str | None]]) -> None: ...  # noqa: D102
    def client_error(self, code: str, text: str) -> None: ...  # noqa: D102
    def crashed(self, error: BaseException) -> None: ...  # noqa: D102


class Source:
    """A subscribed consumer. Every method belongs to the holder of the baton, and may run callbacks."""

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[str],
        listener: Listener,
        *,
        client: Callable[..., Consumer] | None = None,
    ) -> None:
        self._listener = listener
        self._gone: set[Place] = set()
        """Partitions given up during the current ``poll``."""
        self.begin_paused = False
        """Whether partitions that come are paused before anything of them is fetched."""
        self._moved: dict[Place, int] = {}
        """Where partitions of this assignment were told to begin."""
        try:
            self._consumer = (client or Consumer)(
                {**settings, "on_commit": self._on_commit, "error_cb": self._on_error},
                logger=client_logger(),
            )
        except KafkaException as error:
            raise SettingsError(error.args[0].str()) from error
        strategy = str(settings.get("partition.assignment.strategy", ""))
        self._is_eager = settings.get("group.protocol") != "consumer" and "cooperative" not in strategy
        self._is_static = "group.instance.id" in settings
        self._topics = list(topics)
        self.subscribe()

    def subscribe(self) -> None:
        """Join the group, at the next polls."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def unsubscribe(self) -> None:
        """Give everything up and leave the group, at the next polls; a static member leaves for good."""
        self._consumer.unsubscribe()

    def poll(self, timeout: float, limit: int) -> list[Message]:
        """Return up to ``limit`` messages, errors among them; wait ``timeout`` seconds for the first only.

        ``consume(n, t)`` alone would wait its whole ``t`` unless ``n`` are there. It may run a rebalance after
        the first message was taken: that one is not ours any more then, even when its partition came back.
        """
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        if limit <= 1:
            return [first]
        self._gone.clear()
        rest = self._consumer.consume(limit - 1, 0)
        if not self._gone or (first.topic(), first.partition()) not in self._gone:
            rest.insert(0, first)
        return cast("list[Message]", rest)

    def commit(self, offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES) -> None:
        """Commit in the background; ``Listener.committed`` tells the outcome from a later ``poll``.

        ``notes`` is the metadata of partitions; it may name others, too.
        """
        try:
            self._consumer.commit(offsets=_positions(offsets, notes), asynchronous=True)
        except KafkaException as error:
            code = error.args[0].name()
            self._listener.committed([(place, offset, code) for place, offset in offsets])

    def commit_now(
        self, offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES
    ) -> list[tuple[Place, int, str | None]]:
        """Commit and wait; for rebalance callbacks only. Blocks up to 45 s while no broker answers.

        An exception names one partition's failure and hides that others were committed; then every
        partition gets that code, which at worst repeats records.
        """
        try:
            results = self._consumer.commit(offsets=_positions(offsets, notes), asynchronous=False)
        except KafkaException as error:
            code = error.args[0].name()
            return [(place, offset, code) for place, offset in offsets]
        return _outcomes(results)

    def store(self, offsets: Sequence[tuple[Place, int]]) -> None:
        """Leave offsets for librdkafka's own commit timer; those of partitions no longer owned are let go."""
        for position in _positions(offsets):
            try:
                self._consumer.store_offsets(offsets=[position])
            except KafkaException as error:
                if error.args[0].code() != KafkaError._STATE:  # noqa: SLF001 - librdkafka's public name for it
                    raise

    def pause(self, places: Sequence[Place]) -> None:
        """Stop fetching these; what was fetched ahead of ``poll`` is thrown away."""
        self._consumer.pause([TopicPartition(*place) for place in places])

    def resume(self, positions: Sequence[tuple[Place, int | None]]) -> None:
        """Fetch again, at once: a ``seek`` wakes the fetcher, which ``resume`` alone leaves asleep for 0.7 s."""
        self._consumer.resume([TopicPartition(*place) for place, _ in positions])
        for place, offset in positions:
            if offset is None:
                continue
            try:
                self._consumer.seek(TopicPartition(*place, offset))
            except KafkaException as error:
                # Not fetching yet: it starts by itself, where it was paused.
                logger.info("consumer.seek_refused", extra={"fields": {"code": error.args[0].name()}})

    def high_watermark(self, place: Place) -> int | None:
        """Return the partition's end as last heard from the broker, without asking it.

        The holder's too: asked while another thread polls, the client hangs for good (measured, 2.16.1).
        """
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        except KafkaException:
            return None
        return None if high < 0 else int(high)

    def committed(self, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, str]]:
        """See ``offsets.committed``."""
        return offsets_.committed(self._consumer, places, timeout)

    def bounds(self, places: Sequence[Place], timeout: float) -> dict[Place, tuple[int, int]]:
        """See ``offsets.bounds``."""
        return offsets_.bounds(self._consumer, places, timeout)

    def move(self, targets: Mapping[Place, int | None]) -> None:
        """Have partitions of the assignment begin at given offsets, ``None``: at their beginning; raises ``AskError``.

        The only way once a partition is stopped by ``auto.offset.reset``: ``seek`` and ``pause`` with ``resume``
        are refused there. Does not wait.
        """
        self._moved |= {place: OFFSET_BEGINNING if offset is None else offset for place, offset in targets.items()}
        positions = [TopicPartition(*place, self._moved[place]) for place in targets]
        try:
            if self._is_eager:
                self._consumer.assign([*positions, *self._where_others_are(targets)])
            else:
                # A try that failed in between left them unassigned, and the client refuses to do that twice.
                there = {(at.topic, at.partition) for at in self._consumer.assignment()}.intersection(targets)
                if there:
                    self._consumer.incremental_unassign([TopicPartition(*place) for place in there])
                self._consumer.incremental_assign(positions)
        except KafkaException as error:
            raise AskError(error.args[0].name()) from error

    def _where_others_are(self, targets: Mapping[Place, int | None]) -> list[TopicPartition]:
        """Return the rest of the assignment, each at its place: with an eager assignor only all can be assigned."""
        rest = [at for at in self._consumer.assignment() if (at.topic, at.partition) not in targets]
        others = []
        for at in self._consumer.position(rest):
            place = (at.topic, at.partition)
            offset = at.offset if at.offset >= 0 else self._moved.get(place, OFFSET_STORED)
            others.append(TopicPartition(*place, offset))
        return others

    def group_metadata(self) -> object:
        """Return what a transaction needs to commit in this member's name: group, generation, member id (KIP-447)."""
        return self._consumer.consumer_group_metadata()

    def close(self) -> None:
        """End and stay a member where the member is static; a dynamic member leaves."""
        self._consumer.close()

    def leave(self) -> bool:
        """End and leave the group for good; return ``False`` if a static member may still be in it.

        Only ``unsubscribe`` sends a static member's LeaveGroup (KIP-345), at a later ``poll``, once the partitions
        are given up; closed before that, the consumer stays a member. Each waiting message or error ends a ``poll``
        early, so what counts is the member id, which the client lets go when it sends the request. A dynamic member
        leaves by closing.
        """
        was_member = bool(self._consumer.memberid())
        self._consumer.unsubscribe()
        silent = 0
        while self._is_static and self._consumer.memberid() and silent < SILENT_POLLS:
            if self._consumer.poll(LEAVE_POLL) is None:
                silent += 1
        has_left = not self._is_static or (was_member and not self._consumer.memberid())
        self._consumer.close()
        return has_left

    def _guarded(self, tell: Callable[[Any], None], value: object) -> None:
        try:
            tell(value)
        except BaseException as error:  # noqa: BLE001 - raising here would destroy fetched records; the engine must end instead
            self._listener.crashed(error)

    def _on_assign(self, _consumer: object, partitions: list[TopicPartition]) -> None:
        self._guarded(self._listener.assigned, _places(partitions))
        if self.begin_paused and partitions:
            self._guarded(self._assign_paused, partitions)

    def _assign_paused(self, partitions: list[TopicPartition]) -> None:
        """Assign within the callback: a pause after it comes after the first records."""
        if self._is_eager:
            self._consumer.assign(partitions)
        else:
            self._consumer.incremental_assign(partitions)
        self._consumer.pause(partitions)

    def _on_revoke(self, _consumer: object, partitions: list[TopicPartition]) -> None:
        self._guarded(self._listener.revoked, self._given_up(partitions))

    def _on_lost(self, _consumer: object, partitions: list[TopicPartition]) -> None:
        self._guarded(self._listener.lost, self._given_up(partitions))

    def _given_up(self, partitions: list[TopicPartition]) -> list[Place]:
        places = _places(partitions)
        self._gone.update(places)
        for place in places:
            self._moved.pop(place, None)
        return places

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        outcomes = _outcomes(partitions)
        if error is not None:
            outcomes = [(place, offset, code or error.name()) for place, offset, code in outcomes]
        self._guarded(self._listener.committed, outcomes)

    def _on_error(self, error: KafkaError) -> None:
        try:
            self._listener.client_error(error.name(), error.str())
        except BaseException as crash:  # noqa: BLE001 - as in _guarded
            self._listener.crashed(crash)


def trouble_of(message: Message) -> tuple[str, str] | None:
    """Return the name (``_PARTITION_EOF``, ``_FATAL`` ...) and text of a message that is an error, else ``None``."""
    error = cast("confluent_kafka.Message[bytes, bytes]", message).error()
    return None if error is None else (error.name(), error.str())


def _places(partitions: Sequence[TopicPartition]) -> list[Place]:
    return [(tp.topic, tp.partition) for tp in partitions]


def _positions(offsets: Sequence[tuple[Place, int]], notes: Mapping[Place, str] = NO_NOTES) -> list[TopicPartition]:
    if not notes:
        return [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets]
    return [TopicPartition(*place, offset, metadata=notes.get(place, "")) for place, offset in offsets]


def _outcomes(partitions: Sequence[TopicPartition]) -> list[tuple[Place, int, str | None]]:
    return [
        ((tp.topic, tp.partition), tp.offset, tp.error.name() if tp.error is not None else None) for tp in partitions
    ]
