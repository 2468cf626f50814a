"""The HTTP listener in a loop of the test's own: what it does when something is wrong with what it is to show."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, ClientTimeout

from supervisor.core.events import Severity
from supervisor.core.exposition import Others
from supervisor.core.snapshot import GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.parent.metrics import listener as listeners
from supervisor.parent.metrics import scraping as scrapings
from supervisor.parent.metrics.listener import HttpListener
from supervisor.parent.metrics.rendering import Format, Page
from supervisor.parent.metrics.scraping import Scraping
from supervisor.parent.processes.keeper import until
from supervisor.parent.slots.tallies import Tallies
from supervisor.parent.supervisor import Supervisor
from tests.broker.real import free_ports
from tests.looping import in_loop


class Parts:
    """A supervisor of one running slot, and what it owes."""

    def __init__(self) -> None:
        self.late = ""
        self.events: list[tuple[str, Severity, str]] = []
        self.stopping = False
        slot = SlotSnapshot("orders", 0, SlotState.RUNNING, joined=True, healthy=True)
        self.group = GroupSnapshot("orders", ("orders",), 1, (slot,))
        tell = lambda name, severity, text, **_: self.events.append((name, severity, text))  # noqa: E731
        self.supervisor = cast(
            "Supervisor",
            SimpleNamespace(
                snapshot=lambda: Snapshot("web-1", "1", 1, at=1.0, uptime=1.0, groups=(self.group,)),
                runners={},
                events=SimpleNamespace(tell=tell),
                stopping=False,
            ),
        )
        self.scraping = Scraping(self.supervisor, Tallies(), Others)
        duties = SimpleNamespace(late=lambda *, now: self.late)
        self.listener = HttpListener(self.supervisor, self.scraping, cast("Any", duties))


@asynccontextmanager
async def listening(parts: Parts) -> AsyncIterator[tuple[ClientSession, str]]:
    (port,) = free_ports(1)
    parts.listener.start(("127.0.0.1", port))
    await until(lambda: parts.listener.port is not None, 10)
    try:
        async with ClientSession(timeout=ClientTimeout(10), headers={"Accept-Encoding": "identity"}) as client:
            yield client, f"http://127.0.0.1:{port}"
    finally:
        await parts.listener.stop()


async def status(client: ClientSession, url: str) -> tuple[int, str]:
    async with client.get(url) as answer:
        return answer.status, await answer.text()


@in_loop
async def test_a_supervisor_that_is_late_is_not_healthy_and_says_with_what() -> None:
    parts = Parts()
    parts.late = "children: a look for dead ones is 12 s late"
    async with listening(parts) as (client, url):
        code, text = await status(client, f"{url}/healthz")

        assert code == 503
        assert "a look for dead ones is 12 s late" in text
        parts.late = ""
        assert (await status(client, f"{url}/healthz"))[0] == 200


@in_loop
async def test_a_supervisor_that_stops_is_not_ready() -> None:
    parts = Parts()
    async with listening(parts) as (client, url):
        assert (await status(client, f"{url}/readyz"))[0] == 200
        cast("Any", parts.supervisor).stopping = True

        code, text = await status(client, f"{url}/readyz")

        assert code == 503
        assert '"stopping": true' in text


def test_a_page_that_cannot_be_made_is_an_error_once_and_made_when_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = [True]

    def render(_scene: object, _wanted: Format) -> Page:
        if fails[0]:
            raise ValueError
        return Page(b"whole\n", b"")

    monkeypatch.setattr(scrapings, "render", render)

    @in_loop
    async def run() -> None:
        async with listening(Parts()) as (client, url):
            assert (await status(client, f"{url}/metrics"))[0] == 500
            assert (await status(client, f"{url}/healthz"))[0] == 200
            fails[0] = False
            assert await status(client, f"{url}/metrics") == (200, "whole\n")

    run()


def test_p6_requests_beyond_the_bound_are_refused_and_one_page_is_made_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(listeners, "MOST_REQUESTS", 3)

    @in_loop
    async def run() -> None:
        loop, parts = asyncio.get_running_loop(), Parts()
        goes_on = asyncio.Event()

        def render(_scene: object, _wanted: Format) -> Page:
            made.append(1)
            asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result(10)
            return Page(b"whole\n", b"")

        monkeypatch.setattr(scrapings, "render", render)
        async with listening(parts) as (client, url):
            asked = [asyncio.create_task(status(client, f"{url}/metrics")) for _ in range(4)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            goes_on.set()
            answers = await asyncio.gather(*asked)

        assert [task.result()[0] for task in done] == [503]
        assert sorted(answers) == [(200, "whole\n")] * 3 + [(503, "too many requests at once\n")]

    run()
    assert len(made) == 1


def test_p8_a_connection_that_says_nothing_and_one_that_never_ends_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "LIFE", 0.2)
    monkeypatch.setattr(listeners, "GRACE", 0.2)

    @in_loop
    async def run() -> None:
        parts = Parts()
        async with listening(parts) as (_, url):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            slow_reader, slow_writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            slow_writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow:")
            await slow_writer.drain()

            async def ended() -> None:
                await reader.read()
                await slow_reader.read()

            waiting = asyncio.create_task(ended())
            async with asyncio.timeout(10):
                while not waiting.done():
                    parts.listener.pulse()
                    await asyncio.sleep(0.05)
            for one in (writer, slow_writer):
                one.close()

    run()


@in_loop
async def test_a_name_that_is_no_host_is_told_and_supervision_goes_on() -> None:
    parts = Parts()
    parts.listener.start(("no.such.host.invalid", 9464))

    await until(lambda: bool(parts.events), 20)

    (name, severity, text) = parts.events[0]
    assert (name, severity) == ("http.unavailable", Severity.WARNING)
    assert text.startswith("nobody can listen at no.such.host.invalid:9464: ")
    await parts.listener.stop()
