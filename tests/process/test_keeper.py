"""A child that is kept alive: when it is started again, when it is not, and what its owner hears."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.exits import describe
from supervisor.core.frames import Frame
from supervisor.parent.processes import keeper as module
from supervisor.parent.processes.channel import Channel
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import Keeper
from supervisor.parent.processes.launcher import Child, start_child
from tests.looping import in_loop

AT_ONCE = Backoff(0.01, 1.0, 0.01, 0.0)
NEVER = Backoff(600.0, 2.0, 6000.0, 0.0)
STAYS = 'import os, sys; fd = int(sys.argv[2]); os.write(fd, b\'{"v":1,"type":"ready"}\\n\'); os.read(fd, 1)'
ENDS = "import sys; sys.exit(3)"


class Owned:
    """A keeper, and what it told its owner."""

    def __init__(self, exits: ExitWatch, code: str, backoff: Backoff, *, free: int = 0) -> None:
        self.launch: Callable[[], tuple[Child, socket.socket]] = partial(start_child, (sys.executable, "-c", code))
        self.begun: list[Channel] = []
        self.statuses: list[int] = []
        self.downs: list[tuple[str, float]] = []
        self.frames: list[Frame] = []
        self.line = Channel
        self.keeper = Keeper(self._launch, self._begin, self._down, exits=exits, backoff=backoff, free=free)
        self.keeper.on_exit = self.statuses.append

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - a test polls
                await asyncio.sleep(0.01)

    async def start(self) -> int:
        """Start the child; return its process once it says it is ready."""
        self.keeper.start()
        return await self.pid()

    async def pid(self, *, other_than: int = 0) -> int:
        """Return the process of the child that says it is ready."""
        await self.until(lambda: self.keeper.is_ready and self.keeper.child and self.keeper.child.pid != other_than)
        assert self.keeper.child is not None
        return self.keeper.child.pid

    def _launch(self) -> tuple[Child, socket.socket]:
        return self.launch()

    def _begin(self, connection: socket.socket) -> Channel:
        self.begun.append(self.line(connection, self._on_frame, name="child"))
        return self.begun[-1]

    def _on_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        self.keeper.ready()

    def _down(self, text: str, delay: float) -> None:
        self.downs.append((text, delay))


@asynccontextmanager
async def owned(code: str, backoff: Backoff, *, free: int = 0) -> AsyncIterator[Owned]:
    exits = ExitWatch()
    one = Owned(exits, code, backoff, free=free)
    try:
        yield one
    finally:
        one.keeper.retire()
        one.keeper.kill()
        await one.keeper.gone(10)
        exits.close()
        assert one.keeper.child is None


@in_loop
async def test_a_child_that_ends_is_told_and_started_again() -> None:
    async with owned(STAYS, AT_ONCE) as one:
        first = await one.start()

        os.kill(first, signal.SIGTERM)
        await one.pid(other_than=first)

        assert one.downs == [(describe(-signal.SIGTERM), 0.01)]
        assert (one.statuses, len(one.begun)) == ([-signal.SIGTERM], 2)
        assert not one.begun[0].is_open


@in_loop
async def test_ends_in_a_row_wait_longer_and_longer_and_the_free_ones_not_at_all() -> None:
    async with owned(ENDS, Backoff(0.01, 2.0, 60.0, 0.0), free=2) as one:
        one.keeper.start()
        await one.until(lambda: len(one.downs) >= 5)

        assert [delay for _, delay in one.downs[:5]] == [0.0, 0.0, 0.01, 0.02, 0.04]
        assert one.downs[0][0] == "exit code 3"


@in_loop
async def test_a_child_that_was_ready_for_long_is_forgiven_its_earlier_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with owned(STAYS, AT_ONCE) as one:
        for patience, failures in ((600.0, 1), (600.0, 2), (0.0, 1)):
            monkeypatch.setattr(module, "HEALTHY", patience)
            os.kill(await one.start(), signal.SIGKILL)
            seen = len(one.downs)
            await one.until(lambda seen=seen: len(one.downs) > seen)  # type: ignore[misc]
            assert one.keeper.failures == failures


@in_loop
async def test_a_child_that_was_never_ready_is_forgiven_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEALTHY", 0.0)
    async with owned(ENDS, AT_ONCE) as one:
        one.keeper.start()
        await one.until(lambda: len(one.downs) >= 3)

        assert one.keeper.failures >= 3


@in_loop
async def test_a_child_that_cannot_be_started_is_tried_again() -> None:
    async with owned(STAYS, AT_ONCE) as one:
        real = one.launch

        def refuse() -> tuple[Child, socket.socket]:
            one.launch = real
            raise BlockingIOError(11, "Resource temporarily unavailable")

        one.launch = refuse
        await one.start()

        assert one.downs == [("cannot start a process: [Errno 11] Resource temporarily unavailable", 0.01)]
        assert one.statuses == []


@in_loop
async def test_a_replaced_child_is_followed_at_once_and_that_is_no_failure() -> None:
    async with owned(STAYS, NEVER) as one:
        first = await one.start()

        one.keeper.replace()
        second = await one.pid(other_than=first)
        assert (one.downs, one.keeper.failures) == ([], 0)

        os.kill(second, signal.SIGKILL)
        await one.until(lambda: one.downs)
        assert one.keeper.child is None, "only the one that was killed for it is followed at once"


@in_loop
async def test_a_child_at_rest_stays_down_until_it_is_wanted_again() -> None:
    async with owned(STAYS, AT_ONCE) as one:
        first = await one.start()

        one.keeper.rest()
        await one.keeper.gone(10)
        await asyncio.sleep(0)
        assert (one.keeper.child, one.downs, one.statuses) == (None, [], [-signal.SIGKILL])

        assert await one.start() != first


@in_loop
async def test_one_that_is_wanted_again_before_its_rest_began_is_replaced() -> None:
    async with owned(STAYS, NEVER) as one:
        first = await one.start()

        one.keeper.rest()
        one.keeper.replace()

        await one.pid(other_than=first)


@in_loop
async def test_a_start_that_waits_gives_way_to_the_next_one_and_to_a_rest() -> None:
    """Else two timers would start two children."""
    # A later timer of the same loop fires later, so these sleeps are no guesses.
    async with owned(STAYS, NEVER) as one:
        one.keeper.start_later(0.01)
        one.keeper.rest()
        await asyncio.sleep(0.02)
        assert one.begun == []

        one.keeper.start_later(0.01)
        one.keeper.start_later(600.0)
        await asyncio.sleep(0.02)
        assert one.begun == []

        one.keeper.start()
        one.keeper.start()
        await one.pid()
        assert len(one.begun) == 1


@in_loop
async def test_who_retired_is_never_started_again() -> None:
    async with owned(STAYS, AT_ONCE) as one:
        pid = await one.start()

        one.keeper.retire()
        os.kill(pid, signal.SIGKILL)
        await one.keeper.gone(10)
        one.keeper.start()

        assert (one.keeper.child, one.downs, one.statuses) == (None, [], [-signal.SIGKILL])


@in_loop
async def test_the_line_to_a_dead_child_is_finished_before_anybody_is_told() -> None:
    async with owned(ENDS, NEVER) as one:
        finished: list[list[int]] = []

        class Line(Channel):
            def finish(self) -> None:
                finished.append(list(one.statuses))
                super().finish()

        one.line = Line
        one.keeper.start()
        await one.until(lambda: one.downs)

        assert finished == [[]]


@in_loop
async def test_last_words_are_heard_and_make_no_child_ready() -> None:
    said = 'import os, sys; os.write(int(sys.argv[2]), b\'{"v":1,"type":"ready"}\\n\' * 100)'
    async with owned(said, NEVER) as one:
        one.keeper.start()
        await one.until(lambda: one.downs)

        assert len(one.frames) == 100
        assert not one.keeper.is_ready


@in_loop
async def test_waiting_for_an_end_has_a_deadline() -> None:
    """P8."""
    async with owned(STAYS, AT_ONCE) as one:
        one.keeper.start()

        await one.keeper.gone(0.01)

        assert one.keeper.child is not None
