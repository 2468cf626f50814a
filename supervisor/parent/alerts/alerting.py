"""What people are told: conditions read off snapshots, and events on their way to the notifier.

In the parent's loop. No plugin is called here (P5), and no answer is waited for.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from supervisor.control.answers import AlertsAnswer, FiringAlert
from supervisor.core.alert_flow import FIRING, RESOLVED, Flow, FlowRules, Silence, without_ended
from supervisor.core.conditions import Change, Conditions, Finding, Kind, Rules
from supervisor.core.events import Event, Scalar, Severity
from supervisor.core.snapshot import Snapshot
from supervisor.parent.alerts.silences import KeptFile
from supervisor.parent.store.eventlog import EventLog

LOOK_EVERY = 5.0
"""Seconds between two looks at the conditions; a snapshot of many slots is not free."""
FLUSH = 2.0
MOST_SILENCES = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """When people are told what, and where their runbook is (empty: they get the command that prints it)."""

    flow: FlowRules = field(default_factory=lambda: FlowRules(group_wait=5.0, repeat=600.0, rate=30))
    conditions: Rules = field(default_factory=dict)
    runbook_url: str = ""


class TooManySilencesError(Exception):
    """No more silences are taken."""


class Alerting:
    """Listens to every event and gives ``offer`` what people are to be told.

    ``snapshot`` is to be set before the first ``pulse``, which is called about once a second.
    """

    def __init__(
        self,
        plan: AlertPlan,
        *,
        events: EventLog,
        offer: Callable[[Event], None],
        state_dir: Path,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.snapshot: Callable[[], Snapshot] | None = None
        self._events = events
        self._offer = offer
        self._file = KeptFile(state_dir / "silences.json", Silence)
        self._firing_file = KeptFile(state_dir / "alerts.json", FiringAlert)
        self._kept: frozenset[tuple[str, str, int | None]] = frozenset()
        self._flow = Flow(plan.flow)
        self._conditions = Conditions(plan.conditions)
        self._runbook_url = plan.runbook_url
        self._looked_at = self._loop.time()
        events.listen(self._hear)

    def open(self) -> None:
        """Take up the silences of an earlier supervisor; a file that cannot be read silences nobody."""
        try:
            self._flow.silences = without_ended(self._file.read(), at=time.time())
        except (OSError, ValueError) as error:
            text = f"{self._file.path} cannot be read, nothing is silenced: {error}"
            self._events.tell("alerts.silences_lost", Severity.WARNING, text)
        try:
            self._restore(self._firing_file.read())
        except (OSError, ValueError) as error:
            logger.warning("alerts.firing_lost", extra={"fields": {"error": str(error)}})

    def _restore(self, firing: tuple[FiringAlert, ...]) -> None:
        """Take up what people were told of: its end is told by us, and that it began is not told again."""
        now, at = self._loop.time(), time.time()
        for one in firing:
            if one.name in list(Kind):
                finding = Finding(Kind(one.name), one.group, one.slot, one.text)
                self._conditions.restore(finding, one.severity, since=now - max(0.0, at - one.since), now=now)
                self._flow.restore(one.name, one.group, one.slot, now=now)
        self._kept = frozenset((one.name, one.group, one.slot) for one in firing)

    def replan(self, plan: AlertPlan) -> None:
        """Tell by other rules from now on."""
        self._flow.rules = plan.flow
        self._conditions.replan(plan.conditions)
        self._runbook_url = plan.runbook_url

    def pulse(self) -> None:
        """Look at the conditions when it is time, and tell what waited long enough."""
        now = self._loop.time()
        if self.snapshot is not None and now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            for change in self._conditions.look(self.snapshot(), now=now):
                self._tell(change, now=now)
            self._keep_firing()
        self._flow.silences = without_ended(self._flow.silences, at=time.time())
        for event in self._flow.due(now=now, at=time.time()):
            self._offer(event)

    def flush(self) -> None:
        """Tell at once what still waits to be told together: the supervisor ends."""
        for event in self._flow.rest(now=self._loop.time(), at=time.time()):
            self._offer(event)

    async def stop(self) -> None:
        """Wait until all is kept."""
        self._keep_firing()
        await asyncio.gather(self._file.finished(FLUSH), self._firing_file.finished(FLUSH))

    @property
    def firing(self) -> tuple[tuple[str, str], ...]:
        """The conditions that hold and were told, by name and severity."""
        return tuple((one.finding.kind.value, one.severity.value) for one in self._conditions.firing)

    def answer(self) -> AlertsAnswer:
        """Return what fires, and what is silenced."""
        now, at = self._loop.time(), time.time()
        firing = tuple(
            FiringAlert(
                name=one.finding.kind.value,
                severity=one.severity,
                group=one.finding.group,
                slot=one.finding.slot,
                text=one.finding.text,
                since=round(at - (now - one.since), 3),
            )
            for one in self._conditions.firing
        )
        return AlertsAnswer(firing, without_ended(self._flow.silences, at=at), self._flow.silenced)

    def silence(self, silence: Silence) -> Silence:
        """Keep quiet about something from now on; return it with its number."""
        if len(self._flow.silences) >= MOST_SILENCES:
            raise TooManySilencesError
        number = 1 + max((one.number for one in self._flow.silences), default=0)
        added = replace(silence, number=number)
        self._keep((*self._flow.silences, added))
        return added

    def unsilence(self, number: int) -> Silence | None:
        """End a silence; return it, or ``None`` when there is none of that number."""
        found = next((one for one in self._flow.silences if one.number == number), None)
        if found is not None:
            self._keep(tuple(one for one in self._flow.silences if one is not found))
        return found

    def _keep(self, silences: tuple[Silence, ...]) -> None:
        self._flow.silences = silences
        self._file.write(silences, on_trouble=self._unkept)

    def _keep_firing(self) -> None:
        """Keep what people were told of and is not over, when that is not what it was."""
        firing = tuple(one for one in self.answer().firing if self._flow.told(one.name, one.group, one.slot))
        keys = frozenset((one.name, one.group, one.slot) for one in firing)
        if keys != self._kept:
            self._kept = keys
            self._firing_file.write(firing, on_trouble=_firing_unkept)

    def _unkept(self, error: OSError) -> None:
        text = f"silences hold until the supervisor ends; {self._file.path} cannot be written: {error.strerror}"
        self._events.tell("alerts.silences_unkept", Severity.WARNING, text)

    def _hear(self, event: Event) -> None:
        for told in self._flow.take(event, now=self._loop.time(), at=event.at):
            self._offer(told)

    def _tell(self, change: Change, *, now: float) -> None:
        finding = change.finding
        fields: dict[str, Scalar] = {
            "alert": finding.kind.value,
            "for": round(now - change.since, 1),
            "severity": change.severity.value,
        }
        if finding.value is not None:
            fields["value"] = finding.value
        if change.is_firing:
            url, kind = self._runbook_url, finding.kind.value
            fields["runbook"] = f"{url}#{kind}" if url else f"supervisor runbook {kind}"
        self._events.tell(
            FIRING if change.is_firing else RESOLVED,
            change.severity if change.is_firing else Severity.INFO,
            f"{finding.kind.value}: {finding.text}" if change.is_firing else f"{finding.kind.value}: over",
            group=finding.group,
            slot=finding.slot,
            fields=fields,
        )


def _firing_unkept(error: OSError) -> None:
    logger.warning("alerts.firing_unkept", extra={"fields": {"error": error.strerror}})
