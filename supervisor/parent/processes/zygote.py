"""One zygote (``supervisor.zygote``), kept alive: workers are forked from it, or exec'd while it cannot."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from supervisor.core.events import Severity
from supervisor.core.exits import describe
from supervisor.core.frames import Frame, encode
from supervisor.core.spec import WorkerSpec
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import STARTS, Keeper
from supervisor.parent.processes.launcher import Answer, Child, Started, start_child
from supervisor.parent.processes.packets import Packets
from supervisor.parent.store.eventlog import EventLog

BOOT_PATIENCE = 5.0
"""Seconds that starts wait for a zygote which is on its way. It imports what an exec'd worker would import, so
waiting costs no more; whoever preloads for longer than that has workers exec'd meanwhile."""
BOOT_LIMIT = 120.0
"""Seconds after which a zygote that is still not ready is killed and another tried: an import that waits for a service
that is down."""
ANSWER_PATIENCE = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preload:
    """What sets zygotes apart: the user's modules that they import, and where these are looked for."""

    modules: tuple[str, ...]
    search_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A worker that is asked for."""

    spec: WorkerSpec
    slot_file: Path
    answer: Answer


@dataclass(frozen=True, slots=True)
class _Pending:
    request: Request
    connection: socket.socket
    timer: asyncio.TimerHandle


class ZygoteProcess:
    """Keeps one zygote alive, in the parent's loop.

    ``otherwise`` starts the workers that cannot be forked: the zygote waits for its own restart, or is unfit for
    good (threads after ``preload``, say). A request that it was sent and died over fails: a process may have come
    to be that nobody knows. It was told nothing and finds the end of its socketpair.
    """

    def __init__(
        self,
        preload: Preload,
        program: tuple[str, ...],
        *,
        exits: ExitWatch,
        events: EventLog,
        otherwise: Callable[[Request], None],
    ) -> None:
        self.is_unfit = False
        self._loop = asyncio.get_running_loop()
        self._preload = preload
        self._events = events
        self._otherwise = otherwise
        self._waiting: list[Request] = []
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._boot_timer: asyncio.TimerHandle | None = None
        self._is_late = False
        """Whether the zygote of now took longer than starts wait for."""
        self._retired = False
        launch = partial(start_child, program, ("--room", "_" * 64), kind=socket.SOCK_SEQPACKET)
        self._keeper = Keeper(launch, self._begin, self._tell_down, exits=exits, backoff=STARTS, free=1)
        self._keeper.on_exit = self._on_exit
        self._keeper.start()

    @property
    def child(self) -> Child | None:
        """The process, while there is one."""
        return self._keeper.child

    @property
    def is_starting_workers(self) -> bool:
        """Whether an answer is out: an unknown child may be the worker it speaks of."""
        return bool(self._pending)

    def start(self, request: Request) -> None:
        """Fork a worker, soon; or have it started otherwise."""
        if self._keeper.is_ready:
            self._fork(request)
        elif self.child is not None and not self.is_unfit and not self._is_late:
            self._waiting.append(request)
        else:
            self._otherwise(request)

    def retire(self) -> None:
        """Let the zygote end once it has answered; it is not started again."""
        self._retired = True
        self._keeper.retire()
        self._give_up_waiting()
        self._end_if_retired()

    def kill(self) -> None:
        """End it now."""
        self._keeper.signal(signal.SIGKILL)

    # The process.

    def _begin(self, connection: socket.socket) -> Packets:
        self._is_late = False
        self._boot_timer = self._loop.call_later(BOOT_PATIENCE, self._boots_late)
        modules, path = self._preload.modules, self._preload.search_path
        packets = Packets(connection, self._on_frame, name="zygote")
        packets.send(encode("preload", modules=modules, search_path=path, parent_pid=os.getpid()))
        return packets

    def _on_exit(self, status: int) -> None:
        self._stop_booting()
        for number in list(self._pending):
            self._answered(number, OSError(f"the zygote ended ({describe(status)}) before it answered"))
        self._give_up_waiting()

    def _tell_down(self, text: str, delay: float) -> None:
        self._events.tell(
            "zygote.exited",
            Severity.WARNING,
            f"{text}; starts again, workers are not affected",
            fields={"delay": round(delay, 3), "preload": " ".join(self._preload.modules)},
        )

    def _stop_booting(self) -> None:
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None

    def _boots_late(self) -> None:
        """Have nobody wait for it any longer, this time or the next; it may still become ready."""
        self._is_late = True
        self._boot_timer = self._loop.call_later(BOOT_LIMIT - BOOT_PATIENCE, self._boots_never)
        logger.warning("zygote.late", extra={"fields": {"preload": " ".join(self._preload.modules)}})
        self._give_up_waiting()

    def _boots_never(self) -> None:
        fields = {"pid": self.child.pid if self.child else None, "seconds": BOOT_LIMIT}
        logger.warning("zygote.silent", extra={"fields": fields})
        self.kill()

    def _end_if_retired(self) -> None:
        if self._retired and not self._pending:
            self._stop_booting()
            if self._keeper.line is not None:
                self._keeper.line.close()

    # What it is asked.

    def _fork(self, request: Request) -> None:
        self._number += 1
        number, spec = self._number, request.spec
        title = f"{spec.group.name}/{spec.slot}"
        frame = encode("fork", id=number, slot_file=str(request.slot_file), title=title)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            request.answer(error)
            return
        ours.setblocking(False)  # noqa: FBT003 - the socket API
        sent = self._keeper.line is not None and self._keeper.line.send(frame, theirs)
        theirs.close()
        if not sent:  # full, so it does not read; or gone, which is being noticed
            ours.close()
            self._otherwise(request)
            return
        timer = self._loop.call_later(ANSWER_PATIENCE, self._late, number)
        self._pending[number] = _Pending(request, ours, timer)

    def _late(self, number: int) -> None:
        """Kill a zygote that does not answer; what it was asked for fails with its end."""
        fields = {"pid": self.child.pid if self.child else None, "request": number}
        logger.warning("zygote.silent", extra={"fields": fields})
        self.kill()

    def _give_up_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._otherwise(request)

    # What it says.

    def _on_frame(self, frame: Frame) -> None:
        try:
            self._hear(frame)
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": "zygote", "error": str(error)}})

    def _hear(self, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                self._stop_booting()
                self._keeper.ready()
                logger.info("zygote.ready", extra={"fields": {"pid": self.child.pid if self.child else None}})
                waiting, self._waiting = self._waiting, []
                for request in waiting:
                    self._fork(request)
            case "unfit":
                self._unfit(str(frame["text"]))
            case "forked":
                self._answered(int(frame["id"]), int(frame["pid"]))
            case "failed":
                self._answered(int(frame["id"]), OSError(f"fork: {frame['text']}"))

    def _unfit(self, text: str) -> None:
        self.is_unfit = True
        self._keeper.retire()
        what = f"{text}: workers with preload = [{', '.join(self._preload.modules)}] are exec'd, not forked"
        self._events.tell("zygote.unfit", Severity.WARNING, what)
        self._give_up_waiting()

    def _answered(self, number: int, found: int | OSError) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        pending.timer.cancel()
        if isinstance(found, int) and not _is_our_child(found):
            found = OSError(f"the zygote says {found}, which is no child of ours")
        if isinstance(found, OSError):
            pending.connection.close()
            pending.request.answer(found)
        else:
            pending.request.answer(Started(Child(found), pending.connection))
        self._end_if_retired()


def _is_our_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
