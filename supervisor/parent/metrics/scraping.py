"""``/metrics``: a picture of the supervisor, rendered beside the loop and kept for a moment."""

import asyncio
import gc
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from supervisor.core.exposition import Others, Scene
from supervisor.parent.metrics.rendering import Format, Page, render
from supervisor.parent.slots.tallies import Tallies
from supervisor.parent.supervisor import Supervisor

KEPT = 1.0
"""Seconds for which a page is good; who asks meanwhile gets the same one."""
LAG_EVERY = 0.25
"""Seconds between two looks at how late the loop is."""


class Scraping:
    """Makes pages in the parent's loop; only taking the picture is done in it. ``others``: what other parts add."""

    def __init__(self, supervisor: Supervisor, tallies: Tallies, others: Callable[[], Others]) -> None:
        self._loop = asyncio.get_running_loop()
        self._supervisor = supervisor
        self._tallies = tallies
        self._others = others
        self._pages: dict[Format, tuple[float, asyncio.Future[Page]]] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look at the loop's lag; what was loaded by now no collection needs to walk again."""
        if self._thread is None:
            gc.freeze()  # a full collection while a page is made would hold the loop up for tens of milliseconds
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
            self._timer = self._loop.call_later(LAG_EVERY, self._look, self._loop.time() + LAG_EVERY)

    async def page(self, wanted: Format) -> Page:
        """Return a page that is not older than ``KEPT``; all who ask at once wait for the same one."""
        now = self._loop.time()
        at, future = self._pages.get(wanted, (now, None))
        is_over = future is not None and future.done() and (now - at > KEPT or future.exception() is not None)
        if future is None or is_over:
            future = self._loop.run_in_executor(self._thread, partial(render, self.scene(), wanted))
            self._pages[wanted] = (now, future)
        return await asyncio.shield(future)

    def scene(self) -> Scene:
        """Take the picture: references to values, and copies of a few tables."""
        supervisor, tallies = self._supervisor, self._tallies
        snapshot = supervisor.snapshot()
        tallies.keep(supervisor.runners, (group.name for group in snapshot.groups))
        return Scene(
            snapshot=snapshot,
            python=platform.python_version(),
            slots=tallies.slots,
            groups=tallies.groups,
            cpu_seconds=tallies.cpu_seconds,
            exits=tallies.exits,
            events=tallies.events,
            others=self._others(),
            loop_lag=tallies.loop_lag.frozen(),
        )

    def stop(self) -> None:
        """Take no more pictures; one that is being rendered ends by itself."""
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
        self._pages.clear()

    def _look(self, due: float) -> None:
        now = self._loop.time()
        self._tallies.loop_lag.note(max(0.0, now - due))
        self._timer = self._loop.call_at(now + LAG_EVERY, self._look, now + LAG_EVERY)
