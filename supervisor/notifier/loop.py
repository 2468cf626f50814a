"""The notifier's loop: events in, alert plugins called, failures and counters out."""

import logging
import queue
import selectors
import time
from collections.abc import Sequence

from supervisor.core.events import Event, Severity
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json, to_json
from supervisor.link import Link
from supervisor.notifier.courier import Courier, Failed
from supervisor.plugin.active import Alert

TICK = 0.5
DRAIN_TIMEOUT = 5.0
REPORT_INTERVAL = 60.0
KEEP_ALIVE = 20.0
"""Seconds after which counts that did not change are told again: the parent ends a child that is silent for long."""
_MAX_FAILURES = 1000

_log = logging.getLogger(__name__)


class Loop:
    """Run until told to stop: by a ``stop`` frame, the stream's end, or ``request_stop``.

    A plugin's failures are logged each; the parent is told of the first and then once per
    ``REPORT_INTERVAL``, with their number: an event about an alert that fails is itself alerted.
    """

    def __init__(self, link: Link, alerts: Sequence[tuple[str, Alert]]) -> None:
        self._link = link
        self._failures: queue.Queue[Failed] = queue.Queue(_MAX_FAILURES)
        self._couriers = [Courier(name, alert, self._note) for name, alert in alerts]
        self._reported: dict[str, float] = {}
        self._unreported: dict[str, int] = {}
        self._stats: object = None
        self._stats_at = 0.0
        self._timeout: float | None = None
        self._asked = False

    def request_stop(self) -> None:
        """End soon; safe in a signal handler."""
        self._asked = True

    def run(self, early: Sequence[Frame] = ()) -> None:
        """Obey ``early`` frames, then those that come. Main thread.

        Returns when all events are out, or their time to be so is over.
        """
        self._link.send("ready")
        for frame in early:
            self._obey(frame)
        with selectors.DefaultSelector() as selector:
            selector.register(self._link, selectors.EVENT_READ)
            while not (self._asked or self._link.lost or self._timeout is not None):
                if selector.select(TICK):
                    for frame in self._link.receive():
                        self._obey(frame)
                self._turn()
        self._drain(time.monotonic() + (DRAIN_TIMEOUT if self._timeout is None else self._timeout))

    def _obey(self, frame: Frame) -> None:
        match frame["type"]:
            case "alert":
                try:
                    event = from_json(Event, frame.get("event"))
                except ValueError as error:
                    _log.warning("alert.unreadable", extra={"fields": {"why": str(error)}})
                    return
                for courier in self._couriers:
                    courier.offer(event)
            case "stop":
                timeout = frame.get("timeout")
                self._timeout = float(timeout) if isinstance(timeout, int | float) else DRAIN_TIMEOUT
            case _:
                pass  # of a newer parent

    def _turn(self) -> None:
        for courier in self._couriers:
            courier.check()
        self._tell_failures()
        self._tell_stats()
        self._link.flush()

    def _drain(self, deadline: float) -> None:
        idle = [courier.stop(deadline) for courier in self._couriers]
        if not all(idle):
            left = sum(courier.counts().queued for courier in self._couriers)
            _log.warning("alerts.left", extra={"fields": {"queued": left}})
        self._tell_failures()
        self._stats_at = 0.0
        self._tell_stats()
        self._link.flush_until(deadline)

    def _note(self, failed: Failed) -> None:
        """Any thread: remember a failure for the main thread, which alone talks to the parent."""
        try:
            self._failures.put_nowait(failed)
        except queue.Full:
            _log.warning("alert.failed", extra={"fields": _fields(failed)})

    def _tell_failures(self) -> None:
        while not self._failures.empty():
            failed = self._failures.get_nowait()
            _log.warning("alert.failed", extra={"fields": _fields(failed)})
            now = time.monotonic()
            count = self._unreported.get(failed.plugin, 0) + 1
            if now - self._reported.get(failed.plugin, -REPORT_INTERVAL) < REPORT_INTERVAL:
                self._unreported[failed.plugin] = count
                continue
            self._reported[failed.plugin] = now
            self._unreported[failed.plugin] = 0
            self._link.send(
                "event",
                name="notifier.failed",
                severity=Severity.WARNING.value,
                text=f"alert plugin {failed.plugin} did not take {failed.event}: {failed.reason}",
                fields={"plugin": failed.plugin, "failures": count},
            )

    def _tell_stats(self) -> None:
        now = time.monotonic()
        if now - self._stats_at < 1.0:
            return
        stats = {courier.name: to_json(courier.counts()) for courier in self._couriers}
        if stats != self._stats or now - self._stats_at >= KEEP_ALIVE:
            self._stats, self._stats_at = stats, now
            self._link.send("stats", stats=stats)


def _fields(failed: Failed) -> dict[str, str]:
    return {"plugin": failed.plugin, "alert": failed.event, "reason": failed.reason}
