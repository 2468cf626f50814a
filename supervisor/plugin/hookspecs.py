"""Every hook there is, and when it fires. Implement any subset, mark it with ``hookimpl``.

Hooks are resolved once, when a worker starts: a plugin registered later is not seen.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pluggy

from supervisor.core.events import Event
from supervisor.plugin.types import Claim, Decision, Failure, Letter, Produce, Record, WorkerContext

PROJECT = "supervisor"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Process = Callable[[Record], object]
ProcessBatch = Callable[[Sequence[Record]], object]
Partitions = Sequence[tuple[str, int]]


@hookspec
def process(record: Record) -> Produce | Sequence[Produce] | None:
    """Work one record; returning settles it, raising fails the attempt.

    Worker process, a handler thread; blocks only its own lane. As ``async def``, a task of one event loop: there
    to block is to stop all records. Exactly one active plugin (or the group's ``handler``) implements this or
    ``process_batch``. Any exception, ``SystemExit`` included, goes to ``retry_decision``. A ``Produce``, or a list
    of them, is produced; the record is settled once the brokers have confirmed it. Any other return value makes a
    dead letter (``plugin-error``) without a retry: the side effects have happened.
    """


@hookspec
def process_batch(
    records: Sequence[Record],
) -> Sequence[BaseException | Produce | Sequence[Produce] | None] | None:
    """Work a run of records of one partition, in order; ``None`` settles them all.

    Worker process, a handler thread or, as ``async def``, a task. A list of the same length gives each record
    its outcome: ``None`` settled, an exception failed, a ``Produce`` or a list of them is produced. Raising fails
    every record of the batch. A failed one is tried again alone; its neighbours are not.
    """


@hookspec
def decode(record: Record) -> object:
    """Return what ``record.data`` is to be; only the plugin that the group's ``decode`` names is asked.

    Worker process, a handler thread, before each attempt of a record; with ``async def`` handlers their event loop, or
    a thread beside it where ``decode_blocks`` says so. An exception means that no attempt will ever read the value: the
    handler does not see the record, and ``retry_decision`` is asked with a ``DecodeError``. ``DependencyDownError``
    means that something else is away (a schema registry), and the record waits for it.
    """


@hookspec
def decode_blocks(record: Record) -> bool | None:
    """Tell whether ``decode`` may wait for something, so that it must not run on the event loop.

    Worker process, the event loop of ``async def`` handlers, once per attempt. Without this hook it never waits.
    """


@hookspec
def data_model(model: object) -> None:
    """Learn what the handler takes: ``Order`` when it is annotated ``Record[Order]``, ``None`` when it does not say.

    Worker process, main thread, once, when the plugin that ``decode`` names is loaded; the throwaway child of
    ``supervisor check``, too. Raise ``ValueError`` with what to write instead when nothing can be made of it.
    """


@hookspec
def wrap_process(process: Process, is_async: bool) -> Process | None:  # noqa: FBT001 - hooks are called by name
    """Return a function that calls the handler, to be called in its place; ``None`` leaves it as it is.

    Worker process, main thread, once, when the handler is loaded. The function is of the handler's kind (``async def``
    with ``is_async``), is called for each attempt where the handler would be, and returns or raises what becomes of
    it. What it costs is paid per record.
    """


@hookspec
def wrap_process_batch(process: ProcessBatch, is_async: bool) -> ProcessBatch | None:  # noqa: FBT001 - same
    """Do the same around a ``process_batch`` handler; the function gets and returns what that does.

    Worker process, main thread, once, when the handler is loaded.
    """


@hookspec
def traced_calls() -> Sequence[tuple[float, str, float]] | None:
    """Return calls of the handler that are part of a trace, as (seconds, trace id, when it ended).

    Worker process, main thread, about once a second: return what is kept since the last time, and not much. They
    become exemplars of the metric ``handler_seconds``. Exceptions are logged.
    """


@hookspec
def failure_decided(failure: Failure, decision: Decision) -> None:
    """Learn what becomes of a record whose attempt failed, whoever decided it; nothing can be changed here.

    Worker process, a handler thread, once per failed attempt. The record waits: do not block. Exceptions are logged.
    """


@hookspec
def claim(keys: Sequence[str], token: str, lease: float) -> Sequence[Claim] | None:
    """Claim keys for ``lease`` seconds before their records are worked; answer each: mine, busy, or done.

    Worker process, a handler thread, a thread beside the event loop, or one that renews: a key claimed by the same
    ``token`` is mine again, for another ``lease``. Only the plugin that ``idempotency.store`` names is asked. It may
    block, within a time of its own; whatever it raises means that the store is down: the records wait for it.
    """


@hookspec
def done(keys: Sequence[str], ttl: float) -> None:
    """Remember for ``ttl`` seconds that keys were worked, whoever claimed them.

    Worker process, the threads that ``claim`` names. What it raises means that the store is down: it is told again.
    """


@hookspec
def release(keys: Sequence[str], token: str) -> None:
    """Forget the claims that ``token`` still has on keys: their records failed, and may be claimed again at once.

    Worker process, the threads that ``claim`` names. What it raises is ignored: the leases end by themselves.
    """


@hookspec(firstresult=True)
def retry_decision(failure: Failure) -> Decision | None:
    """Decide what becomes of a record whose processing failed.

    Worker process, a handler thread, once per failed attempt. The record's lane waits for the answer: do
    not block. The first plugin that answers wins; ``None`` leaves it to the next, and in the end to the
    group's ``[retry]`` table. ``Retry`` in place, ``RetryTopic``, ``DeadLetter``, ``Drop``, ``Crash`` the worker,
    ``Pause`` the group. An exception here dead-letters the record with disposition ``plugin-error``: a broken policy
    must not stall a partition.
    """


@hookspec
def send_dead_letter(letter: Letter) -> "Future[None] | Produce | None":
    """Write a dead letter; only the plugin that ``dead_letters.sink`` or ``fallback`` names is asked.

    Worker process, a handler thread. Return ``None`` when it is durable, a future that ends once it is, or a
    ``Produce`` for the worker to send; the record's offset moves only then (P1). An exception, here or in the
    future, or no answer within ``dead_letters.timeout``, goes to the fallback and then to another try with
    backoff: the lane waits, nothing is lost. May be called again for the same ``audit_id``.
    """


@hookspec
def alert(event: Event) -> None:
    """Tell people what happened: a death, a FATAL slot, a dead letter that could not be written, a fencing.

    Notifier process, a thread of the plugin's own, one event at a time: it may block for up to 30 s and
    delays nobody else. A longer call is given up and the next event offered on a new thread. An exception
    is logged; the event is not offered to this plugin again, but for ``TryAgainError``: then it is, after 5 s
    and with growing waits, for a quarter of an hour, while later events wait behind it.
    """


@hookspec
def worker_started(context: WorkerContext) -> None:
    """Prepare: open pools, load models. Worker process, main thread, once, before the group is joined.

    An exception ends the worker before it was ready (exit class ``startup``).
    """


@hookspec
def worker_stopping() -> None:
    """Tidy up: all records are settled or given back, the consumer is closed. Worker process, main thread, once.

    Not called when the worker dies. Exceptions are logged.
    """


@hookspec
def partitions_assigned(partitions: Partitions) -> None:
    """Learn of partitions gained, before their first record. Worker process, the polling thread: do not block."""


@hookspec
def partitions_revoked(partitions: Partitions, lost: bool) -> None:  # noqa: FBT001 - hooks are called by name
    """Learn of partitions that go, after their last commit; ``lost`` when another member may own them already.

    Worker process, the polling thread: the whole group waits, do not block.
    """
