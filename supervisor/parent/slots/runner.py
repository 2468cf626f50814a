"""Run one slot: wait for what happens, ask ``core.slot_rules``, do what it says."""

import asyncio
import logging
import random
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from supervisor.core.events import Scalar, Severity
from supervisor.core.frames import Frame
from supervisor.core.slot import (
    CancelSpawn,
    Effect,
    Exited,
    Hung,
    Joined,
    Process,
    Ready,
    Report,
    Rung,
    SendStop,
    Signal,
    Slot,
    SlotEvent,
    Spawn,
    Spawned,
    SpawnFailed,
    Tick,
)
from supervisor.core.slot_rules import is_down, step
from supervisor.core.snapshot import SlotSnapshot, SlotState
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.deaths.crash import remove_crash_file
from supervisor.parent.deaths.deaths import Inquest
from supervisor.parent.plan import GroupPlan
from supervisor.parent.processes.channel import Channel
from supervisor.parent.processes.launcher import RUNGS, Child, send_signal
from supervisor.parent.processes.told import Told, death_detail, death_fields, scalars, seconds_of, tell, why_paused
from supervisor.parent.slots.house import House
from supervisor.parent.slots.limits import SlotLimits
from supervisor.parent.slots.slot_view import shown
from supervisor.parent.slots.slotfile import SlotFile
from supervisor.parent.slots.starting import Born, Starting
from supervisor.parent.slots.telemetry import Telemetry

logger = logging.getLogger(__name__)


