"""``run --until-end``: work to the ends that the topics have at the start, then stop.

What is done is told by committed offsets alone, whoever committed them: a worker that dies, or a partition on
another host, changes nothing. The questions are asked by a child of its own, since the parent holds no Kafka client
(P5); the goals are kept here, so that the child may die, too.
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass

from supervisor.core.child_specs import EndsSpec
from supervisor.core.durations import format_duration
from supervisor.core.ends import Goal, Progress, progress
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode, describe
from supervisor.core.frames import Frame
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.retry_topics import retry_topics
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import GroupSpec, Mode
from supervisor.parent.processes.channel import Channel
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import until
from supervisor.parent.processes.launcher import Child, send_signal, start_child
from supervisor.parent.supervisor import Supervisor

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.ends")
LOOK = 0.5
ANSWER_TIMEOUT = 60.0
"""Seconds after which a child that answers nothing is killed, and the next one asked."""
SHOW_EVERY = 5.0
AT_ONCE = 2000
NAMED = 5
END = 2.0

Place = tuple[str, int]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Until:
    """Which groups are run (none named: all), and for how many seconds nothing may move."""

    groups: tuple[str, ...]
    patience: float


class _Group:
    """One group on its way.

    Once its topics are done it is asked where its retry topics end: a record that failed is in one of them, and each
    such round brings it a tier further, or to its end.
    """

    def __init__(self, group: GroupSpec) -> None:
        self.goals: list[Goal] = []
        self.fresh: list[Goal] = []
        """What came of an answer that is not whole yet."""
        self.copies = frozenset(retry_topics(group))
        self.rounds = len(group.retry.tiers)
        self.is_again = False
        self.is_known = False
        self.committed: dict[Place, int] = {}
        self.unanswered = 0

    def progress(self) -> Progress:
        return progress(self.goals, self.committed)

    def take(self, goals: list[Goal], *, is_whole: bool) -> None:
        """Take (a part of) where its partitions end."""
        self.fresh += goals
        if not is_whole:
            return
        kept = [goal for goal in self.goals if self.is_again and goal.topic not in self.copies]
        self.goals, self.fresh, self.is_known = kept + self.fresh, [], True
        self.committed |= {goal.place: goal.committed for goal in self.goals if goal not in kept}

    def ask_again(self) -> bool:
        """Begin another round, if there is one."""
        if not self.rounds or self.progress().left:
            return False
        self.rounds -= 1
        self.is_again, self.is_known = True, False
        return True


class UntilEnd:
    """Starts the slots once the goals are known, and stops them when they are reached, or will not be."""

    def __init__(
        self, supervisor: Supervisor, until: Until, exits: ExitWatch, *, program: tuple[str, ...] = PROGRAM
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._until = until
        self._exits = exits
        self._program = program
        specs = {group.name: group.spec(0, 0, Mode.WORK).group for group in supervisor.plan.groups}
        self._groups = {name: _Group(spec) for name, spec in specs.items()}
        longest = max((tier.delay for spec in specs.values() for tier in spec.retry.tiers), default=0.0)
        self._patience = until.patience + longest
        self._channel: Channel | None = None
        self._child: Child | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked_at = self._moved_at = self._loop.time()
        self._shown_at = 0.0
        self._passed = -1
        self._trouble = ""
        self._is_started = self._is_reached = self._is_closing = False
        self._failure = ""

    def start(self) -> None:
        """Begin to ask."""
        self._look()

    def failure(self) -> str:
        """Return why the ends were not reached, or empty."""
        if self._is_reached:
            given_up = self._supervisor.fatal_reasons()
            return "the ends were reached, but slots were given up on the way" if given_up else ""
        return self._failure or f"stopped before the ends were reached{self._left_text()}"

    async def stop(self) -> None:
        """End the child; at most twice ``END``."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.close()
        for number in (None, signal.SIGKILL):
            if self._child is not None and number is not None:
                send_signal(self._child, number, whole_group=True)
            await until(lambda: self._child is None, END)

    # --- asking -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK, self._look)
        if self._supervisor.stopping:
            return
        if self._child is None:
            self._start_child()
        elif self._loop.time() - self._asked_at > ANSWER_TIMEOUT and self._waits:
            send_signal(self._child, signal.SIGKILL, whole_group=True)
        self._judge()
        if not self._waits and not self._supervisor.stopping:
            self._ask()

    @property
    def _waits(self) -> bool:
        return any(group.unanswered for group in self._groups.values())

    def _start_child(self) -> None:
        plan = self._supervisor.plan
        specs = tuple(group.spec(0, 0, Mode.WORK).group for group in plan.groups)
        try:
            child, connection = start_child(self._program)
        except OSError as error:
            self._trouble = f"cannot start a process: {error}"
            return
        self._child = child
        self._channel = Channel(connection, self._on_frame, name="ends")
        spec = EndsSpec(plan.supervisor, specs, os.getpid(), plan.log_format, plan.log_level)
        self._channel.send("spec", spec=to_json(spec))
        self._exits.watch(child, self._on_exit)

    def _ask(self) -> None:
        if self._channel is None:
            return
        self._asked_at = self._loop.time()
        for name, group in self._groups.items():
            if not group.is_known:
                group.fresh = []
                group.unanswered += self._channel.send("goals", group=name, of_copies=group.is_again)
                continue
            left = group.progress().left
            for at in range(0, len(left), AT_ONCE):
                group.unanswered += self._channel.send("committed", group=name, places=left[at : at + AT_ONCE])

    def _on_frame(self, frame: Frame) -> None:
        try:
            self._hear(frame)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": "ends", "error": str(error)}})

    def _hear(self, frame: Frame) -> None:
        group = self._groups[frame["group"]]
        match frame["type"]:
            case "goals":
                group.take([from_json(Goal, goal) for goal in frame["goals"]], is_whole=not frame["more"])
                if frame["more"]:
                    return
            case "committed":
                group.committed |= {(topic, partition): offset for topic, partition, offset in frame["offsets"]}
            case "missing":
                self._fail(f"group {frame['group']}: {str(frame['text'])[:500]}")
            case "trouble":
                self._trouble = str(frame["code"])[:100]
        if frame["type"] != "trouble":
            self._trouble = ""
        group.unanswered = max(0, group.unanswered - 1)
        self._judge()

    def _on_exit(self, status: int) -> None:
        if self._channel is not None:
            self._channel.close()
        self._child = self._channel = None
        for group in self._groups.values():
            group.unanswered = 0
        if not self._is_closing:
            logger.warning("ends.exited", extra={"fields": {"how": describe(status)}})

    # --- judging ----------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Start, show, go on waiting, or stop."""
        if self._supervisor.stopping:
            return
        now = self._loop.time()
        known = all(group.is_known for group in self._groups.values())
        so_far = {name: group.progress() for name, group in self._groups.items()}
        again = [group for group in self._groups.values() if known and self._is_started and group.ask_again()]
        if again:
            return
        if known and not any(one.left for one in so_far.values()):
            self._is_reached = True
            self._show(so_far, now=now)
            self._supervisor.stop("until-end: every end is reached")
            return
        passed = sum(one.passed for one in so_far.values()) if known else -1
        if passed != self._passed:
            self._passed, self._moved_at = passed, now
        if known and not self._is_started:
            self._is_started = True
            self._supervisor.start()
        if known and now - self._shown_at >= SHOW_EVERY:
            self._show(so_far, now=now)
        hopeless = self._hopeless(so_far)
        if hopeless:
            self._fail(hopeless)
        elif now - self._moved_at > self._patience:
            what = "no committed offset has moved" if known else "the broker did not say where the topics end"
            self._fail(f"{what} for {format_duration(self._patience)}{self._left_text()}")

    def _hopeless(self, so_far: dict[str, Progress]) -> str:
        """Say why what is left of a group cannot be done here, or nothing."""
        for name, one in so_far.items():
            runners = [runner for (group, _), runner in self._supervisor.runners.items() if group == name]
            if one.left and all(runner.slot.state is SlotState.FATAL for runner in runners):
                return f"every slot of group {name} was given up{self._left_text()}"
            stopped = {place for runner in runners for place in runner.stopped_partitions()}
            if one.left and stopped >= set(one.left):
                return f"what is left of group {name} is stopped: its offsets are out of range{self._left_text()}"
        return ""

    def _fail(self, text: str) -> None:
        if self._supervisor.stopping:
            return
        self._failure = text
        self._supervisor.events.tell("until_end.missed", Severity.CRITICAL, text)
        self._supervisor.exit_code = ExitCode.FAILURE
        self._supervisor.stop("until-end: the ends will not be reached")

    def _show(self, so_far: dict[str, Progress], *, now: float) -> None:
        self._shown_at = now
        for name, one in so_far.items():
            share = f"{100 * one.passed // one.total} %" if one.total else "-"
            fields = {"group": name, "done": one.passed, "of": one.total, "share": share, "left": len(one.left)}
            logger.info("until_end.progress", extra={"fields": fields})

    def _left_text(self) -> str:
        """Return the first partitions that are not done, and what workers wait for."""
        left = [
            f"{goal.topic}/{goal.partition} at {max(0, group.committed.get(goal.place, -1))} of {goal.end}"
            for group in self._groups.values()
            for place in [set(group.progress().left)]
            for goal in group.goals
            if goal.place in place
        ]
        if not left:
            return f" ({self._trouble})" if self._trouble else ""
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        snapshot = self._supervisor.snapshot()
        waits = {slot.stats.waits for group in snapshot.groups for slot in group.slots if slot.stats} - {"", "none"}
        because = f"; workers wait: {', '.join(sorted(waits))}" if waits else ""
        return f"; left: {', '.join(left[:NAMED])}{more}{because}"
