"""Records that are accused of killing a worker, in the worker that owns their partition now.

The parent is asked for them at each assignment, before the first record. A suspect is worked with nothing beside it,
once all that is settled is committed, and acquitted when it is settled; a convicted one becomes a dead letter without
another run. ``core.lanes`` and ``core.alone`` do the waiting, and ask here while there is anybody to wait for.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from supervisor.core.cases import Case, Place, offsets_of
from supervisor.core.commit_metadata import Runs, holds
from supervisor.core.events import Severity
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json
from supervisor.core.lane import Lane
from supervisor.core.lanes import ALONE
from supervisor.kafka.identity import topic_ids
from supervisor.plugin.types import Message
from supervisor.worker.owned import Item, Owned

if TYPE_CHECKING:
    from supervisor.worker.committer import Commits
    from supervisor.worker.engine import Engine

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds to wait for the parent's answer before the first record of a partition."""
MOMENT = 0.005
ASKED = 500
"""Partitions of one question."""
SUSPECT = Case()


class Quarantine:
    """The accused records of one worker. Needs the engine's mutex where not said otherwise."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._is_on = engine.spec.group.max_deaths > 0
        self._asked = self._answered = 0
        self.watched: set[Owned] = set()
        """Owned partitions with accused records that were not delivered yet."""
        self.known: set[Place] = set()
        """Owned partitions of which the parent has had cases: it forgets them by what it is told of commits."""
        self._unproven: dict[str, set[str]] = {}
        """Topics with convicted records, and the ids of those that are meant, as far as the parent knows them."""
        self._proven: set[str] = set()
        """Topics of which the brokers said that they are those that are meant."""
        self._queued: dict[Owned, set[int]] = {}
        """Accused records that were delivered and are not done."""
        self.commits: Commits | None = None
        """How progress gets to Kafka; set before any thread polls."""

    # --- asking ------------------------------------------------------------------------------------------

    def ask(self, places: Sequence[Place]) -> int:
        """Ask the parent who is accused in partitions just gained; mutex not held. Return the last question's number.

        Thousands of partitions are no one frame, and more than may wait for the parent at once: waits ``PATIENCE``
        seconds at most. What it does not take by then is a question without an answer.
        """
        link, deadline = self._engine.link, time.monotonic() + PATIENCE
        if not (self._is_on and places) or link.lost:
            return 0
        for at in range(0, len(places), ASKED):
            self._asked += 1
            if at:
                link.flush_until(deadline)
            if not link.send("accused", ask=self._asked, partitions=list(places[at : at + ASKED])):
                break
        return self._asked

    def await_answer(self, number: int, meanwhile: Callable[[], None]) -> None:
        """Wait for the answer to a question, for ``PATIENCE`` seconds at most; mutex not held.

        The main thread hears it; ``meanwhile`` is its other duties, for when it is the one that waits here. While
        stopping it may wait for whoever is in here, and nothing is begun any more.
        """
        engine, deadline = self._engine, time.monotonic() + PATIENCE
        while number > self._answered and not (engine.link.lost or engine.stopping):
            if time.monotonic() >= deadline:
                text = f"the supervisor did not say within {PATIENCE:g} s who is accused of killing a worker; goes on"
                engine.event("accusations.unknown", Severity.WARNING, text)
                return
            meanwhile()
            with engine.mutex:
                if number > self._answered:
                    engine.progress.wait(MOMENT)

    def heard(self, frame: Frame) -> None:
        """Take the parent's answer, or a part of it: its last one bears the question's number.

        What comes late counts for what was not delivered yet. Main thread, no mutex.
        """
        found: dict[Place, dict[int, Case]] = {}
        ids: dict[str, set[str]] = {}
        for topic, partition, runs, of in frame["suspects"]:
            found[topic, partition] = dict.fromkeys(sorted(offsets_of(runs)), SUSPECT)
            ids.setdefault(topic, set()).update(of)
        for topic, partition, offset, case in frame["convicted"]:
            found.setdefault((topic, partition), {})[offset] = from_json(Case, case)
        with self._engine.mutex:
            for topic, *_ in frame["convicted"]:
                self._unproven.setdefault(topic, set()).update(ids.get(topic, ()))
            self._proven -= self._unproven.keys()
            for place, cases in found.items():
                owned = self._engine.owned.get(place)
                if owned is not None:
                    self.known.add(place)
                    begin = owned.offsets.position or 0
                    owned.accused |= {offset: case for offset, case in cases.items() if offset >= begin}
                    self.watch(owned)
            self._answered = max(self._answered, int(frame["ask"]))
            self._engine.progress.notify_all()
        if found:
            fields = {
                "suspects": sum(not case.convicted for cases in found.values() for case in cases.values()),
                "convicted": sum(case.convicted for cases in found.values() for case in cases.values()),
            }
            logger.info("records.accused", extra={"fields": fields})

    def identify(self) -> None:
        """Let go of convictions that are of another topic of the same name; mutex not held, waits ``PATIENCE`` at most.

        Only convictions are worth the question: a suspect runs, and nothing is lost when it does.
        """
        engine = self._engine
        with engine.mutex:
            unproven, self._unproven = self._unproven, {}
        if not unproven or engine.stopping:
            return
        found = topic_ids(engine.spec.group.kafka, sorted(unproven), engine.spec.instance_id, PATIENCE)
        with engine.mutex:
            self._proven |= found.keys()
            for topic, known in unproven.items():
                if topic in found and known - {found[topic]}:
                    for owned in [owned for owned in engine.owned.values() if owned.place[0] == topic]:
                        owned.accused.clear()
                        self.watched.discard(owned)
        if found:
            engine.link.send("identified", topics=found)

    def watch(self, owned: Owned) -> None:
        """Look out for a partition's accused records, from its next delivery on."""
        if owned.accused:
            self.watched.add(owned)

    # --- records on their way ----------------------------------------------------------------------------

    def delivered(self, chunk: Sequence[tuple[Place, list[Message]]], claimed: Mapping[Place, Runs]) -> None:
        """Take note of what was polled, before it is handed out; accused records that are not in it are no more.

        ``claimed``: what is settled already, as an earlier commit says.
        """
        for place, messages in chunk if self.watched else ():
            owned = self._engine.owned.get(place)
            if owned is None or owned not in self.watched:
                continue
            last, queued = messages[-1].offset() or 0, self._queued.setdefault(owned, set())
            due = [offset for offset in owned.accused if offset <= last and offset not in queued]
            there = {message.offset() for message in messages} if due else set()
            runs = claimed.get(place, [])
            for offset in due:
                if offset in there and not holds(runs, offset):
                    queued.add(offset)
                else:
                    self.settled(owned, offset)
            if queued:
                self._engine.lanes.closed |= ALONE
            if len(queued) == len(owned.accused):
                self.watched.discard(owned)

    def needs_alone(self, lane: Lane[Item]) -> bool:
        """See ``core.alone.Gate``. A convicted head gets its sentence for a letter, and needs nobody to wait."""
        owned, message = lane.head
        case = owned.accused.get(message.offset() or 0) if owned.accused and lane.letter is None else None
        if case is None or owned.revoked:
            return False
        if case.convicted:
            lane.letter = case
        return not case.convicted

    def is_committed(self) -> bool:
        """See ``core.alone.Gate``."""
        return self.commits is None or self.commits.catch_up()

    def caught_up(self) -> None:
        """Have the suspect begun that waited until all that is settled was committed."""
        self._engine.lanes.alone.release()
        self._engine.work.notify()

    def is_over(self) -> bool:
        """See ``core.alone.Gate``."""
        for owned in [owned for owned, queued in self._queued.items() if owned.revoked or not queued]:
            del self._queued[owned]
        return not self._queued

    def cut(self, lane: Lane[Item], size: int) -> int:
        """Return how many records of a lane may go into one batch: an accused one is a batch of its own."""
        for at, ((owned, message), _) in enumerate(islice(lane.items, size)):
            if message.offset() in owned.accused:
                return max(1, at)
        return size

    def settled(self, owned: Owned, offset: int) -> None:
        """Forget a record that is done, and tell the parent that it did no harm."""
        case = owned.accused.pop(offset, None)
        if case is None:
            return
        queued = self._queued.get(owned)
        if queued is not None:
            queued.discard(offset)
        if not case.convicted:
            self._engine.link.send("acquitted", records=[[*owned.place, offset]])

    def forget(self, owned: Owned) -> None:
        """Let go of an ownership that ended."""
        self.watched.discard(owned)
        if owned.place not in self._engine.owned:
            self.known.discard(owned.place)

    # --- sentences ----------------------------------------------------------------------------------------

    def is_buried(self, owned: Owned, case: Case) -> bool:
        """Tell whether a convicted record has its letter already (P1).

        Not before the topic is known to be the one that is meant: the case may be of a record that is gone, and
        another would be settled that nobody worked. A second letter of the same record is the lesser evil.
        """
        return case.buried and owned.place[0] in self._proven

    def buried(self, owned: Owned, message: Message) -> None:
        """Tell the parent that the dead letter of a convicted record is confirmed. Any thread, no mutex needed."""
        self._engine.link.send("buried", records=[[*owned.place, message.offset()]])