class SlotRunner:
    """The shell around one slot's state machine, in the parent's loop. Nothing here waits."""

    def __init__(self, group: GroupPlan, number: int, file: SlotFile, house: House) -> None:
        self.group = group
        self.number = number
        self.slot = Slot()
        self.child: Child | None = None
        self.limits = SlotLimits(group.allowance)
        self._loop = asyncio.get_running_loop()
        self.looked_at = self._loop.time()
        self._house = house
        self._file = file
        self._key = (group.name, number)
        self._random = random.Random()  # noqa: S311 - jitter
        self._pending: deque[SlotEvent] = deque()
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._channel: Channel | None = None
        self._telemetry: Telemetry | None = None
        self._told = Told()
        self._inquest = Inquest(file.path, house.ledger, self._key, self._tell)
        self._cgroup = ""
        self.is_paused = self._began_paused = False
        self._cut_off_at: float | None = None
        self._starting = Starting(
            self._key, file, house, spec=self._spec, answer=self._born, survivor_killed=self._survivor_killed
        )

    @property
    def name(self) -> str:
        """The slot as people write it."""
        return f"{self.group.name}/{self.number}"

    @property
    def file_path(self) -> Path:
        """The slot's file."""
        return self._file.path

    @property
    def telemetry(self) -> Telemetry | None:
        """What is known of the slot's present worker."""
        return self._telemetry

    @property
    def is_down(self) -> bool:
        """Whether the slot is at rest."""
        return is_down(self.slot)

    @property
    def has_left(self) -> bool:
        """Whether the slot is at rest and no member of its name is in the group."""
        return self.is_down and not self.slot.member

    def inherit(self) -> None:
        """Take it that a member of an earlier supervisor is in the group under the slot's name."""
        self.slot = replace(self.slot, member=True)

    def feed(self, event: SlotEvent) -> None:
        """Let ``event`` happen to the slot and do what follows."""
        self._pending.append(event)
        if self._busy:
            return
        self._busy = True
        slot = self.slot
        try:
            while self._pending:
                now, before = self._loop.time(), self.slot.state
                event, chance = self._pending.popleft(), self._random.random()
                self.slot, effects = step(self.group.policy, self.slot, event, now=now, chance=chance)
                if self.slot.state is not before:
                    self._transition(before)
                for effect in effects:
                    self._perform(effect)
        finally:
            self._busy = False
        self._arm()
        if self.slot is not slot:
            self._house.stirred(self.group.name)
        self._house.changed()

    def look(self) -> None:
        """Judge the worker's progress; about once a second."""
        now = self.looked_at = self._loop.time()
        verdict = None
        if self._telemetry is not None and self.slot.ready:
            verdict = self._telemetry.look(self._file.board(), now=now)
            if hung := verdict.hung or self._cut_off(now):
                self._inquest.give_up(verdict)
                self.feed(Hung(hung))
        self.feed(Tick(healthy=verdict is None or verdict.healthy))

    def sample(self, *, due: bool) -> None:
        """Read the worker's memory and processor time when it is ``due``, every few seconds, or was never done."""
        if self._telemetry is not None and (due or self._telemetry.reading.rss_bytes is None):
            self._telemetry.sample(now=self._loop.time())
            self._house.tallies.used(self._key, self._telemetry.reading.cpu_used)

    def close(self) -> None:
        """Let go of the slot's file and timers; its process, if any, loses its parent."""
        self._starting.close()
        self._inquest.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()
        self._house.cgroups.remove(*self._key)
        self._file.close()

    def remove(self) -> None:
        """As ``close``, for a slot that is no more: its file goes, too, unless somebody holds its lock."""
        is_free = self._file.holder() is None
        self.close()
        if is_free:
            self._file.path.unlink(missing_ok=True)
            remove_crash_file(self._file.path)

    def replan(self, group: GroupPlan) -> None:
        """Judge and start by another plan from now on; the present process stays what it is."""
        self.group = group

    @property
    def can_work(self) -> bool:
        """Whether a worker is ready, and nobody stops it."""
        return self.slot.ready and self.slot.state is SlotState.RUNNING

    def tell(self, kind: str, **members: object) -> bool:
        """Send the worker a frame; ``False`` when there is none to send it to."""
        return self._channel is not None and self._channel.send(kind, **members)

    def pause(self, *, on: bool) -> None:
        """Have the worker, and those that follow it, read nothing, or go on."""
        self.is_paused = on
        if self._channel is not None:
            self._channel.send("pause", on=on)

    def hint(self, number: signal.Signals) -> bool:
        """Send the worker a signal that ends nothing; ``False`` when none listens yet: it would end it."""
        if self.child is None or not self.slot.ready:
            return False
        send_signal(self.child, number)
        return True

    @property
    def stats(self) -> WorkerStats | None:
        """What the worker last said of its work."""
        return self._telemetry.stats if self._telemetry else None

    def kill(self) -> None:
        """SIGKILL whatever fills the slot, past all rules; for a supervisor that must end now."""
        if self.child is not None:
            send_signal(self.child, signal.SIGKILL, whole_group=True)

    def stopped_partitions(self) -> list[tuple[str, int]]:
        """Return the partitions whose worker waits to be told where to go on."""
        stats = self.stats
        return [(one.topic, one.partition) for one in stats.partitions if one.stopped] if stats else []

    def resume(self, partitions: Sequence[tuple[str, int]], to: str) -> None:
        """Tell the worker where to go on in stopped partitions."""
        if self._channel is not None:
            self._channel.send("resume", partitions=list(partitions), to=to)

    def snapshot(self) -> SlotSnapshot:
        """Return what people may see of the slot."""
        pid = self.child.pid if self.child else None
        seen, note = self._telemetry, self._starting.note
        return shown(self._key, self.slot, pid, seen, note=note, paused=self.is_paused, now=self._loop.time())

    def _cut_off(self, now: float) -> str:
        """Say that the worker has lived on for long without a connection: it cannot be told anything any more."""
        if self._channel is None or self._channel.is_open:
            self._cut_off_at = None
            return ""
        self._cut_off_at = now if self._cut_off_at is None else self._cut_off_at
        is_long = now - self._cut_off_at > self.group.policy.hung_timeout
        return "its connection to the supervisor is closed, and it goes on" if is_long else ""

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.slot.deadline is not None:
            self._timer = self._loop.call_at(self.slot.deadline, self._deadline)

    def _deadline(self) -> None:
        self._timer = None
        self.feed(Tick(healthy=self._telemetry is None or self._telemetry.verdict.healthy))

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Spawn():
                self._starting.ask(effect)
            case CancelSpawn():
                self._starting.cancel()
            case SendStop():
                self._send_stop(effect)
            case Signal():
                self._signal(effect.rung)
            case Report():
                self._report(effect)
            case _:
                assert_never(effect)

    def _send_stop(self, stop: SendStop) -> None:
        members = {"end": stop.end, "timeout": stop.timeout, "overdue": self._inquest.overdue}
        told = self._channel is not None and self._channel.send("stop", **members)
        if not told and self.child is not None and not self.slot.hung:  # who hangs is told by the ladder
            send_signal(self.child, signal.SIGTERM)

    def _transition(self, before: SlotState) -> None:
        """Keep the change for who reconstructs what happened; what people should know has an event of its own."""
        slot = self.slot
        fields: dict[str, Scalar] = {"from": before.value, "to": slot.state.value, "incarnation": slot.incarnation}
        text = f"{before.value} to {slot.state.value}" + (f": {slot.reason}" if slot.reason else "")
        self._tell(Report("slot.state", Severity.DEBUG, text, fields), {})

    def _report(self, report: Report) -> None:
        fields = report.fields
        if report.name == "worker.fenced":
            fields = {**fields, **self._told.fenced_by}
        if report.name == "worker.hung" and self.slot.hung:
            self._inquest.hold(replace(report, fields=fields))
            return
        is_death = report.name == "worker.exited" and report.severity is not Severity.INFO
        self._tell(replace(report, fields=fields), self._inquest.evidence if is_death else {})

    def _tell(self, report: Report, attachments: dict[str, str]) -> None:
        self._house.events.tell(
            report.name,
            report.severity,
            report.text,
            group=self.group.name,
            slot=self.number,
            fields=report.fields,
            attachments=attachments,
        )

    def _signal(self, rung: Rung) -> None:
        if self.child is None:
            return
        number = RUNGS[rung]
        fields = {"group": self.group.name, "slot": self.number, "pid": self.child.pid, "signal": number.name}
        logger.info("worker.signalled", extra={"fields": fields})
        send_signal(self.child, number, whole_group=rung is Rung.KILL)
        if rung is Rung.TERM:  # a suspended process could not obey; systemd does the same (systemd.kill(5))
            send_signal(self.child, signal.SIGCONT)

    # A process comes to be.

    def _spec(self, asked: Spawn) -> tuple[WorkerSpec, int]:
        spec = self.group.spec(self.number, asked.incarnation, asked.mode)
        breaker, flood = self._house.breakers.order(*self._key), self._house.floods.order(*self._key)
        self._began_paused = self.is_paused
        return replace(spec, paused=self.is_paused, breaker=breaker, flood=flood), self.group.cells

    def _born(self, answer: Born | str) -> None:
        if isinstance(answer, str):
            self.feed(SpawnFailed(answer))
            return
        child, now = answer.started.child, self._loop.time()
        self.child, self._told, self._cgroup = child, Told(), answer.cgroup
        self._telemetry = Telemetry(child.pid, self.group.limits, now=now)
        self._channel = Channel(answer.started.connection, self._on_frame, name=self.name)
        self._channel.send_line(answer.first_frame)
        if self.is_paused is not self._began_paused:  # told between the spec and the process
            self.pause(on=self.is_paused)
        self._house.exits.watch(child, self._on_exit)
        self.feed(Spawned(child.pid))

    def _survivor_killed(self, pid: int, waited: float) -> None:
        text = f"left by an earlier supervisor, killed after {waited:.0f} s"
        fields: dict[str, Scalar] = {"pid": pid, "class": "survivor"}
        self._tell(Report("worker.exited", Severity.WARNING, text, fields), {})

    # What the process says and how it ends.

    def _on_frame(self, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                self._starting.leave_gates()
                self.feed(Ready())
            case "assigned":
                self.feed(Joined())
            case kind:
                try:
                    self._hear(kind, frame)
                except (KeyError, TypeError, ValueError) as error:
                    fields = {"group": self.group.name, "slot": self.number, "kind": kind, "error": str(error)}
                    logger.warning("parent.frame_refused", extra={"fields": fields})

    def _hear(self, kind: str, frame: Frame) -> None:
        match kind:
            case "stats" if self._telemetry is not None:
                stats = self._told.stats(frame)
                self._house.tallies.told(self._key, self._telemetry.stats, stats)
                self._telemetry.told(stats, now=self._loop.time(), seconds=seconds_of(frame))
                self._house.ledger.committed(self.group.name, stats.partitions)
            case "event" if frame.get("name") == "worker.fenced":
                # The exit that follows is the one event of it; only who the other member is comes from here.
                self._told.fenced_by = scalars(dict(frame.get("fields") or {}))
            case "event":
                tell(self._house.events, frame, group=self.group.name, slot=self.number)
            case "breaker":
                self._house.breakers.heard(*self._key, frame)
            case "pause":
                self._house.pause(self.group.name, self.number, why_paused(frame))
            case "flood":
                self._house.floods.heard(*self._key, frame)
            case "cancelled":
                self._told.cancelled(frame)
            case "bye":
                self._told.bye(frame)
            case "accused" if self._channel is not None:
                self._house.ledger.answer(*self._key, frame, self._channel)
            case _:
                self._house.ledger.hear(self.group.name, self.number, frame)

    def _on_exit(self, status: int) -> None:
        child, seen, now = self.child, self._telemetry, self._loop.time()
        if self._channel is not None:
            self._channel.finish()
        self._house.cgroups.empty(*self._key)
        board = self._file.board()
        pid = child.pid if child else 0
        died_working = board is not None and board.pid == pid and self.slot.mode is Mode.WORK
        in_flight = board.in_flight if board is not None and died_working else ()
        if board is not None and died_working and seen is not None:
            self._house.tallies.ended(self._key, seen.stats, board.settled)
        self.child = self._channel = self._telemetry = None
        self._starting.leave_gates()
        if self.slot.process is not Process.LIVE:
            return
        uptime = round(now - seen.since, 3) if seen else 0.0
        fields = death_fields(self._told, in_flight, pid=pid, uptime=uptime)
        rss = fields["rss_bytes"] = seen.reading.rss_bytes if seen else None
        by_us = self.slot.rung is Rung.KILL
        found = self._house.oom.judge(status, self._cgroup, by_us=by_us, rss=rss, now=now)
        accused, is_news = self._inquest.hold_over(
            self.slot, status, in_flight, self._told, max_deaths=self.group.max_deaths
        )
        words = (death_detail(self._told, in_flight), accused and f"({accused})", found.hint and f"({found.hint})")
        detail = " ".join(filter(None, words))
        self.feed(Exited(status, detail, left=self._told.left, oom=found.oom, accuses=is_news, fields=fields))
