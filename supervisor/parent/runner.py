"""Run one slot: wait for what happens, ask ``core.slot_rules``, do what it says."""

import asyncio
import logging
import random
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import assert_never

from supervisor.core.events import Scalar, Severity
from supervisor.core.frames import Frame, FrameError, encode
from supervisor.core.jsonable import to_json
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
from supervisor.core.snapshot import SlotSnapshot, SlotState, WorkerStats
from supervisor.core.spec import Mode
from supervisor.parent.cgroups import Cgroups
from supervisor.parent.channel import Channel
from supervisor.parent.crash import remove_crash_file, take_evidence, take_stacks
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.gate import StartGate
from supervisor.parent.launcher import Child, Launcher, Started, send_signal
from supervisor.parent.limits import SlotLimits
from supervisor.parent.oom import OomWatch
from supervisor.parent.plan import GroupPlan
from supervisor.parent.slotfile import SlotFile
from supervisor.parent.survivors import LockWait
from supervisor.parent.telemetry import Telemetry
from supervisor.parent.told import Told, death_detail, death_fields, scalars, tell

SIGNALS = {
    Rung.DUMP: signal.SIGUSR1,
    Rung.TERM: signal.SIGTERM,
    Rung.ABORT: signal.SIGABRT,
    Rung.KILL: signal.SIGKILL,
}
SURVIVOR_MARGIN = 1.0
DUMP_TIME = 0.5
"""Seconds after which the stacks that a worker was asked for are there; one that does not run writes none."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """What all slots of a supervisor share.

    ``stirred`` is called with the name of the group of which a slot is not what it was, ``changed`` after it.
    """

    launcher: Launcher
    exits: ExitWatch
    starts: StartGate
    leaves: StartGate
    events: EventLog
    orphan_grace: float
    stirred: Callable[[str], None]
    changed: Callable[[], None]
    cgroups: Cgroups
    oom: OomWatch


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
        self._evidence: dict[str, str] = {}
        self._asked: Spawn | None = None
        self._cgroup = ""
        self._launching: Spawn | None = None
        """The process that the launcher was asked for and has not answered yet."""
        self.is_paused = False
        self._cut_off_at: float | None = None
        grace = house.orphan_grace + SURVIVOR_MARGIN
        self._lock_wait = LockWait(file, grace=grace, on_killed=self._survivor_killed)

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
                self.feed(Hung(hung))
        self.feed(Tick(healthy=verdict is None or verdict.healthy))

    def sample(self, *, due: bool) -> None:
        """Read the worker's memory and processor time when it is ``due``, every few seconds, or was never done."""
        if self._telemetry is not None and (due or self._telemetry.reading.rss_bytes is None):
            self._telemetry.sample(now=self._loop.time())

    def close(self) -> None:
        """Let go of the slot's file and timers; its process, if any, loses its parent."""
        self._lock_wait.cancel()
        self._launching = None
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

    def pause(self, *, on: bool) -> None:
        """Have the worker, and those that follow it, read nothing, or go on."""
        self.is_paused = on
        if self._channel is not None:
            self._channel.send("pause", on=on)

    def dump(self) -> bool:
        """Have the worker write the stacks of all its threads, which become an event; ``False`` when none can."""
        child = self.child
        if child is None or not self._hint(signal.SIGUSR1):
            return False
        self._loop.call_later(DUMP_TIME, self._dumped, child)
        return True

    def _dumped(self, child: Child) -> None:
        """Tell what the worker wrote; one that died meanwhile has it in its death."""
        if self.child is not child:
            return
        stack = take_stacks(self._file.path)
        text = "stacks of all threads" if stack else f"wrote no stacks within {DUMP_TIME:g} s"
        self._house.events.tell(
            "worker.dumped",
            Severity.INFO,
            text,
            group=self.group.name,
            slot=self.number,
            fields={"pid": child.pid, "incarnation": self.slot.incarnation},
            attachments={"stack": stack} if stack else {},
        )

    def reopen(self) -> bool:
        """Have the worker open its log file anew, if it has one."""
        return self._hint(signal.SIGUSR2)

    def _hint(self, number: signal.Signals) -> bool:
        if self.child is None or not self.slot.ready:
            return False  # it does not listen yet, and the signal would end it
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
        stats = self._telemetry.stats if self._telemetry else None
        return [(one.topic, one.partition) for one in stats.partitions if one.stopped] if stats else []

    def resume(self, partitions: Sequence[tuple[str, int]], to: str) -> None:
        """Tell the worker where to go on in stopped partitions."""
        if self._channel is not None:
            self._channel.send("resume", partitions=list(partitions), to=to)

    def snapshot(self) -> SlotSnapshot:
        """Return what people may see of the slot."""
        now, slot, seen = self._loop.time(), self.slot, self._telemetry
        waits = slot.state is SlotState.BACKOFF or (slot.state is SlotState.LEAVING and slot.after is SlotState.BACKOFF)
        reason = self._lock_wait.note or slot.reason
        if waits and slot.parked:
            reason = f"waits for its group's canary: {reason}"
        if slot.held and slot.state is SlotState.RUNNING:
            reason = "held: stays down when it next exits"
        return SlotSnapshot(
            group=self.group.name,
            slot=self.number,
            state=slot.state,
            pid=self.child.pid if self.child else None,
            uptime=round(now - seen.since, 3) if seen else None,
            incarnation=slot.incarnation,
            restarts=slot.restarts,
            joined=slot.joined,
            reason=reason,
            next_start_in=round(max(0.0, slot.start_at - now), 3) if waits and not slot.parked else None,
            records_per_s=seen.records_per_s(now=now) if seen else None,
            rss_bytes=seen.reading.rss_bytes if seen else None,
            cpu_percent=seen.reading.cpu_percent if seen else None,
            stats=seen.stats if seen else None,
            paused=self.is_paused,
        )

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
                self._asked = effect
                self._queue_up()
            case CancelSpawn():
                self._asked = self._launching = None
                self._lock_wait.cancel()
                self._leave_gates()
            case SendStop():
                told = self._channel is not None and self._channel.send("stop", end=effect.end, timeout=effect.timeout)
                if not told and self.child is not None:
                    send_signal(self.child, signal.SIGTERM)
            case Signal():
                self._signal(effect.rung)
            case Report():
                self._report(effect)
            case _:
                assert_never(effect)

    def _transition(self, before: SlotState) -> None:
        """Keep the change for who reconstructs what happened; what people should know has an event of its own."""
        slot = self.slot
        fields: dict[str, Scalar] = {"from": before.value, "to": slot.state.value, "incarnation": slot.incarnation}
        text = f"{before.value} to {slot.state.value}" + (f": {slot.reason}" if slot.reason else "")
        self._house.events.tell(
            "slot.state", Severity.DEBUG, text, group=self.group.name, slot=self.number, fields=fields
        )

    def _report(self, report: Report) -> None:
        fields = report.fields
        if report.name == "worker.fenced":
            fields = {**fields, **self._told.fenced_by}
        is_death = report.name == "worker.exited" and report.severity is not Severity.INFO
        self._house.events.tell(
            report.name,
            report.severity,
            report.text,
            group=self.group.name,
            slot=self.number,
            fields=fields,
            attachments=self._evidence if is_death else None,
        )

    def _signal(self, rung: Rung) -> None:
        if self.child is None:
            return
        number = SIGNALS[rung]
        fields = {"group": self.group.name, "slot": self.number, "pid": self.child.pid, "signal": number.name}
        logger.info("worker.signalled", extra={"fields": fields})
        send_signal(self.child, number, whole_group=rung is Rung.KILL)
        if rung is Rung.TERM:  # a suspended process could not obey; systemd does the same (systemd.kill(5))
            send_signal(self.child, signal.SIGCONT)

    # From "a process is asked for" to "it exists".

    def _queue_up(self) -> None:
        if self._asked is not None:
            gate = self._house.starts if self._asked.mode is Mode.WORK else self._house.leaves
            gate.enter(self._key, self._launch)

    def _leave_gates(self) -> None:
        self._house.starts.leave(self._key)
        self._house.leaves.leave(self._key)

    def _launch(self) -> None:
        asked = self._asked
        if asked is None:
            self._leave_gates()
            return
        if not self._lock_wait.when_free(self._queue_up):
            self._leave_gates()
            return
        self._asked = None
        try:
            spec = self._house.cgroups.placed(self.group.spec(self.number, asked.incarnation, asked.mode))
            self._cgroup = spec.limits.cgroup
            self._house.oom.begin(self._cgroup)
            first_frame = encode("spec", spec=to_json(replace(spec, paused=self.is_paused)))
            self._file.fit(self.group.cells)
        except (OSError, FrameError) as error:
            self._leave_gates()
            self.feed(SpawnFailed(str(error)))
            return
        self._launching = asked
        self._house.launcher.start(spec, self._file.path, partial(self._launched, asked, first_frame))

    def _launched(self, asked: Spawn, first_frame: bytes, started: Started | OSError) -> None:
        """Take the process that was asked for, unless it is not wanted any more."""
        if self._launching is not asked:
            if isinstance(started, Started):
                self._turn_away(started)
            return
        self._launching = None
        if isinstance(started, OSError):
            self._leave_gates()
            self.feed(SpawnFailed(str(started)))
            return
        child, now = started.child, self._loop.time()
        self.child, self._told = child, Told()
        self._telemetry = Telemetry(child.pid, self.group.limits, now=now)
        self._channel = Channel(started.connection, self._on_frame, name=self.name)
        self._channel.send_line(first_frame)
        self._house.exits.watch(child, self._on_exit)
        self.feed(Spawned(child.pid))

    def _turn_away(self, started: Started) -> None:
        """End a process that came too late: it was told nothing, so it is nobody's worker yet."""
        started.connection.close()
        self._house.exits.watch(started.child, lambda _status: None)
        send_signal(started.child, signal.SIGKILL, whole_group=True)

    def _survivor_killed(self, pid: int, waited: float) -> None:
        text = f"left by an earlier supervisor, killed after {waited:.0f} s"
        fields: dict[str, Scalar] = {"pid": pid, "class": "survivor"}
        self._house.events.tell(
            "worker.exited", Severity.WARNING, text, group=self.group.name, slot=self.number, fields=fields
        )

    # What the process says and how it ends.

    def _on_frame(self, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                self._leave_gates()
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
                self._telemetry.told(self._told.stats(frame), now=self._loop.time())
            case "event" if frame.get("name") == "worker.fenced":
                # The exit that follows is the one event of it; only who the other member is comes from here.
                self._told.fenced_by = scalars(dict(frame.get("fields") or {}))
            case "event":
                tell(self._house.events, frame, group=self.group.name, slot=self.number)
            case "bye":
                self._told.bye(frame)
            case _:
                pass

    def _on_exit(self, status: int) -> None:
        child, seen, now = self.child, self._telemetry, self._loop.time()
        if self._channel is not None:
            self._channel.finish()
        self._house.cgroups.empty(*self._key)
        board = self._file.board()
        pid = child.pid if child else 0
        died_working = board is not None and board.pid == pid and self.slot.mode is Mode.WORK
        in_flight = board.in_flight if board is not None and died_working else ()
        self.child = self._channel = self._telemetry = None
        self._leave_gates()
        if self.slot.process is not Process.LIVE:
            return
        uptime = round(now - seen.since, 3) if seen else 0.0
        fields = death_fields(self._told, in_flight, pid=pid, uptime=uptime)
        rss = fields["rss_bytes"] = seen.reading.rss_bytes if seen else None
        by_us = self.slot.rung is Rung.KILL
        found = self._house.oom.judge(status, self._cgroup, by_us=by_us, rss=rss, now=now)
        detail = " ".join(
            part for part in (death_detail(self._told, in_flight), found.hint and f"({found.hint})") if part
        )
        self._evidence = take_evidence(self._file.path)
        self.feed(Exited(status, detail, left=self._told.left, oom=found.oom, fields=fields))
