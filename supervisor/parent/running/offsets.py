"""Look at a group's committed offsets, and set them while its workers are down.

The parent owns the whole sequence, so that whoever asked for it may go: the group is started again whatever
happens. The questions are asked by a throwaway child (P5).
"""

import asyncio
import logging
import os
import sys
from dataclasses import replace

from supervisor.control.answers import OffsetsJob
from supervisor.control.requests import Offsets
from supervisor.core import slot as slots
from supervisor.core.events import Scalar, Severity
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.lag import slot_of
from supervisor.core.resets import OffsetsAnswer
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode
from supervisor.parent.processes.asking import NoAnswerError, ask
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.slots.runner import SlotRunner
from supervisor.parent.supervisor import Supervisor

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector", "offsets")
DEADLINE = 90.0
"""Seconds for one child; its own questions end before."""
LAST_MEMBER = 20.0
"""Seconds that the broker gets to see the last of our own members gone."""
STOP_MARGIN = 30.0
POLL = 0.1
SETTING = "reset: set at the brokers"

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """Something is being done to the group's offsets already."""


class _GoneError(Exception):
    """Why a reset was given up; a text for the person who asked."""


class OffsetJobs:
    """One job per group at a time, the last one's end to be read; in the parent's loop, beside everything else."""

    def __init__(self, supervisor: Supervisor, exits: ExitWatch, *, program: tuple[str, ...] = PROGRAM) -> None:
        self._supervisor = supervisor
        self._exits = exits
        self._program = program
        self._jobs: dict[str, OffsetsJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._count = 0

    def begin(self, asked: Offsets) -> OffsetsJob:
        """Begin what is asked for and return at once; raises ``BusyError``."""
        if asked.group in self._tasks:
            message = f"the offsets of group {asked.group} are being {self._jobs[asked.group].phase}"
            raise BusyError(message)
        self._count += 1
        job = self._jobs[asked.group] = OffsetsJob(self._count, asked.group, "read")
        task = asyncio.get_running_loop().create_task(self._run(asked))
        self._tasks[asked.group] = task
        task.add_done_callback(lambda _: self._tasks.pop(asked.group, None))
        return job

    def job(self, group: str) -> OffsetsJob | None:
        """Return the group's last job."""
        return self._jobs.get(group)

    def is_resetting(self, group: str) -> bool:
        """Tell whether the group is down for a reset, and nobody else may start its slots."""
        return group in self._tasks and self._jobs[group].phase != "read"

    async def stop(self) -> None:
        """Give up what is under way; a child in it is killed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    async def _run(self, asked: Offsets) -> None:
        error, answer = "given up: the supervisor stops", None
        try:
            answer = await self._answer(asked)
        except (_GoneError, NoAnswerError) as failure:
            error = str(failure)
        except (OSError, TypeError, ValueError) as failure:
            error = f"no answer: {failure}"
        finally:
            if answer is None:
                is_unknown = self._jobs[asked.group].phase == SETTING
                answer = OffsetsAnswer(error=f"{error}; {_unknown(asked.group)}" if is_unknown else error)
            if asked.apply and answer.error:
                self._tell_failed(asked, answer)
            self._jobs[asked.group] = replace(self._jobs[asked.group], is_done=True, answer=answer)

    async def _answer(self, asked: Offsets) -> OffsetsAnswer:
        answer = await self._ask(asked, apply=False)
        if not asked.apply or answer.error:
            return answer
        self._refuse_foreign(asked.group, answer)
        return await self._reset(asked)

    def _phase(self, group: str, phase: str) -> None:
        self._jobs[group] = replace(self._jobs[group], phase=phase)

    async def _ask(self, asked: Offsets, *, apply: bool) -> OffsetsAnswer:
        plan = next((plan for plan in self._supervisor.plan.groups if plan.name == asked.group), None)
        if plan is None:
            message = f"group {asked.group} is gone"
            raise _GoneError(message)
        request = {
            "group": to_json(plan.spec(0, 0, Mode.WORK).group),
            "to": asked.to,
            "partitions": list(asked.partitions),
            "apply": apply,
            "patience": LAST_MEMBER,
            "parent_pid": os.getpid(),
        }
        return from_json(OffsetsAnswer, await ask(self._program, request, self._exits, deadline=DEADLINE))

    def _refuse_foreign(self, group: str, answer: OffsetsAnswer) -> None:
        """Refuse while others are in the group: they would not stop for us, and the broker would not take it."""
        own = self._supervisor.plan.supervisor
        others = []
        for member in answer.members:
            slot = slot_of(member.partition(" @ ")[0], group)
            if slot is None or slot[0] != own:
                others.append(member)
        if others:
            message = f"nothing was done: group {group} has members elsewhere, stop them first: {', '.join(others)}"
            raise _GoneError(message)

    async def _reset(self, asked: Offsets) -> OffsetsAnswer:
        """Stop what runs, set the offsets, and start again what ran, whatever happened."""
        if self._supervisor.stopping:
            message = "the supervisor is stopping"
            raise _GoneError(message)
        ran = [one for one in self._runners(asked.group) if one.slot.state not in {SlotState.STOPPED, SlotState.FATAL}]
        try:
            self._phase(asked.group, "reset: its workers stop")
            for runner in ran:
                runner.feed(slots.Stop(End.LEAVE))
            await self._down(asked.group)
            self._phase(asked.group, SETTING)
            answer = await self._ask(asked, apply=True)
            if not answer.error:
                self._tell(asked, answer)
            return answer
        finally:
            if not self._supervisor.stopping:
                now = self._runners(asked.group)
                for runner in ran:
                    if runner in now:
                        runner.feed(slots.Start())

    async def _down(self, group: str) -> None:
        runners = self._runners(group)
        patience = max((_patience(runner) for runner in runners), default=0.0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while not all(runner.is_down for runner in runners):
            if loop.time() > deadline:
                left = ", ".join(runner.name for runner in runners if not runner.is_down)
                message = f"nothing was changed: not down within {patience:.0f} s: {left}"
                raise _GoneError(message)
            await asyncio.sleep(POLL)

    def _runners(self, group: str) -> list[SlotRunner]:
        return [runner for (name, _), runner in self._supervisor.runners.items() if name == group]

    def _tell(self, asked: Offsets, answer: OffsetsAnswer) -> None:
        text = f"{len(answer.moves)} partitions set to {asked.to}"
        fields: dict[str, Scalar] = {"to": asked.to, "partitions": len(answer.moves)}
        self._supervisor.events.tell("offsets.reset", Severity.WARNING, text, group=asked.group, fields=fields)

    def _tell_failed(self, asked: Offsets, answer: OffsetsAnswer) -> None:
        fields: dict[str, Scalar] = {"to": asked.to, "changed": answer.changed}
        self._supervisor.events.tell(
            "offsets.reset_failed", Severity.WARNING, answer.error, group=asked.group, fields=fields
        )


def _unknown(group: str) -> str:
    return f"what was set is not known: supervisor offsets show {group} tells"


def _patience(runner: SlotRunner) -> float:
    policy = runner.group.policy
    return policy.stop_timeout + policy.leave_timeout + STOP_MARGIN
