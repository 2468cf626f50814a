"""Is a worker alive? Judged by what its board shows from one look to the next. Pure.

Alive means progress: the poll loop's tick moves, no record stays in its handler beyond its time, and where records
could be worked some are. All times are the watcher's own: a value is as old as the first look that showed it. Only a
record that asked for more time (``Record.extend``) says until when, by the clock of this machine. When
the watcher itself stood still (a suspended machine, a stopped process) that gap counts for nobody.
"""

from dataclasses import dataclass, replace

from supervisor.core.accusations import Span, span
from supervisor.core.board import Board, InFlight, Wait
from supervisor.core.durations import format_duration

FRESH = 2.5
"""Seconds since the last look at which the poll loop had moved, within which the process as a whole counts as alive."""
STALL = 5.0
"""Looks that are further apart than this (seconds) mean that the watcher stood still."""

Work = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker counts as hung (seconds).

    ``revoke_timeout`` is added to ``tick_timeout`` while the board says that partitions are being given up: their
    last commit blocks the poll loop, for 45 s where no broker answers. ``cancel_margin`` is added to
    ``handler_timeout`` where the worker cancels its handlers itself: time for the cancelled one to end.
    ``stall_timeout``: how long records may be there to be worked and none is begun or settled.
    """

    handler_timeout: float
    tick_timeout: float = 30.0
    revoke_timeout: float = 60.0
    idle_timeout: float = 30.0
    stall_timeout: float = 30.0
    cancel_margin: float = 5.0


@dataclass(frozen=True, slots=True)
class Progress:
    """What was seen of one incarnation; ``work`` holds since when each cell shows the same record.

    ``stalled_since``: since when records could be worked, and nothing is begun, in a handler, or settled.
    """

    looked_at: float
    tick: int = 0
    tick_since: float = 0.0
    settled: int = 0
    settled_since: float = 0.0
    begun: int = 0
    stalled_since: float | None = None
    work: tuple[tuple[int, Work, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """``hung`` says what stands still, else it is empty. ``healthy``: progresses, or waits for a stated reason.

    ``overdue``: what is in its handler beyond its time. ``responsive``: the process is otherwise alive, so that who is
    overdue is not just held up by another who keeps the interpreter lock or the event loop for himself.
    """

    hung: str
    healthy: bool
    oldest: float = 0.0
    overdue: tuple[Span, ...] = ()
    responsive: bool = True


def look(seen: Progress | None, board: Board, limits: Limits, *, now: float) -> tuple[Progress, Verdict]:
    """Compare ``board`` with what was seen before; ``None`` begins with a new incarnation."""
    if seen is None:
        seen = Progress(now, board.tick_ns, now, board.settled, now, begun=board.begun)
    if now - seen.looked_at > STALL:
        seen = _forgive(seen, now - seen.looked_at)
    before = {(cell, work): since for cell, work, since in seen.work}
    work = []
    for record in board.in_flight:
        key = (record.topic, record.partition, record.offset, record.sequence, record.attempt)
        work.append((record.cell, key, before.get((record.cell, key), now)))
    progress = Progress(
        looked_at=now,
        tick=board.tick_ns,
        tick_since=seen.tick_since if board.tick_ns == seen.tick else now,
        settled=board.settled,
        settled_since=seen.settled_since if board.settled == seen.settled else now,
        begun=board.begun,
        stalled_since=_stalled_since(seen, board, now=now),
        work=tuple(work),
    )
    return progress, _judge(progress, board, limits, now=now)


def coordinates(record: InFlight) -> str:
    """Return a record's place as people write it: ``orders/1@812``, a batch ``orders/1@812-900``."""
    last = f"-{record.last_offset}" if record.last_offset > record.offset else ""
    return f"{record.topic}/{record.partition}@{record.offset}{last}"


def _stalled_since(seen: Progress, board: Board, *, now: float) -> float | None:
    moves = board.settled != seen.settled or board.begun != seen.begun
    if moves or board.in_flight or not board.runnable or board.wait is not Wait.NONE:
        return None
    return now if seen.stalled_since is None else seen.stalled_since


def _forgive(seen: Progress, gap: float) -> Progress:
    return replace(
        seen,
        tick_since=seen.tick_since + gap,
        settled_since=seen.settled_since + gap,
        stalled_since=None if seen.stalled_since is None else seen.stalled_since + gap,
        work=tuple((cell, key, since + gap) for cell, key, since in seen.work),
    )


def _judge(progress: Progress, board: Board, limits: Limits, *, now: float) -> Verdict:
    ages = {cell: now - since for cell, _, since in progress.work}
    oldest = max(ages.values(), default=0.0)
    allowed = limits.handler_timeout + (limits.cancel_margin if board.cancels else 0.0)
    margin = allowed - limits.handler_timeout
    late = [one for one in board.in_flight if ages[one.cell] > allowed and now > one.until + margin]
    if late:
        text = f"{coordinates(late[0])} is in its handler for {format_duration(ages[late[0].cell])}"
        return Verdict(
            f"{text}, allowed are {format_duration(limits.handler_timeout)}",
            healthy=False,
            oldest=oldest,
            overdue=tuple(map(span, late)),
            responsive=now - progress.tick_since <= FRESH and not board.cancels,
        )
    patience = limits.tick_timeout + (limits.revoke_timeout if board.wait is Wait.REVOKING else 0.0)
    if now - progress.tick_since > patience:
        text = f"the poll loop stands still for {format_duration(now - progress.tick_since)}"
        return Verdict(text, healthy=False, oldest=oldest)
    if progress.stalled_since is not None and now - progress.stalled_since > limits.stall_timeout:
        stalled = format_duration(now - progress.stalled_since)
        return Verdict(f"records wait to be worked and none is begun for {stalled}", healthy=False, oldest=oldest)
    is_idle = board.wait is Wait.NONE and not board.in_flight
    healthy = not is_idle or now - progress.settled_since <= limits.idle_timeout
    return Verdict("", healthy=healthy, oldest=oldest)
