"""What may be asked of a running supervisor; anything else in a request is refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from supervisor.core.dlq import Place
from supervisor.core.events import Severity
from supervisor.core.resets import TARGET
from supervisor.core.spec import End

Target = Annotated[str, Field(min_length=1, max_length=300, description='"group" or "group/slot"')]


MOST_EVENTS = 500
"""Events of one answer; with stacks 24 MB at the very most, some hundred kB in practice."""


MOST_LETTERS = 500
Name = Annotated[str, Field(min_length=1, max_length=249)]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Request(BaseModel):
    """The body of an action: no key that is not listed, no guessing of types."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Events(Request):
    """Events of the journal, as ``core.event_query.EventQuery`` has it; the members come as text."""

    since: int | None = Field(default=None, ge=0, lt=1 << 53)
    group: str | None = Field(default=None, max_length=300)
    slot: int | None = Field(default=None, ge=0, lt=10_000)
    after: float | None = Field(default=None, allow_inf_nan=False)
    severity: Severity = Severity.INFO
    limit: int = Field(default=100, ge=1, le=MOST_EVENTS)


class Stop(Request):
    """Stop a slot, a group, or (no target) the whole supervisor."""

    target: Target | None = None
    end: End = End.LEAVE


class Start(Request):
    """Start what is stopped, waits in backoff, or was given up; no target means every group."""

    target: Target | None = None


class Restart(Request):
    """End with ``keep`` and start again at once; no target means every group. ``rolling``: one slot after another."""

    target: Target | None = None
    rolling: bool = False


class Reload(Request):
    """Read the configuration again and apply what changed; ``dry_run`` only says what that would be."""

    dry_run: bool = False


class Scale(Request):
    """Give groups another number of slots."""

    groups: dict[Target, Annotated[int, Field(ge=1, le=1024)]] = Field(min_length=1, max_length=1000)


class Pause(Request):
    """Have a group's workers, or one slot's, read nothing, as members of the Kafka group all the same."""

    target: Target


class Drain(Request):
    """Finish what is held, commit, then stop with ``leave``; given up after ``timeout`` seconds."""

    target: Target
    timeout: float = Field(default=300.0, gt=0, le=86400)


class Dump(Request):
    """Write the stacks of all threads of workers, and the supervisor's own table of states to its log."""

    target: Target | None = None


class Resume(Request):
    """Take up stopped partitions of a group; no partition means all that are stopped here.

    Without ``to`` it ends a pause, of the whole group or of one slot; with it the target is a group.
    """

    target: Target
    partition: str | None = Field(default=None, max_length=300, pattern=r"^[^/]+/[0-9]{1,9}$")
    to: str | None = Field(default=None, pattern=r"^(earliest|latest|[0-9]{1,18})$")


class Offsets(Request):
    """Show the committed offsets of a group (no ``to``), say what a reset would make of them, or reset them."""

    group: Target
    to: str | None = Field(default=None, pattern=f"^({TARGET})$")
    partitions: tuple[Annotated[str, Field(max_length=300, pattern=r"^[^/]+/[0-9]{1,9}$")], ...] = Field(
        default=(), max_length=1000
    )
    apply: bool = False


class Dlq(Request):
    """Begin to do with a group's dead letters what ``supervisor dlq`` does.

    ``headers`` are ``NAME`` or ``NAME=VALUE``, ``origins`` ``TOPIC[/P[@OFFSET[-OFFSET]]]``, times seconds since the
    epoch. An ``export`` writes no file: its letters are for who asks for them, by ``dlq_lines``.
    """

    verb: Literal["list", "show", "stats", "export", "replay", "drop", "drain"]
    group: Target
    source: Place | None = None
    topics: tuple[Name, ...] = Field(default=(), max_length=100)
    headers: tuple[Text, ...] = Field(default=(), max_length=50)
    since: float | None = Field(default=None, allow_inf_nan=False)
    until: float | None = Field(default=None, allow_inf_nan=False)
    keys: tuple[Text, ...] = Field(default=(), max_length=1000)
    exceptions: tuple[Text, ...] = Field(default=(), max_length=100)
    dispositions: tuple[Name, ...] = Field(default=(), max_length=20)
    origins: tuple[Text, ...] = Field(default=(), max_length=100)
    pending: bool = False
    limit: int = Field(default=50, ge=1, le=MOST_LETTERS)
    letter: str = Field(default="", max_length=1000)
    value: bool = False
    name: str = Field(default="", max_length=200)
    to: str = Field(default="", max_length=249)
    by_key: bool = False
    rate: float = Field(default=0.0, ge=0, le=1e6, allow_inf_nan=False)
    most: int = Field(default=0, ge=0)
    max_replays: int = Field(default=3, ge=0, le=1_000_000)
    restart: bool = False
    dry_run: bool = False


class StopDlq(Request):
    """Have a job of that kind finish what it has in hand, and end; the same order goes on from there."""

    number: int = Field(ge=0)


class NoteDlq(Request):
    """Tell the event of what somebody did with dead letters; who it was is told by the socket, not by the request."""

    name: Literal["replay_started", "replayed", "exported", "drop_started", "dropped", "drained"]
    group: Target
    text: str = Field(default="", max_length=2000)
    fields: dict[
        Annotated[str, Field(max_length=40, pattern="^[a-z_]+$")],
        Annotated[str, Field(max_length=2000)] | int | float | bool | None,
    ] = Field(default_factory=dict, max_length=30)


class Hold(Request):
    """Stay down when the slot's process next ends."""

    target: Target


class Silence(Request):
    """Tell nobody of what bears this name: an event's, a condition's, or a pattern with ``*``."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[a-z0-9_.*?-]+$")
    group: str = Field(default="", max_length=300)
    slot: int | None = Field(default=None, ge=0, lt=10_000)
    seconds: float = Field(gt=0, le=366 * 86400)
    reason: str = Field(default="", max_length=300)


class Unsilence(Request):
    """End a silence."""

    number: int = Field(ge=1)
