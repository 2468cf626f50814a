"""An event loop on a thread of its own, where ``async def`` handlers run. It outlives whatever they do to it."""

import asyncio
import contextlib
import inspect
import logging
import select
import selectors
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

from supervisor.core.letters import where

logger = logging.getLogger(__name__)

BEAT = 0.25
"""Seconds between two questions to the loop whether it still turns."""
STALL = 1.0
"""Seconds between two looks of the main thread from which it was the main thread that stood still, or the machine."""
TIDY = 0.2
"""Seconds that tasks and generators the handler left behind get to end, each kind."""
SHORT = 0.1
FD_SETSIZE = 1024
THREADS = 32
"""The most threads of ``asyncio.to_thread``."""
TO_THREAD = "to-thread"

Function = Callable[..., Any]


class LoopThread:
    """One event loop. ``crash`` ends the process. All methods but ``soon`` are the main thread's."""

    def __init__(self, crash: Callable[[BaseException], None]) -> None:
        self._crash = crash
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._is_over = False
        self._asked_at = self._looked_at = 0.0
        self._is_asked = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once started."""
        assert self._loop is not None  # noqa: S101 - start() comes first
        return self._loop

    def start(self) -> None:
        """Start the thread, if it was not yet."""
        if self._thread is not None:
            return
        self._loop = asyncio.SelectorEventLoop(_selector())
        self._loop.set_exception_handler(_note_exception)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=TO_THREAD)
        self._loop.set_default_executor(self._threads)
        self._thread = threading.Thread(target=self._run, name="handler-loop", daemon=True)
        self._thread.start()

    def soon(self, callback: Function, *args: object) -> None:
        """Have the engine's own ``callback`` run on the loop; nothing happens once that is over. Any thread."""
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self.loop.call_soon_threadsafe(self._guarded, callback, args)

    def call(self, function: Function, *args: object, timeout: float | None = None) -> object:
        """Call ``function`` on the loop, await what it returns if that can be, and return or raise what came of it.

        Blocks; raises ``TimeoutError`` after ``timeout`` seconds.
        """

        async def outcome() -> tuple[object, BaseException | None]:
            try:
                answer = function(*args)
                return (await answer if inspect.isawaitable(answer) else answer), None
            except BaseException as error:  # noqa: BLE001 - user code; raised in a task, SystemExit would stop the loop
                return None, error

        future = asyncio.run_coroutine_threadsafe(outcome(), self.loop)
        try:
            answer, error = future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise
        if error is not None:
            raise error
        return answer

    def lag(self) -> float:
        """Return the seconds for which the loop has not turned, as far as it was asked; ask it again."""
        now = time.monotonic()
        if now - self._looked_at > STALL:
            self._asked_at = now
        self._looked_at = now
        if self._is_asked:
            return now - self._asked_at
        if now - self._asked_at >= BEAT:
            self._is_asked, self._asked_at = True, now
            self.soon(self._answer)
        return 0.0

    def place(self) -> str:
        """Return ``file.py:12``: where the handler is that has the loop now, ``?`` when none has."""
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread else None  # noqa: SLF001 - documented
        found: FrameType | None = None
        while frame is not None and not _is_ours(frame):
            found, frame = frame, frame.f_back
        return f"{found.f_code.co_filename.rsplit('/', 1)[-1]}:{found.f_lineno}" if found else "?"

    def stop(self, deadline: float) -> bool:
        """End the loop and all on it, until ``deadline`` (monotonic); return whether no thread of it is left."""
        if self._thread is None or self._threads is None:
            return True
        self._is_over = True
        self.soon(self.loop.stop)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return join_named(TO_THREAD, deadline) and not self._thread.is_alive()

    def _answer(self) -> None:
        self._is_asked = False

    def _guarded(self, callback: Function, args: tuple[object, ...]) -> None:
        try:
            callback(*args)
        except BaseException as error:  # noqa: BLE001 - crash-only: the engine's own callback failed
            self._crash(error)

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            while not self._is_over:
                self._turn(loop.run_forever)  # whatever a handler stops it with, it goes on
            self._turn(self._tidy)
            loop.close()
        except BaseException as error:  # noqa: BLE001 - crash-only: a loop that cannot select cannot go on
            self._crash(error)

    def _turn(self, run: Callable[[], object]) -> None:
        try:
            run()
        except (SystemExit, KeyboardInterrupt) as error:
            # A task of the handler's own called sys.exit(): asyncio keeps it for whoever awaits the task, and leaves.
            logger.warning(
                "handler.task_exited", extra={"fields": {"error": type(error).__name__, "where": where(error)}}
            )

    def _tidy(self) -> None:
        """End what the handler left on the loop."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=TIDY))
        generators = self.loop.create_task(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(asyncio.wait((generators,), timeout=TIDY))


def _selector() -> selectors.BaseSelector:
    """Return a selector whose short waits end on the microsecond.

    epoll_wait(2) counts whole milliseconds, and asyncio rounds up: a sleep of 5 ms takes 5 to 6. select(2) on the
    epoll descriptor waits as long as it is told.
    """
    if not hasattr(selectors, "EpollSelector"):
        return selectors.DefaultSelector()

    class Precise(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and 0 < timeout < SHORT and self.fileno() < FD_SETSIZE:
                select.select((self.fileno(),), (), (), timeout)
                timeout = 0
            return super().select(timeout)

    return Precise()


def join_named(prefix: str, deadline: float) -> bool:
    """Wait for the threads of a pool that was shut down, until ``deadline``; return whether all ended."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith(f"{prefix}_")]
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(("asyncio.", "supervisor.worker."))


def _note_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a task of the handler's own failed with and nobody awaited: class and place, not the text (P10)."""
    error = context.get("exception")
    fields = {"error": type(error).__qualname__, "where": where(error)} if isinstance(error, BaseException) else {}
    logger.error("handler.task_failed", extra={"fields": fields})
