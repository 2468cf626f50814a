"""What plugin tests share: modules in a folder of their own, a context, letters, failures."""

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from textwrap import dedent

import pytest

from supervisor.plugin import Disposition, Failure, Letter, Record, WorkerContext
from supervisor.plugin.types import Headers
from tests.plugins.receiver import Receiver

_numbers = itertools.count()
Write = Callable[[str], str]


class FakeMessage:
    """A client's message."""

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 1

    def offset(self) -> int:
        return 812

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)


class FakeProducer:
    """A ``plugin.types.Send`` that keeps what it was given, and its futures open."""

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []
        self.futures: list[Future[None]] = []

    def __call__(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timestamp: float | None = None,
    ) -> "Future[None]":
        names = ("topic", "value", "key", "headers", "partition", "timestamp")
        members = (topic, value, key, headers, partition, timestamp)
        self.sent.append(dict(zip(names, members, strict=True)))
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


@pytest.fixture
def context(tmp_path: Path, producer: FakeProducer) -> WorkerContext:
    state = tmp_path / "state"
    state.mkdir()
    return WorkerContext("web-1", "orders", 3, incarnation=1, state_dir=str(state), produce=producer)


@pytest.fixture
def letter() -> Letter:
    return Letter(
        audit_id="orders/orders/1/812",
        topic="orders.dlq",
        key=b"k",
        value=b"\x00\xff",
        headers=(("trace", b"\xfe"), ("empty", None)),
        source_topic="orders",
        source_partition=1,
        source_offset=812,
        disposition=Disposition.ERROR,
        timestamp=12.5,
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def a_failure(error: BaseException, attempt: int = 1) -> Failure:
    return Failure(Record(FakeMessage(), attempt), error, attempt, first_failed_at=0.0, failed_at=1.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder for user modules; what is imported from it is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    place = tmp_path / "project"
    place.mkdir()
    before = set(sys.modules)
    yield place
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(place)):
            del sys.modules[name]


@pytest.fixture
def write(folder: Path) -> Write:
    """Give a function that writes a module into ``folder`` and returns its name."""

    def module(source: str) -> str:
        name = f"user_module_{next(_numbers)}"
        text = "from supervisor.plugin import *\nfrom dataclasses import dataclass\n" + dedent(source)
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return name

    return module
