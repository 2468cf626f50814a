"""The plugins of one process, resolved once into plain callables.

A call through pluggy costs 2 to 3 microseconds, a resolved one 0.1: what runs per record is here as the
user's own function wherever its arguments allow.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from supervisor.core.events import Event
from supervisor.core.histogram import SECONDS, Exemplar, newest
from supervisor.core.letters import where
from supervisor.core.suggest import did_you_mean
from supervisor.plugin.errors import PluginError, Problem, StartError
from supervisor.plugin.idempotency import Guard
from supervisor.plugin.importing import failure
from supervisor.plugin.signatures import is_async
from supervisor.plugin.types import Decision, Failure, Letter, Produce, Record, WorkerContext

Process = Callable[[Record], object]
ProcessBatch = Callable[[Sequence[Record]], object]
RetryDecision = Callable[[Failure], Decision | None]
Sink = Callable[[Letter], "Future[None] | Produce | None"]
Alert = Callable[[Event], object]
Named = tuple[str, Callable[..., Any]]
Run = Callable[..., object]
"""Called with a function and its arguments, it calls the function somewhere."""

_log = logging.getLogger(__name__)


class Active:
    """What the worker and the notifier call. Attributes are read-only and set when loading ended.

    ``process`` or ``process_batch`` is set, never both; neither in a process without a handler. With ``is_async``
    calling it makes a coroutine. The tuples are in call order. ``implementations`` names the plugins behind each
    hook, for people.
    """

    def __init__(
        self,
        hooks: Mapping[str, Sequence[Named]],
        *,
        handler_open: Callable[[WorkerContext], object] | None = None,
        handler_close: Callable[[], object] | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.process: Process | None = next((function for _, function in hooks.get("process", ())), None)
        self.process_batch: ProcessBatch | None = next((f for _, f in hooks.get("process_batch", ())), None)
        self.is_async = any(is_async(function) for function in (self.process, self.process_batch) if function)
        self.retry_decision: tuple[RetryDecision, ...] = tuple(f for _, f in hooks.get("retry_decision", ()))
        self.alerts: tuple[tuple[str, Alert], ...] = tuple(hooks.get("alert", ()))
        self.implementations = {hook: tuple(name for name, _ in named) for hook, named in hooks.items() if named}
        self.opened = False
        self.guard = guard
        self._sinks: dict[str, Sink] = dict(hooks.get("send_dead_letter", ()))
        self._hooks = {hook: tuple(named) for hook, named in hooks.items()}
        self._open = handler_open
        self._close = handler_close
        self._run: Run = _run_here

    def sink(self, name: str) -> Sink:
        """Return the sink of the plugin called ``name`` in the config; raise ``PluginError`` when there is none."""
        found = self._sinks.get(name)
        if found is None:
            names = tuple(self._sinks)
            help_ = did_you_mean(name, names) + f"sinks loaded: {', '.join(names) or 'none'}"
            raise PluginError(Problem(name, "is no dead-letter sink: it has no hook 'send_dead_letter'", help_))
        return found

    def run_handler_on(self, run: Run) -> None:
        """Have the handler's ``open()`` and ``close()`` called through ``run``, which awaits what they return."""
        self._run = run

    def worker_started(self, context: WorkerContext) -> None:
        """Run every ``worker_started`` hook, then the handler's ``open()``; may block.

        Worker process, main thread, once, before the group is joined. Raises ``StartError`` at the first
        failure.
        """
        for name, function in self._hooks.get("worker_started", ()):
            _start(f"{name}: worker_started", function, context)
        if self._open is not None:
            _start("handler: open()", partial(self._run, self._open), context)
        self.opened = True

    def worker_stopping(self) -> None:
        """Run the handler's ``close()``, then every ``worker_stopping`` hook, newest first; failures are logged.

        Worker process, main thread; may block. Nothing happens unless ``worker_started`` ended well.
        """
        if not self.opened:
            return
        self.close()
        if self.guard is not None:
            self.guard.close()
        self._tell("worker_stopping")

    def close(self) -> None:
        """Run the handler's ``close()`` if it was opened, at most once; a failure is logged."""
        opened, self.opened = self.opened, False
        if opened and self._close is not None:
            _guard("handler", "close", self._run, self._close)

    def failure_decided(self, failure: Failure, decision: Decision) -> None:
        """Tell plugins what becomes of a record. Any handler thread; never raises."""
        for name, function in self._hooks.get("failure_decided", ()):
            try:
                function(failure, decision)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - user code, which was given a record: its text may be in the error
                fields = {
                    "plugin": name,
                    "hook": "failure_decided",
                    "error": type(error).__qualname__,
                    "where": where(error),
                }
                _log.error("plugin.failed", extra={"fields": fields})

    def traced_calls(self) -> tuple[Exemplar, ...]:
        """Ask plugins for calls that are part of a trace; the last of each bucket. Main thread; never raises."""
        found: list[Exemplar] = []
        for name, function in self._hooks.get("traced_calls", ()):
            try:
                found += [Exemplar(float(value), str(trace_id), float(at)) for value, trace_id, at in function() or ()]
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001 - user code: no measurement is worth a worker
                _log.exception("plugin.failed", extra={"fields": {"plugin": name, "hook": "traced_calls"}})
        return newest((), found, SECONDS) if found else ()

    def partitions_assigned(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Tell plugins of partitions gained. Polling thread; never raises."""
        self._tell("partitions_assigned", partitions)

    def partitions_revoked(self, partitions: Sequence[tuple[str, int]], *, lost: bool) -> None:
        """Tell plugins of partitions that went. Polling thread; never raises."""
        self._tell("partitions_revoked", partitions, lost)

    def _tell(self, hook: str, *args: object) -> None:
        for name, function in self._hooks.get(hook, ()):
            _guard(name, hook, function, *args)


def _run_here(function: Callable[..., object], *args: object) -> object:
    return function(*args)


def _start(name: str, function: Callable[..., object], context: WorkerContext) -> None:
    try:
        function(context)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code: sys.exit() in a set-up is a failure with a name, too
        raise StartError(name, failure(error)) from error


def _guard(name: str, hook: str, function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - user code: must not reach the client's callback or stop the shutdown
        _log.exception("plugin.failed", extra={"fields": {"plugin": name, "hook": hook}})
