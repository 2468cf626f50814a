"""Dead letters in Kafka topics, read by a client that joins no group; where a replay stands is its own group's offset.

Brokers move: every question is asked again until its deadline, except where a person must change something first.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from supervisor.core.dlq import Stored, letter_named, stored
from supervisor.core.record_headers import headers_of
from supervisor.core.resets import is_hopeless
from supervisor.core.spec import GroupSpec
from supervisor.kafka.claims import Claim
from supervisor.kafka.lag import AT_ONCE, TIMEOUT, Topics, asking_settings, topics_of
from supervisor.kafka.offsets import AskError, Place, bounds, committed
from supervisor.kafka.patience import PATIENCE, patiently
from supervisor.kafka.settings import MAX_BYTES, Settings, asker_settings, client_settings

_POLL = 0.2
_MOVED = "LEADER_NOT_AVAILABLE"
_REWOUND = {"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"}

Note = dict[str, Any]
"""What a replay writes into the metadata of its offsets: ``until``, ``meaning``."""


class KafkaLetters:
    """The letters of some topics, each partition from where it begins (or the replay stands) to where it ends now.

    A ``inspector.letter_source.LogSource``. Every call may block for ``PATIENCE``; raises ``AskError``. One thread.
    ``is_ours``: nobody else, on any host, has this replay from ``open`` to ``close``; without it nothing is noted.
    ``are_named``: somebody asked for just these topics, so all of them must be there.
    """

    def __init__(
        self, group: GroupSpec, topics: Sequence[str], *, replay: str, is_ours: bool = False, are_named: bool = False
    ) -> None:
        self._group = group
        self._topics = topics
        self._name = f"{group.name}.replay.{replay or 'none'}"
        self._is_ours = is_ours
        self._are_named = are_named
        self._claim: Claim | None = None
        settings = asking_settings(group, client_id=f"{group.name}-dlq")
        self._consumer = Consumer(
            settings
            | {
                "group.id": self._name,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": 16384,
            }
        )
        self._admin: AdminClient | None = None
        self._at: dict[Place, int] = {}
        self._ends: dict[Place, int] = {}
        self._until: dict[Place, int] = {}
        self._left: set[Place] = set()
        self._passed: dict[Place, int] = {}
        self._meaning = ""
        self.total = self.unreadable = 0
        self.resumed = False
        self.other_meaning = ""

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """See ``Source``."""
        self._meaning = meaning
        places = self._places()
        if self._is_ours and places:
            self._claim = Claim(self._group, self._name, sorted({topic for topic, _ in places}))
        limits = self._bounds(places)
        notes = self._notes(places) if pending else {}
        for place, (earliest, end) in limits.items():
            offset, note = notes.get(place, (-1, {}))
            self._at[place] = min(max(offset, earliest), end)
            self._ends[place] = end
            self._until[place] = int(note.get("until", -1))
            self.resumed = self.resumed or offset >= 0
            if note.get("meaning", meaning) != meaning:
                self.other_meaning = str(note["meaning"])
        wanted = letter_named(one)
        if wanted is not None:
            self._narrow(*wanted)
        self._passed = {place: first for place, (first, _) in limits.items() if first < self._at[place]}
        self._left = {place for place, end in self._ends.items() if self._at[place] < end}
        self.total = sum(self._ends[place] - self._at[place] for place in self._left)
        self._consumer.assign([TopicPartition(*place, self._at[place]) for place in sorted(self._left)])

    def read(self, most: int) -> list[Stored]:
        """See ``Source``."""
        deadline = time.monotonic() + PATIENCE
        trouble = _MOVED
        while self._left:
            first = self._consumer.poll(_POLL)
            found: list[Stored] = []
            for message in [first, *self._consumer.consume(most - 1, 0)] if first is not None else []:
                error = message.error()
                if error is not None:
                    trouble = self._heard(error, message) or trouble
                elif (letter := self._taken(message)) is not None:
                    found.append(letter)
            if found:
                return found
            if time.monotonic() > deadline:
                raise AskError(trouble)
        return []

    def is_again(self, letter: Stored) -> bool:
        """See ``Source``."""
        return letter.position < self._until.get(_place(letter), -1)

    def intend(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        until = {place: max(end, self._until.get(place, -1)) for place, end in _ends(letters).items()}
        self._commit({place: (self._at[place], {"until": end}) for place, end in until.items()})
        self._until |= until

    def done(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        moved = _ends(letters)
        self._at |= moved
        # What another life of this replay meant to send and did not say to have sent is still not known.
        self._commit({place: (at, self._doubt(place, at)) for place, at in moved.items()})

    def forget(self) -> None:
        """See ``Source``."""
        self._until.clear()

    @property
    def passed(self) -> Mapping[str, int]:
        """See ``LogSource``."""
        return {f"{topic}/{partition}": first for (topic, partition), first in self._passed.items()}

    def truncate(self, upto: Mapping[str, int]) -> None:
        """Delete what lies below the offsets of ``upto`` (by ``topic/partition``); needs the right to DELETE."""
        asked = [TopicPartition(*_named(name), offset) for name, offset in upto.items()]
        admin = self._admin = AdminClient(asker_settings(self._group.kafka, client_id=f"{self._group.name}-dlq"))

        def ask() -> None:
            for future in admin.delete_records(asked, request_timeout=TIMEOUT, operation_timeout=TIMEOUT).values():
                try:
                    future.result(2 * TIMEOUT)
                except KafkaException as error:
                    raise AskError(error.args[0].name()) from error
                except TimeoutError as error:
                    message = "_TIMED_OUT"
                    raise AskError(message) from error

        patiently(ask)

    def close(self) -> None:
        """See ``Source``."""
        self._consumer.close()
        if self._claim is not None:
            self._claim.close()

    def _places(self) -> tuple[Place, ...]:
        def ask() -> Topics:
            found = topics_of(self._consumer, self._topics)
            if found.denied:
                message = f"topic {', '.join(found.denied)} may not be seen by this user, or has no leaders"
                raise AskError(message)
            return found

        found = patiently(ask, patience=TIMEOUT)
        if found.missing and (self._are_named or not found.places):
            why = "" if self._are_named else f"group {self._group.name} has no dead letters yet: "
            message = f"{why}topic {', '.join(found.missing)} does not exist"
            raise AskError(message)
        return found.places

    def _bounds(self, places: Sequence[Place]) -> dict[Place, tuple[int, int]]:
        def ask(some: Sequence[Place]) -> dict[Place, tuple[int, int]]:
            found = bounds(self._consumer, some, TIMEOUT)
            if len(found) < len(some):
                raise AskError(_MOVED)
            return found

        found: dict[Place, tuple[int, int]] = {}
        for some in _parts(places):
            found |= patiently(partial(ask, some))
        return found

    def _notes(self, places: Sequence[Place]) -> dict[Place, tuple[int, Note]]:
        """Return where this replay stands, and what was noted there."""

        def ask(some: Sequence[Place]) -> dict[Place, tuple[int, str]]:
            found = committed(self._consumer, some, TIMEOUT)
            if len(found) < len(some):
                raise AskError(_MOVED)
            return found

        found: dict[Place, tuple[int, Note]] = {}
        for some in _parts(places):
            answers = patiently(partial(ask, some))
            found |= {place: (offset, _note(metadata)) for place, (offset, metadata) in answers.items()}
        return found

    def _narrow(self, name: str, offset: int) -> None:
        for place in self._ends:
            is_there = f"{place[0]}/{place[1]}" == name and self._at[place] <= offset < self._ends[place]
            self._at[place], self._ends[place] = (offset, offset + 1) if is_there else (self._ends[place],) * 2

    def _heard(self, error: KafkaError, message: Message) -> str:
        """Take what the client says beside letters; return what is wrong, empty when nothing is."""
        place = (message.topic() or "", message.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public name for it
            if (message.offset() or 0) >= self._ends.get(place, 0):
                self._finish(place)
            return ""
        code = str(error.name())
        if code in _REWOUND and place in self._left:
            earliest, _ = self._bounds([place])[place]  # retention went past us
            self._at[place] = max(self._at[place], earliest)
            self._consumer.seek(TopicPartition(*place, self._at[place]))
        elif is_hopeless(code):
            raise AskError(code)
        return code

    def _taken(self, message: Message) -> Stored | None:
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        place = (topic, partition)
        if place not in self._left:
            return None
        if offset + 1 >= self._ends[place]:
            self._finish(place)
        if offset >= self._ends[place]:
            return None
        kind, milliseconds = message.timestamp()
        return stored(
            f"{topic}/{partition}",
            offset,
            offset + 1,
            topic=topic,
            partition=partition,
            key=message.key(),
            value=message.value(),
            headers=tuple(headers_of(message)),
            written_at=None if kind == 0 else milliseconds / 1000,
        )

    def _finish(self, place: Place) -> None:
        if place in self._left:
            self._left.discard(place)
            self._consumer.pause([TopicPartition(*place)])

    def _doubt(self, place: Place, at: int) -> Note:
        until = self._until.get(place, -1)
        return {"until": until} if until > at else {}

    def _commit(self, wanted: Mapping[Place, tuple[int, Note]]) -> None:
        claim = self._claim
        if not wanted or claim is None:
            return
        meaning = {"meaning": self._meaning}
        offsets = [
            TopicPartition(*place, offset, json.dumps(note | meaning)) for place, (offset, note) in wanted.items()
        ]

        def ask() -> None:
            try:
                answers = claim.commit(offsets)
            except KafkaException as error:
                raise AskError(error.args[0].name()) from error
            for one in answers:
                if one.error is not None:
                    raise AskError(one.error.name())

        patiently(ask)


def letter_topics(consumer_topics: Sequence[str], template: str, existing: Callable[[], Iterable[str]]) -> list[str]:
    """Return the dead-letter topics of a group's topics; only a pattern asks which topics there are."""
    found: dict[str, None] = {}
    for topic in consumer_topics:
        if not topic.startswith("^"):
            found[template.replace("{topic}", topic)] = None
            continue
        names = set(existing())
        matching = [name for name in names if re.match(topic, name)]
        found |= dict.fromkeys(target for name in matching if (target := template.replace("{topic}", name)) in names)
    return list(found)


