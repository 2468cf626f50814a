"""What a worker told the parent, checked: it comes from a process that runs user code."""

from collections.abc import Sequence

from supervisor.core.board import InFlight
from supervisor.core.crashfile import MOST_STACK, plain
from supervisor.core.events import Scalar, Severity
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json
from supervisor.core.progress import coordinates
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.store.eventlog import EventLog

LONGEST = 2000
MOST_FIELDS = 40
MOST_CELLS = 10_000
NAMED = 3


class Told:
    """What one incarnation said about itself."""

    def __init__(self) -> None:
        self.last_words = ""
        self.left: bool | None = None
        self.code: int | None = None
        """The exit code that it said would follow."""
        self.fenced_by: dict[str, Scalar] = {}
        self._cancelled: dict[int, int] = {}
        """The newest run of each cell that it cancelled for its time, by its sequence number."""
        self._stats: tuple[object, WorkerStats] | None = None

    def bye(self, frame: Frame) -> None:
        """Take a worker's last words."""
        self.last_words = str(frame.get("reason", ""))[:LONGEST]
        code, left = frame.get("code"), frame.get("left")
        self.code = code if isinstance(code, int) else None
        self.left = left if isinstance(left, bool) else None

    def cancelled(self, frame: Frame) -> None:
        """Take it that it cancelled an async handler that was over its time."""
        cell, sequence = int(frame["cell"]), int(frame["sequence"])
        if cell in self._cancelled or len(self._cancelled) < MOST_CELLS:
            self._cancelled[cell] = sequence

    def was_cancelled(self, one: InFlight) -> bool:
        """Tell whether what is in flight was told to end, and did not."""
        return self._cancelled.get(one.cell) == one.sequence

    def stats(self, frame: Frame) -> WorkerStats:
        """Return the statistics of a ``stats`` frame; ``ValueError`` when they are none."""
        told = frame["stats"]
        if self._stats is None or self._stats[0] != told:  # an idle worker says the same each second
            self._stats = told, from_json(WorkerStats, told)
        return self._stats[1]


def seconds_of(frame: Frame) -> float | None:
    """Return in how many seconds the change came to be that a ``stats`` frame tells; ``None`` when it does not say."""
    seconds = frame.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None


def tell(events: EventLog, frame: Frame, *, group: str, slot: int | None) -> None:
    """Pass a child's ``event`` frame on; ``KeyError`` or ``ValueError`` when it is none."""
    fields = frame.get("fields") or {}
    if not isinstance(fields, dict):
        message = "an event's fields are no object"
        raise ValueError(message)  # noqa: TRY004 - one error for every malformed frame
    stack = frame.get("stack")
    events.tell(
        str(frame["name"])[:100],
        Severity(frame.get("severity", Severity.INFO)),
        str(frame.get("text", ""))[:LONGEST],
        group=group,
        slot=slot,
        fields=scalars(fields),
        attachments={"stack": plain(stack.encode(errors="replace")[:MOST_STACK])}
        if isinstance(stack, str) and stack
        else {},
    )


def scalars(fields: dict[str, object]) -> dict[str, Scalar]:
    """Return a child's fields with bounds on their number and size."""
    return {str(key)[:100]: _scalar(value) for key, value in list(fields.items())[:MOST_FIELDS]}


def why_paused(frame: Frame) -> str:
    """Return for which record a worker wants its group paused, and why."""
    return f"{str(frame['record'])[:LONGEST]}: {str(frame['reason'])[:LONGEST]}"


def death_detail(told: Told, in_flight: Sequence[InFlight]) -> str:
    """Return what stands behind "SIGSEGV" in a line: the records it held, else the worker's own words."""
    if told.last_words:
        return f"({told.last_words})"
    return f"at {_names(in_flight)}" if in_flight else ""


def death_fields(told: Told, in_flight: Sequence[InFlight], *, pid: int, uptime: float) -> dict[str, Scalar]:
    """Return an exit event's fields."""
    return {
        "pid": pid,
        "uptime": uptime,
        "in_flight": _names(in_flight),
        "in_flight_count": len(in_flight),
        "reason": told.last_words,
    }


def _names(in_flight: Sequence[InFlight]) -> str:
    named = ", ".join(coordinates(record) for record in in_flight[:NAMED])
    more = len(in_flight) - NAMED
    return f"{named} and {more} more" if more > 0 else named


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:LONGEST]
