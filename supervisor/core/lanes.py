"""Lanes: the queues that keep order (P2). One record of a lane is worked at a time; lanes do not wait for each other.

A lane is (topic, partition, key), or just a partition, or a single record: what ``ordering`` asks for is
in the name the caller gives. The head of a lane stays in it while it is worked, waits for a retry or for a
dead letter's confirmation; so everything queued, busy, waiting or blocked is counted in one place.

Handler threads *pull*: nothing is submitted per record, and a lane is handed out whole.
"""

import heapq
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

from supervisor.core.alone import Alone
from supervisor.core.lane import BLOCKED, BUSY, READY, WAITING, Lane, Place

T = TypeVar("T")


BREAKER, ALONE, FLOOD = 1, 2, 4
"""Bits of ``Lanes.closed``: who keeps records from being begun. A dependency, a suspect's turn, a flood."""
HELD = BREAKER | FLOOD
"""Bits that hold back all records, and keep new ones from being read."""


class Lanes(Generic[T]):
    """All lanes of one worker. Not thread-safe: the engine's mutex guards it."""

    def __init__(self) -> None:
        self._lanes: dict[Hashable, Lane[T]] = {}
        self._ready: deque[Lane[T]] = deque()
        self._timers: list[tuple[float, int, Lane[T]]] = []
        self._ticket = 0
        self._held: dict[Place, list[int]] = {}
        """Of each partition: how many records it has in lanes, and their bytes."""
        self.count = 0
        """Records in all lanes, those being worked included."""
        self.size = 0
        """Their bytes, as the caller gave them."""
        self.busy = 0
        """Lanes that belong to a thread."""
        self.blocked = 0
        """Lanes whose head waits for a confirmation."""
        self.closed = 0
        """Why not every record may be begun, as bits; 0 is the fast path. Dead letters on their way are sent all
        the same, unless a record is worked alone."""
        self.trials = 0
        """How many records may be begun although they are held back."""
        self.trial: Lane[T] | None = None
        """The lane that was handed out last of those that may be begun all the same."""
        self.alone: Alone[T] = Alone()
        """Who is worked with nothing beside it; asked only while ``closed`` has its bit."""
        self._tried: set[Lane[T]] = set()
        """All lanes that were, since records are held back: what waits in them to be tried again is."""

    def held(self, place: Place) -> int:
        """Return how many records of a partition are in lanes, whoever owns the partition now."""
        held = self._held.get(place)
        return held[0] if held else 0

    def held_size(self, place: Place) -> int:
        """Return their bytes."""
        held = self._held.get(place)
        return held[1] if held else 0

    def add(self, name: Hashable, place: Place, item: T, *, size: int) -> Lane[T]:
        """Put a record at the end of the lane ``name``."""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, place)
            self._ready.append(lane)
        lane.items.append((item, size))
        held = self._held.get(place)
        if held is None:
            held = self._held[place] = [0, 0]
        held[0] += 1
        held[1] += size
        self.count += 1
        self.size += size
        return lane

    def extend(self, place: Place, entries: Iterable[tuple[Hashable, tuple[T, int]]]) -> None:
        """Do ``add`` for many records of one partition, each a lane's name, and a record with its size."""
        lanes, ready, count, total = self._lanes, self._ready, 0, 0
        for name, entry in entries:
            lane = lanes.get(name)
            if lane is None:
                lane = lanes[name] = Lane(name, place)
                ready.append(lane)
            lane.items.append(entry)
            count += 1
            total += entry[1]
        if count:
            held = self._held.setdefault(place, [0, 0])
            held[0] += count
            held[1] += total
            self.count += count
            self.size += total

    def adopt(self, name: Hashable, place: Place, items: Sequence[tuple[T, int]]) -> Lane[T]:
        """Make a lane whose ``items`` (with sizes) a thread has in hand already: serial work that was cut short.

        No lane of that name may exist.
        """
        if name in self._lanes:
            message = f"lane {name!r} was in use while serial work ran on it"
            raise RuntimeError(message)
        (first, first_size), *more = items
        lane = self.add(name, place, first, size=first_size)
        for item, size in more:
            self.add(name, place, item, size=size)
        self._ready.pop()
        lane.state = BUSY
        lane.taken = len(items)
        self.busy += 1
        return lane

    def __contains__(self, name: Hashable) -> bool:
        """Tell whether a lane of that name holds records."""
        return name in self._lanes

    @property
    def ready(self) -> int:
        """How many lanes could be taken at once, timers aside."""
        if self.closed & ALONE and (self.alone.is_held or self.alone.bars(self.busy)):
            return 0
        if self.closed & HELD:
            return min(self.trials, len(self._ready))
        return len(self._ready)

    @property
    def has_next(self) -> bool:
        """Whether, though all is held back, a record waits to be begun, or is that one out that was."""
        return bool(self._ready) or (self.trial is not None and self.trial.state is BUSY and bool(self.trial.items))

    def can_try(self, *, now: float) -> bool:
        """Tell whether there is a lane that a trial could begin, if one were allowed."""
        self._drop_stale_timers()
        return bool(self._ready or (self._timers and self._timers[0][0] <= now))

    def next_due(self) -> float | None:
        """Return when the next waiting lane is due; while all is held back, the next dead letter.

        Nobody needs to wait for any while a record is worked alone: whoever is done with it looks for the next.
        """
        if self.closed & ALONE and self.alone.bars(self.busy):
            return None
        if self.closed & HELD and not self.trials:
            timers = filter(_timer_holds, self._timers)
            return min((due for due, _, lane in timers if lane.letter or lane in self._tried), default=None)
        self._drop_stale_timers()
        due = self._timers[0][0] if self._timers else None
        begins = self.alone.until
        if self.alone.is_held and begins is not None and not self.busy:
            return begins if due is None else min(begins, due)
        return due

    def has_letter_waiting(self) -> bool:
        """Tell whether a letter waits to be offered again: nobody took it."""
        return any(timer[2].letter is not None for timer in self._timers if _timer_holds(timer))

    def take(self, *, now: float) -> Lane[T] | None:
        """Hand out the lane that has been ready longest; it is the caller's until one of the methods below."""
        if self.closed:
            return self._take_closed(now)
        if self._timers:
            self._drop_stale_timers()
            while self._timers and self._timers[0][0] <= now:
                lane = heapq.heappop(self._timers)[2]
                lane.state = READY
                self._ready.append(lane)
                self._drop_stale_timers()
        return self._begin() if self._ready else None

    def close(self, bit: int, *, now: float) -> None:
        """Let no record be begun from ``now`` on, until ``bit`` is taken away; see ``take`` for what goes on."""
        self.closed |= bit
        self.alone.forget()
        letters = [lane for lane in self._ready if lane.letter is not None]
        if letters:
            self._ready = deque(lane for lane in self._ready if lane.letter is None)
            for lane in letters:
                self._set_timer(lane, now)

    def open(self, bit: int) -> None:
        """Take ``bit`` away; where it was the last of those that hold back all, no record is a trial any more."""
        self.closed &= ~bit
        if not self.closed & HELD:
            self.hold_trials()

    def hold_trials(self) -> None:
        """Hold back, too, what was allowed to be begun all the same, once it is not in a handler any more."""
        self.trials, self.trial = 0, None
        self._tried.clear()

    def _take_closed(self, now: float) -> Lane[T] | None:
        """Hand out a dead letter that is to be sent again, or a record that may be begun all the same."""
        if self.closed & ALONE and self.alone.bars(self.busy):
            return None
        self._drop_stale_timers()
        while self._timers and self._timers[0][0] <= now:
            lane = heapq.heappop(self._timers)[2]
            lane.state = READY
            if lane.letter is not None:
                self._ready.appendleft(lane)
                return self._begin()
            if lane in self._tried:
                self._ready.appendleft(lane)
                self.trials += 1
                break
            self._ready.append(lane)
            self._drop_stale_timers()
        if not self._ready or (self.closed & HELD and not self.trials):
            return None
        if self.closed & ALONE and not self._may_begin(now):
            return None
        if self.closed & HELD:
            self.trials -= 1
            self.trial = self._ready[0]
            self._tried.add(self.trial)
        return self._begin()

    def _begin(self) -> Lane[T]:
        lane = self._ready.popleft()
        lane.state = BUSY
        self.busy += 1
        return lane

    def _may_begin(self, now: float) -> bool:
        """Tell whether the next lane may be handed out beside those that are out."""
        if self.alone.is_over(self.busy):
            self.closed &= ~ALONE
            return True
        return self.alone.may_begin(self._ready[0], busy=self.busy, now=now)

    def settle_head(self, lane: Lane[T]) -> None:
        """Remove the head of a busy lane; the lane stays the caller's."""
        _, size = lane.items.popleft()
        self._forget(lane.place, size)
        if lane.solo:
            lane.solo -= 1
        lane.taken = 1
        lane.fresh_head()

    def settle_batch(self, lane: Lane[T], settled: Sequence[bool], *, alone: bool = True) -> None:
        """Remove what is settled of the records in hand; the others stay in front, in order, to be worked ``alone``."""
        kept = []
        for done in settled:
            entry = lane.items.popleft()
            if done:
                self._forget(lane.place, entry[1])
            else:
                kept.append(entry)
        lane.items.extendleft(reversed(kept))
        lane.taken = 1
        lane.since = None
        lane.solo = max(len(kept) if alone else 0, lane.solo - sum(settled))
        if settled[0]:
            # What is next failed in this very batch (its first attempt), or in an earlier one.
            lane.attempt = lane.before + (2 if lane.solo and not kept else 1)
            lane.failed_at = lane.failed_before

    def give_back(self, lane: Lane[T]) -> None:
        """End a busy lane's turn: to the end of the line when it holds more, away when it is empty."""
        self.busy -= 1
        self._requeue(lane)

    def exchange(self, lane: Lane[T], *, now: float) -> Lane[T] | None:
        """Do ``settle_head``, ``give_back`` and ``take`` in one, as cheaply as it gets."""
        items, place, held = lane.items, lane.place, self._held
        _, size = items.popleft()
        self.count -= 1
        self.size -= size
        of_place = held[place]
        of_place[0] -= 1
        of_place[1] -= size
        if not of_place[0]:
            del held[place]
        if items:
            if lane.solo:
                lane.solo -= 1
            lane.taken = 1
            lane.fresh_head()
            lane.state = READY
            self._ready.append(lane)
        else:
            del self._lanes[lane.name]
        self.busy -= 1
        return self.take(now=now) if self._timers or self._ready else None

    def put_back(self, lane: Lane[T]) -> None:
        """End a busy lane's turn with its head unsettled: first in line, for when records may be begun again."""
        self.busy -= 1
        lane.state = READY
        self._ready.appendleft(lane)

    def working_lanes(self) -> list[Lane[T]]:
        """Return the lanes that belong to a thread."""
        return [lane for lane in self._lanes.values() if lane.state is BUSY]

    def wait(self, lane: Lane[T], *, due: float) -> None:
        """Let a busy lane wait until ``due`` with its head in place; other lanes go on."""
        self.busy -= 1
        self._set_timer(lane, due)

    def _set_timer(self, lane: Lane[T], due: float) -> None:
        lane.state = WAITING
        lane.due = due
        self._ticket += 1
        heapq.heappush(self._timers, (due, self._ticket, lane))

    def hasten(self, lane: Lane[T], *, due: float) -> None:
        """Let a waiting lane be due earlier."""
        if lane.state is WAITING and due < lane.due:
            lane.due = due
            self._ticket += 1
            heapq.heappush(self._timers, (due, self._ticket, lane))

    def hasten_filling(self, *, due: float) -> None:
        """Let all lanes that wait for more records be due earlier."""
        for lane in self._lanes.values():
            if lane.filling:
                self.hasten(lane, due=due)

    def block(self, lane: Lane[T]) -> None:
        """Let a busy lane wait for a confirmation, with no time set."""
        self.busy -= 1
        self.blocked += 1
        lane.state = BLOCKED

    def unblock(self, lane: Lane[T]) -> None:
        """Make a blocked lane the caller's again."""
        self.blocked -= 1
        self.busy += 1
        lane.state = BUSY

    def purge(self, places: Collection[Place]) -> int:
        """Forget partitions' records but those in a handler or awaiting a confirmation; return how many went.

        What stays is the heads of busy and blocked lanes. Their lanes keep their names, so that a record of
        the same key, delivered again after the partition came back, still waits for them.
        """
        gone = 0
        for lane in [lane for lane in self._lanes.values() if lane.place in places]:
            keep = lane.taken if lane.state in (BUSY, BLOCKED) else 0
            while len(lane.items) > keep:
                _, size = lane.items.pop()
                self._forget(lane.place, size)
                gone += 1
            lane.solo = min(lane.solo, len(lane.items))
            if not lane.items:
                del self._lanes[lane.name]
        if gone:
            self.alone.forget()
            self._ready = deque(lane for lane in self._ready if lane.items)
        return gone

    def working(self, places: Collection[Place]) -> int:
        """Return how many lanes of these partitions are busy or blocked."""
        busy = (BUSY, BLOCKED)
        return sum(1 for lane in self._lanes.values() if lane.place in places and lane.state in busy)

    def _requeue(self, lane: Lane[T]) -> None:
        if lane.items:
            lane.state = READY
            self._ready.append(lane)
        else:
            del self._lanes[lane.name]

    def _forget(self, place: Place, size: int) -> None:
        self.count -= 1
        self.size -= size
        held = self._held[place]
        held[0] -= 1
        held[1] -= size
        if not held[0]:
            del self._held[place]

    def _drop_stale_timers(self) -> None:
        timers = self._timers
        while timers and not _timer_holds(timers[0]):
            heapq.heappop(timers)


def _timer_holds(timer: tuple[float, int, Lane[T]]) -> bool:
    """Tell whether a timer is still its lane's own: purged lanes leave theirs behind."""
    due, _, lane = timer
    return lane.state is WAITING and lane.due == due and bool(lane.items)
