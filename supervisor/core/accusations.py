"""Which records a death accuses. Pure.

A death names one record when it is known whose it was: the one beyond its time in its handler, or the one whose
thread crashed. Otherwise everything in flight becomes suspect, and nothing is counted against anybody. A suspect
runs alone from then on, so that the next death while it does is its own; and finishing acquits it.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from supervisor.core.board import InFlight
from supervisor.core.cases import Cause, Record

MOST_SPAN = 10_000
"""Records of one batch that are suspected; a longer one has the first of them suspected."""
_FATAL = "Fatal Python error"
_CURRENT = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)

Span = tuple[str, int, int, int]
"""Topic, partition, first and last offset."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """What a death says: ``named`` is proven and counts, ``suspects`` are not. Only one of the two is there."""

    named: Record | None = None
    cause: Cause = Cause.KILLED
    suspects: tuple[Span, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anybody is accused."""
        return self.named is not None or bool(self.suspects)


NOBODY = Accusation()


def accuse(
    in_flight: Sequence[InFlight],
    *,
    crashed: int | None = None,
    overdue: Collection[Span] = (),
    responsive: bool = True,
    proven: Collection[Span] = (),
    accused: Collection[Record] = (),
) -> Accusation:
    """Return whom the death of a worker accuses, by what its board showed.

    ``crashed`` is the thread that a fatal signal hit; ``overdue`` what was beyond its time in a handler when the
    worker was given up. It names nobody where the worker was not ``responsive``: who keeps the interpreter or the
    event loop for himself makes all others late, too; but ``proven`` are those whom a loop that turned has
    cancelled for their time, and who did not end. ``accused``: who is accused already, and so ran alone.
    """
    there = [one for one in in_flight if one.topic != "?"]
    late = [one for one in there if span(one) in overdue and (responsive or span(one) in proven)]
    of_thread = [one for one in there if one.thread == crashed] if crashed is not None else []
    blamed = late or of_thread or there
    is_known = bool(late or of_thread) and len(blamed) == 1
    if len(blamed) == 1 and blamed[0].last_offset == blamed[0].offset:
        one = blamed[0]
        record = (one.topic, one.partition, one.offset)
        if is_known or (len(there) == 1 and record in accused):
            return Accusation(record, Cause.TIMEOUT if span(one) in overdue else Cause.KILLED)
    return Accusation(suspects=tuple(map(span, blamed)))


def span(one: InFlight) -> Span:
    """Return the offsets that a cell of the board shows."""
    return one.topic, one.partition, one.offset, min(one.last_offset, one.offset + MOST_SPAN - 1)


def crashed_thread(stack: str) -> int | None:
    """Return the ident of the thread that a fatal signal hit, by what faulthandler wrote; ``None`` when it is silent.

    Only what stands behind its last word of a fatal error counts: dumps of a live process may stand before.
    """
    _, fatal, rest = stack.rpartition(_FATAL)
    found = _CURRENT.search(rest) if fatal else None
    return int(found[1], 16) if found else None
