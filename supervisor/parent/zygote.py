"""One zygote (``supervisor.zygote``), kept alive: workers are forked from it, or exec'd while it cannot."""

import array
import asyncio
import logging
import os
import random
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisor.core.backoff import Backoff
from supervisor.core.events import Severity
from supervisor.core.exits import describe
from supervisor.core.frames import Frame, FrameError, FrameReader, encode
from supervisor.core.spec import WorkerSpec
from supervisor.parent.eventlog import EventLog
from supervisor.parent.exits import ExitWatch
from supervisor.parent.launcher import Answer, Child, Started, send_signal, start_child

BOOT_PATIENCE = 5.0
"""Seconds that starts wait for a zygote which is on its way. It imports what an exec'd worker would import, so
waiting costs no more; whoever preloads for longer than that has workers exec'd meanwhile."""
ANSWER_PATIENCE = 5.0
HEALTHY = 60.0
PACKET = 1 << 16
STARTS = Backoff(initial=1.0, factor=2.0, max=60.0, jitter=0.5)

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
        self.child: Child | None = None
        self.is_unfit = False
        self._loop = asyncio.get_running_loop()
        self._preload = preload
        self._program = program
        self._exits = exits
        self._events = events
        self._otherwise = otherwise
        self._socket: socket.socket | None = None
        self._ready_at: float | None = None
        self._waiting: list[Request] = []
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._failures = 0
        self._timer: asyncio.TimerHandle | None = None
        self._boot_timer: asyncio.TimerHandle | None = None
        self._retired = False
        self._random = random.Random()  # noqa: S311 - jitter
        self._start()

    @property
    def is_starting_workers(self) -> bool:
        """Whether an answer is out: an unknown child may be the worker it speaks of."""
        return bool(self._pending)

    def start(self, request: Request) -> None:
        """Fork a worker, soon; or have it started otherwise."""
        if self._ready_at is not None:
            self._fork(request)
        elif self.child is not None and not self.is_unfit:
            self._waiting.append(request)
        else:
            self._otherwise(request)

    def retire(self) -> None:
        """Let the zygote end once it has answered; it is not started again."""
        self._retired = True
        if self._timer is not None:
            self._timer.cancel()
        self._give_up_waiting()
        self._end_if_retired()

    def kill(self) -> None:
        """End it now."""
        if self.child is not None:
            send_signal(self.child, signal.SIGKILL)

    # The process.

    def _start(self) -> None:
        self._timer = None
        try:
            self.child, connection = start_child(self._program, ("--room", "_" * 64), kind=socket.SOCK_SEQPACKET)
        except OSError as error:
            self._again(f"cannot start a process: {error}")
            return
        self._socket = connection
        self._boot_timer = self._loop.call_later(BOOT_PATIENCE, self._give_up_waiting)
        modules, path = self._preload.modules, self._preload.search_path
        self._exits.watch(self.child, self._on_exit)
        self._loop.add_reader(connection, self._readable)
        self._send(encode("preload", modules=modules, search_path=path, parent_pid=os.getpid()))

    def _on_exit(self, status: int) -> None:
        while self._readable():
            pass
        self._close()
        ready_at, self._ready_at, self.child = self._ready_at, None, None
        for number in list(self._pending):
            self._answered(number, OSError(f"the zygote ended ({describe(status)}) before it answered"))
        self._give_up_waiting()
        if self._retired or self.is_unfit:
            return
        if ready_at is not None and self._loop.time() - ready_at >= HEALTHY:
            self._failures = 0
        self._again(describe(status))

    def _again(self, text: str) -> None:
        delay = STARTS.delay(self._failures - 1, chance=self._random.random()) if self._failures else 0.0
        self._failures += 1
        self._timer = self._loop.call_later(delay, self._start)
        self._events.tell(
            "zygote.exited",
            Severity.WARNING,
            f"{text}; starts again, workers are not affected",
            fields={"delay": round(delay, 3), "preload": " ".join(self._preload.modules)},
        )

    def _close(self) -> None:
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _end_if_retired(self) -> None:
        if self._retired and not self._pending:
            self._close()

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
        sent = self._send(frame, theirs)
        theirs.close()
        if not sent:  # full, so it does not read; or gone, which is being noticed
            ours.close()
            self._otherwise(request)
            return
        timer = self._loop.call_later(ANSWER_PATIENCE, self._late, number)
        self._pending[number] = _Pending(request, ours, timer)

    def _send(self, frame: bytes, *passed: socket.socket) -> bool:
        if self._socket is None:
            return False
        rights = array.array("i", [one.fileno() for one in passed])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if passed else []
        try:
            self._socket.sendmsg([frame], ancillary)
        except OSError:
            return False
        return True

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

    def _readable(self) -> bool:
        """Take one packet; return whether there was one."""
        if self._socket is None:
            return False
        try:
            data = self._socket.recv(PACKET)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)  # its exit is told apart
            return False
        try:
            for frame in FrameReader().feed(data):
                self._hear(frame)
        except (FrameError, KeyError, TypeError, ValueError) as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": "zygote", "error": str(error)}})
        return True

    def _hear(self, frame: Frame) -> None:
        match frame["type"]:
            case "ready":
                self._ready_at = self._loop.time()
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
