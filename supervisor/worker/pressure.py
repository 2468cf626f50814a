"""Back-pressure: how much may be polled now, and which partitions must not deliver more (P6).

The baton's holder calls in here. While records leave the lanes at all nothing is paused, only polled less: not
polling leaves what was fetched ahead where it is, a pause throws it away, to be fetched again.
"""

from supervisor.core.lane import Place
from supervisor.core.lanes import HELD
from supervisor.kafka.consumer import Source
from supervisor.plugin.types import Message
from supervisor.worker.engine import MAIN, Engine
from supervisor.worker.notes import Notes
from supervisor.worker.owned import Owned
from supervisor.worker.runs import Run
from supervisor.worker.waits import waiting

CHUNK = 1000
FIRST = 16
"""Records of the first poll: nobody knows how large they are."""
SIP_INTERVAL = 0.05
"""Seconds between polls while there is little room: callbacks are served, and few records taken."""
FULL_AFTER = 1.0
"""Seconds without any room after which partitions are paused: handlers stand, and only polls keep us a member."""
WEIGH_INTERVAL = 0.1


class Pressure:
    """What one worker holds, against what it may."""

    def __init__(self, engine: Engine, notes: Notes) -> None:
        self._engine = engine
        self._notes = notes
        self._group = group = engine.spec.group
        self.chunk = max(1, min(CHUNK, group.max_gap // 2, group.queue_records // 4))
        """The most records of one poll. A quarter: perhaps all of one partition, they must not fill the room of all."""
        if engine.in_batches and self.chunk > group.batch.size:
            self.chunk -= self.chunk % group.batch.size
        self._gap_bound = group.max_gap - self.chunk
        """From here on a partition pauses; one chunk may be on its way already (P3)."""
        self._typical_size = group.queue_bytes / 4 / FIRST
        """Bytes of a record, as of late; before the first, so that few come."""
        self._is_full = False
        self._had_room_at = self._took_at = self._weighed_at = 0.0
        self._held_back: set[Place] = set()

    def room(self, now: float) -> int:
        """Return how many records may be polled now; 0 while few more would fit, and some will leave soon."""
        engine, group = self._engine, self._group
        with engine.mutex:
            free = group.queue_bytes - engine.queued_size
            room = min(group.queue_records - engine.queued, int(free / self._typical_size))
            engine.note_room(room)
            if engine.lanes.closed & HELD:
                self._had_room_at = now
                return self.chunk if engine.reads_nothing else min(self.chunk, room, engine.sips)
            if self._is_full or engine.stopping:
                return self.chunk  # paused: only callbacks come
            is_held = engine.lanes.alone.is_held
        chunk = max(1, min(self.chunk, int(group.queue_bytes / 4 / self._typical_size)))
        if room >= chunk or (room > 0 and (is_held or now - self._took_at >= SIP_INTERVAL)):
            self._had_room_at = self._took_at = now
            return min(room, chunk)
        # While a record waits for a commit's answer none leaves, and the answer comes from a poll.
        self._is_full = is_held or now - self._had_room_at >= FULL_AFTER
        return self.chunk if self._is_full else 0

    def await_room(self, timeout: float) -> None:
        """Let the holder wait for lanes to empty; the main thread has other things to do."""
        engine = self._engine
        with engine.mutex:
            if engine.poller is not MAIN:
                engine.work.wait(min(timeout, SIP_INTERVAL))

    def took(self, messages: list[Message]) -> None:
        """Learn from a chunk how large records are."""
        sample = (messages[0], messages[len(messages) // 2], messages[-1])
        size = sum(len(message.value() or b"") for message in sample) / len(sample)
        self._typical_size += (max(1.0, size) - self._typical_size) * 0.3

    def handed_out(self, owned: Owned, run: Run | None) -> None:
        """Mark a partition that must not deliver more after these records; mutex held."""
        place = owned.place
        # A run is over before the next poll, and counts only when something below it stays unsettled.
        passing = len(run.messages) if run and not self._engine.lanes.held(place) else 0
        unsettled = owned.offsets.gap - passing
        if unsettled >= self._gap_bound or place in self._notes.crowded or self._hogs(place, 1 / 2):
            self._held_back.add(place)

    def apply(self, source: Source, now: float) -> None:
        """Pause what must not deliver more (full lanes, a gap at its bound, a shutdown, on hold); resume what may."""
        engine = self._engine
        with engine.mutex:
            self._look_again(now)
            owned = engine.owned
            is_all = self._is_full or engine.stopping or engine.reads_nothing
            wanted = set(owned) if is_all else self._held_back.union(waiting(engine, now)) & owned.keys()
            if not wanted and not engine.paused:
                return
            pause = wanted - engine.paused
            resume = [
                (place, None if place in engine.stopped else _position(owned[place]))
                for place in sorted(engine.paused - wanted)
                if place in owned
            ]
            engine.paused = wanted
            engine.meters.pauses += len(pause)
            if pause and engine.in_batches:
                engine.lanes.hasten_filling(due=now)
        if pause:
            source.pause(sorted(pause))
        if resume:
            source.resume(resume)

    def _look_again(self, now: float) -> None:
        """Let go where it got better, hold back where one partition takes the others' room; mutex held."""
        engine, group = self._engine, self._group
        queued, size = engine.queued, engine.queued_size
        if not queued:
            self._is_full = False
            self._held_back.clear()
            return
        if queued <= group.queue_records // 2 and size <= group.queue_bytes // 2:
            self._is_full = False
        if now - self._weighed_at < WEIGH_INTERVAL:
            return
        self._weighed_at = now
        if queued * 2 >= group.queue_records or size * 2 >= group.queue_bytes:
            self._held_back |= {place for place in engine.owned if self._hogs(place, 1 / 2)}
        for place in list(self._held_back):
            owned = engine.owned.get(place)
            is_low = owned is None or (owned.offsets.gap <= self._gap_bound // 2 and not self._hogs(place, 1 / 4))
            if is_low and place not in self._notes.crowded:
                self._held_back.discard(place)

    def _hogs(self, place: Place, share: float) -> bool:
        """Tell whether one of several partitions fills that share of what may be held for all; mutex held."""
        engine, group = self._engine, self._group
        if len(engine.owned) < 2:  # noqa: PLR2004 - there are no others
            return False
        records, size = engine.held(place)
        return records >= group.queue_records * share or size >= group.queue_bytes * share


def _position(owned: Owned) -> int | None:
    """Return where a partition goes on: behind what was handed out, which is not all of what was delivered."""
    return owned.offsets.position if owned.later is None else owned.later.offset
