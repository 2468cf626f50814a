"""The example plugins and handlers do what they say."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from supervisor.core.spec import PluginSpec, PluginsSpec
from supervisor.plugin import DeadLetter, Record, Retry
from supervisor.plugin.active import Active
from supervisor.plugin.handler import load_handler
from supervisor.plugin.loader import load
from tests.plugins.conftest import FakeMessage, a_failure

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"


@pytest.fixture
def active(monkeypatch: pytest.MonkeyPatch) -> Iterator[Active]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield load(PluginsSpec((PluginSpec("patient_policy"),), (str(EXAMPLES),)), "builtins:print", group="orders")
    sys.modules.pop("patient_policy", None)


def test_the_policy_is_patient_with_services_and_not_with_nonsense(active: Active) -> None:
    (policy,) = active.retry_decision

    assert policy(a_failure(ConnectionRefusedError(), 3)) == Retry(8.0)
    assert policy(a_failure(TimeoutError(), 30)) == Retry(60.0)
    assert policy(a_failure(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"))) == DeadLetter("not text")
    assert policy(a_failure(KeyError())) is None


def test_the_async_handler_posts_orders_and_tells_what_can_never_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES.parent), *sys.path])
    posted: list[tuple[str, bytes]] = []
    statuses = [200, 503, 422]

    async def take(request: web.Request) -> web.Response:
        posted.append((request.headers["Idempotency-Key"], await request.read()))
        return web.Response(status=statuses[len(posted) - 1])

    async def work() -> list[str]:
        service = web.Application()
        service.router.add_post("/orders", take)
        errors = []
        async with TestServer(service) as server:
            monkeypatch.setenv("NOTIFY_URL", str(server.make_url("/")))
            handler: Any = load_handler("notify:Notify").owner
            await handler.open()
            for _ in statuses:
                try:
                    await handler.process(Record(FakeMessage()))
                except Exception as error:  # noqa: BLE001 - whatever it raises is what is tested
                    errors.append(type(error).__name__)
            await handler.close()
        return errors

    assert asyncio.run(work()) == ["ClientResponseError", "NotAnOrderError"]
    assert posted == [("orders/1/812", b"v")] * 3
    sys.modules.pop("notify")