def topics_there(kafka: Settings) -> Iterable[str]:
    """Return the names of all topics that this user may see; raises ``AskError``."""
    admin = AdminClient(asker_settings(kafka, client_id="supervisor-dlq"))

    def ask() -> Iterable[str]:
        try:
            return tuple(admin.list_topics(timeout=TIMEOUT).topics)
        except KafkaException as error:
            raise AskError(error.args[0].name()) from error

    return patiently(ask)


def replay_settings(group: GroupSpec, *, timeout: float, may_make: bool) -> Settings:
    """Return the settings of the producer of replays: idempotent, and done with a letter within ``timeout``.

    ``may_make``: brokers that make topics by themselves may do so for what is sent.
    """
    return (
        {"message.max.bytes": MAX_BYTES, "linger.ms": 5}
        | client_settings(group.kafka, client_id=f"{group.name}-replay")
        | {"enable.idempotence": True, "message.timeout.ms": max(1000, round(timeout * 1000))}
        | ({} if may_make else {"allow.auto.create.topics": False})
    )


def _ends(letters: Iterable[Stored]) -> dict[Place, int]:
    """Return the position after the last of ``letters`` in each partition."""
    return {_place(letter): letter.after for letter in letters}


def _place(letter: Stored) -> Place:
    return letter.topic, letter.partition or 0


def _named(name: str) -> Place:
    topic, _, partition = name.rpartition("/")
    return topic, int(partition)


def _note(metadata: str) -> Note:
    try:
        found = json.loads(metadata)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _parts(places: Sequence[Place]) -> list[Sequence[Place]]:
    return [places[at : at + AT_ONCE] for at in range(0, len(places), AT_ONCE)]
