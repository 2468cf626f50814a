"""What every test has: scale and seed, the brokers, and the checks that nothing is left behind."""

import contextlib
import gc
import os
import random
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.broker import real
from tests.broker.real import RealBroker
from tests.servers import processes
from tests.servers.processes import PostgresqlServer, RedisServer
from tests.waiting import wait_until

T = TypeVar("T")

_MARK = "SUPERVISOR_TEST_MARK"
_BROKER = pytest.StashKey[RealBroker]()
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a test does: a short form in ``make test``, the full figures in ``make test-long``."""

    is_long: bool

    def pick(self, short: T, full: T) -> T:
        """Return the one of the two that this run asks for."""
        return full if self.is_long else short


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the full figures instead of the short forms")
    parser.addoption("--seed", type=int, default=None, help="seed of the random tests (short: 1, --long: drawn)")
    parser.addoption("--patience", type=float, default=5.0, help="seconds a test's processes and threads get to end")


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts us in the background has SIGINT ignored, and so would what tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.option.seed is None:
        config.option.seed = random.SystemRandom().randrange(1_000_000) if config.option.long else 1
    slow = [HealthCheck.too_slow]  # of a busy machine, not of a test
    settings.register_profile("short", deadline=None, derandomize=True, suppress_health_check=slow)
    settings.register_profile("long", deadline=None, max_examples=2000, suppress_health_check=slow)
    settings.load_profile("long" if config.option.long else "short")


def pytest_report_header(config: pytest.Config) -> list[str]:
    lack = real.missing()
    return [
        f"scale: {'long' if config.option.long else 'short'}, --seed {config.option.seed}",
        f"real broker: {'yes' if lack is None else 'no: ' + lack}",
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if {"broker", "own_broker"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")
        if config.option.long and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(1200))
        if item.get_closest_marker("long") and not config.option.long:
            item.add_marker(pytest.mark.skip(reason="only under --long"))


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    """Tell short runs from long ones: ``scale.pick(2_000, 100_000)``."""
    return Scale(is_long=bool(pytestconfig.option.long))


@pytest.fixture
def rng(pytestconfig: pytest.Config) -> random.Random:
    """Return chance that can be repeated: seeded by ``--seed``, the same at the start of every test."""
    return random.Random(int(pytestconfig.option.seed))


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[RealBroker]:
    """Give the session's one real broker. Name topics and groups after the test; kill only ``own_broker``."""
    _require_broker()
    with RealBroker(real.STEADY) as running:
        pytestconfig.stash[_BROKER] = running
        yield running


@pytest.fixture
def own_broker() -> Iterator[RealBroker]:
    """Give a real broker of the test's own, to kill, freeze and restart (1-2 s more)."""
    _require_broker()
    with RealBroker() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Give the session's one Redis. Use a prefix of your own; do not stop it."""
    _require_server("redis-server")
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Give the session's one PostgreSQL. Use a table of your own; do not stop it."""
    _require_server("postgres")
    with PostgresqlServer() as running:
        yield running


def _require_server(program: str) -> None:
    lack = processes.missing(program)
    if lack is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have the servers of tests/servers: {lack}", pytrace=False)
    pytest.skip(lack)


def _require_broker() -> None:
    lack = real.missing()
    if lack is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have a real broker: {lack}", pytrace=False)
    pytest.skip(lack)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a name no other test uses, for topics and groups."""
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", str(request.node.name))[:80]
    return f"{words}-{random.SystemRandom().randrange(10**6)}"


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, a thread or a file descriptor behind; kill the processes.

    Processes are known by a variable in their environment, so that those which lost their parent are found too.
    Descriptors are not counted where a Kafka client of an earlier test is still being taken down: it may open some.
    """
    others_client = _has_client()
    mark = f"{os.getpid()}-{request.node.name}"
    monkeypatch.setenv(_MARK, mark)
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    patience = float(request.config.option.patience)
    broker = _broker_pid(request.config)

    def ended() -> bool:
        return not _processes(mark, broker) and not _threads(threads)

    def closed() -> bool:
        gc.collect()
        return not _new(descriptors)

    wait_until(ended, patience, otherwise=None)
    processes = _processes(mark, broker)
    left = [f"process {pid}: {command}" for pid, command in processes.items()] + _threads(threads)
    if not left and not others_client and _new(descriptors):
        wait_until(closed, min(patience, 2.0), otherwise=None)
        left = _new(descriptors)
    for pid in processes:
        _kill(pid)
    if left and request.node.get_closest_marker("leaks") is None:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


def _broker_pid(config: pytest.Config) -> int | None:
    running = config.stash.get(_BROKER, None)
    return None if running is None else running.pid


def _processes(mark: str, broker: int | None) -> dict[int, str]:
    wanted = f"{_MARK}={mark}\0".encode()
    found = {}
    for entry in _PROC.glob("[0-9]*"):
        pid = int(entry.name)
        if pid in (os.getpid(), broker):
            continue
        try:
            if _is_zombie_of_ours(entry) or wanted in (entry / "environ").read_bytes():
                found[pid] = (entry / "cmdline").read_bytes().replace(bytes(1), b" ").decode()[:200] or "(zombie)"
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def _is_zombie_of_ours(entry: Path) -> bool:
    state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
    return state == "Z" and int(parent) == os.getpid()


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _threads(before: set[threading.Thread]) -> list[str]:
    return [f"thread {thread.name}" for thread in threading.enumerate() if thread not in before and thread.is_alive()]


def _has_client() -> bool:
    """Tell whether threads of librdkafka run in this process; Python does not know them."""
    for entry in (_PROC / "self" / "task").iterdir():
        with contextlib.suppress(OSError):
            if (entry / "comm").read_text().startswith("rdk:"):
                return True
    return False


def _descriptors() -> dict[int, str]:
    found = {}
    for entry in (_PROC / "self" / "fd").glob("*"):
        try:
            found[int(entry.name)] = str(entry.readlink())
        except OSError:
            continue
    return found


def _new(before: dict[int, str]) -> list[str]:
    now = _descriptors()
    if len(now) <= len(before):
        return []
    return [f"descriptor {fd}: {target}" for fd, target in now.items() if fd not in before]
