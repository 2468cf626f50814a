"""What operators asked for that takes its time: done in the parent, so that it goes on when nobody waits for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from supervisor.control.answers import Operation
from supervisor.core.exits import ExitCode
from supervisor.parent.groups.changes import StoppingError

KEPT = 50
MOST_LINES = 1000

Say = Callable[[str], None]
Work = Callable[[Say], Awaitable[None]]

logger = logging.getLogger(__name__)


class BusyError(Exception):
    """Something is under way that must be over first."""


class OperationError(Exception):
    """What was asked for could not be done; ``code`` is what a command that waits for it exits with."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(text)
        self.code = code


class _Running:
    """One operation and what it has said so far."""

    def __init__(self, number: int, verb: str, target: str) -> None:
        self.number = number
        self.verb = verb
        self.target = target
        self.state = "running"
        self.lines: list[str] = []
        self.error = ""
        self.code = ExitCode.OK
        self.task: asyncio.Task[None] | None = None

    def say(self, line: str) -> None:
        if len(self.lines) < MOST_LINES:
            self.lines.append(line)
        fields = {"verb": self.verb, "target": self.target, "text": line}
        logger.info("operation.progress", extra={"fields": fields})

    def answer(self) -> Operation:
        return Operation(
            self.number, self.verb, self.target, self.state, tuple(self.lines), error=self.error, code=int(self.code)
        )


class Operations:
    """Runs operations as tasks of the loop, one at a time per target; the last ``KEPT`` can be asked about."""

    def __init__(self) -> None:
        self._count = 0
        self._all: dict[int, _Running] = {}

    def begin(self, verb: str, target: str, work: Work) -> Operation:
        """Start ``work``; raises ``BusyError`` while another concerns the same group, or everything (``*``)."""
        for other in self._all.values():
            if other.state == "running" and (_overlap(other.target, target)):
                message = f"{other.verb} {'' if other.target == '*' else other.target}".strip()
                message += f" is under way (operation {other.number})"
                raise BusyError(message)
        self._count += 1
        running = self._all[self._count] = _Running(self._count, verb, target)
        running.task = asyncio.get_running_loop().create_task(self._run(running, work))
        over = [number for number, one in self._all.items() if one.state != "running"]
        for number in over[: max(0, len(self._all) - KEPT)]:
            del self._all[number]
        return running.answer()

    def get(self, number: int) -> Operation | None:
        """Return how an operation stands, ``None`` when it is not known (any more)."""
        running = self._all.get(number)
        return running.answer() if running else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return all(one.state != "running" for one in self._all.values())

    async def stop(self) -> None:
        """Cancel what is under way; slots are stopped by whoever stops the supervisor."""
        tasks = [one.task for one in self._all.values() if one.task is not None and not one.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _run(self, running: _Running, work: Work) -> None:
        try:
            await work(running.say)
        except OperationError as error:
            running.error, running.code = str(error), error.code
        except (StoppingError, asyncio.CancelledError):
            running.error, running.code = "the supervisor was told to stop meanwhile", ExitCode.FAILURE
        except Exception:  # the border of an operation: a bug in one must not end supervision
            logger.exception("operation.failed", extra={"fields": {"verb": running.verb, "target": running.target}})
            running.error, running.code = (
                "this failed inside the supervisor; its log has the traceback",
                ExitCode.FAILURE,
            )
        running.state = "failed" if running.error else "done"


def _overlap(one: str, other: str) -> bool:
    return "*" in (one, other) or one.partition("/")[0] == other.partition("/")[0]
