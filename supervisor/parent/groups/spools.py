"""Drain spools by ourselves: what a group's fallback kept while its sink took nothing goes to the sink once it does.

Done by a throwaway child, as ``supervisor dlq drain`` does it; folders are looked at in a thread, for a disk may hang.
"""

import asyncio
import contextlib
import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from supervisor.core.backoff import Backoff
from supervisor.core.dlq import DlqAnswer, DlqRequest, Place, Replay, Verb, Where
from supervisor.core.events import Event, Scalar, Severity
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.core.spools import is_letter_file, is_spooled, letter_folder, letters_root, safe_name
from supervisor.parent.plan import Plan
from supervisor.parent.processes.asking import NoAnswerError, ask
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.store.eventlog import EventLog

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.dlq")
LOOK = 5.0
RATE = 500.0
"""Letters per second: a spool of a bad day must not shut everybody else out."""
SECONDS = 240.0
"""After which a child stops and another goes on: nothing is lost when one hangs."""
DEADLINE = 400.0
WAITS = Backoff(initial=5.0, factor=2.0, max=300.0, jitter=0.2)
STUCK = 3
"""Failures in a row after which people are told, once."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Supervised(Protocol):
    """What is needed of the supervisor."""

    plan: Plan
    events: EventLog


@dataclass(slots=True)
class _Group:
    """How it goes with one group's spool; ``is_called``: its sink was said to work again since the last try began."""

    failures: int = 0
    next_at: float = 0.0
    is_told: bool = False
    is_called: bool = False


class Spools:
    """Looks at all groups' spools every few seconds, drains one at a time. In the parent's loop."""

    def __init__(
        self, supervisor: Supervised, exits: ExitWatch, *, program: tuple[str, ...] = PROGRAM, look: float = LOOK
    ) -> None:
        self._supervisor = supervisor
        self._exits = exits
        self._program = program
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._groups: dict[str, _Group] = {}
        self._task: asyncio.Task[None] | None = None
        self._told_left: set[str] = set()
        self._random = random.Random()  # noqa: S311 - jitter

    def start(self) -> None:
        """Begin to look."""
        self._supervisor.events.listen(self._hear)
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """End; a child in the middle of it is killed, the next one goes on from there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=10)

    def _hear(self, event: Event) -> None:
        """Try at once when a sink was said to take letters again."""
        if event.name == "dead_letter.recovered" and event.group in self._groups:
            self._groups[event.group].next_at, self._groups[event.group].is_called = 0.0, True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._look)
            try:
                await self._once()
            except Exception:  # the border of a chore: a bug in it must not end supervision
                logger.exception("spools.failed")

    async def _once(self) -> None:
        specs = {plan.name: plan.spec(0, 0, Mode.WORK) for plan in self._supervisor.plan.groups}
        spooled = {name: spec for name, spec in specs.items() if is_spooled(spec.group)}
        folders = {name: Path(letter_folder(spec.state_dir, spec.group)) for name, spec in spooled.items()}
        self._groups = {name: self._groups.get(name, _Group()) for name in spooled}
        due = {name: folder for name, folder in folders.items() if self._groups[name].next_at <= self._loop.time()}
        state_dir = self._supervisor.plan.state_dir
        filled, strangers = await self._aside(lambda: (_filled(due), _strangers(state_dir, specs)))
        for name in filled:
            self._groups[name].is_called = False
            await self._drain(name, spooled[name])
        for folder in strangers:
            if folder not in self._told_left:
                self._told_left.add(folder)
                text = f"dead letters of a group that does not run here lie in {folder}"
                self._supervisor.events.tell("spool.left_over", Severity.WARNING, text, fields={"folder": folder})

    async def _aside(self, look: Callable[[], T]) -> T:
        """Return what ``look`` finds, which may wait for a disk: in a thread that keeps nobody from ending."""
        found: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            result = look()
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(found.set_result, result)

        threading.Thread(target=work, name="spools", daemon=True).start()
        return await found

    async def _drain(self, name: str, spec: WorkerSpec) -> None:
        request = DlqRequest(
            Verb.DRAIN,
            spec.group,
            spec.state_dir,
            parent_pid=os.getpid(),
            where=Where(Place.FILE),
            replay=Replay(rate=RATE, seconds=SECONDS),
            supervisor=spec.supervisor,
        )
        try:
            told = await ask(self._program, to_json(request), self._exits, deadline=DEADLINE)
            answer = from_json(DlqAnswer, told["answer"])
        except (KeyError, NoAnswerError, OSError, TypeError, ValueError) as error:
            answer = DlqAnswer(error=f"no answer: {error}")
        self._tell(name, answer)

    def _tell(self, name: str, answer: DlqAnswer) -> None:
        group, events, counts = self._groups.setdefault(name, _Group()), self._supervisor.events, answer.counts
        if counts.read or counts.files or counts.unreadable:
            text = f"{counts.sent} dead letters of the spool went to the sink, {counts.files} files are empty"
            aside = counts.rejected + counts.unreadable
            if aside:
                text += f"; {aside} that no sink can take were put aside"
            fields: dict[str, Scalar] = {"letters": counts.sent, "files": counts.files, "rejected": aside}
            severity = Severity.WARNING if aside else Severity.INFO
            events.tell("spool.drained", severity, text, group=name, fields=fields)
        if not answer.error:
            group.failures, group.is_told, group.next_at = 0, False, 0.0
            return
        wait = WAITS.delay(group.failures, chance=self._random.random())
        group.failures += 1
        group.next_at = 0.0 if group.is_called else self._loop.time() + wait
        logger.info("spool.not_drained", extra={"fields": {"group": name, "why": answer.error, "again_in": wait}})
        if group.failures >= STUCK and not group.is_told:
            group.is_told = True
            text = f"its dead letters stay in the spool: {answer.error}; trying again"
            events.tell("spool.stuck", Severity.WARNING, text, group=name)


def _filled(folders: Mapping[str, Path]) -> list[str]:
    """Return the groups whose spool holds something. Runs in a thread."""
    return [name for name, folder in folders.items() if _holds(folder)]


def _strangers(state_dir: Path, known: Iterable[str]) -> list[str]:
    """Return the folders of groups that are not run and hold letters. Runs in a thread."""
    ours = {safe_name(name) for name in known}
    try:
        folders = [one for one in Path(letters_root(str(state_dir))).iterdir() if one.name not in ours]
    except OSError:
        return []
    return [str(folder) for folder in folders if _holds(folder)]


def _holds(folder: Path) -> bool:
    try:
        with os.scandir(folder) as found:
            return any(is_letter_file(one.name) and one.is_file() for one in found)
    except OSError:
        return False
