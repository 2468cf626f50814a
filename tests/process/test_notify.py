"""sd_notify(3) from a real parent process, against a socket that listens as systemd's does."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from supervisor.core.snapshot import SlotState
from supervisor.parent.running.notify import ServiceManager
from tests.process.parents import Parent
from tests.waiting import wait_until


class Listener:
    """Takes what is notified, as systemd would."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def lines(self) -> list[str]:
        while True:
            try:
                self.heard += self.socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def wait_for(self, start: str, timeout: float = 15.0) -> str:
        return wait_until(
            lambda: next((line for line in self.lines() if line.startswith(start)), ""),
            timeout,
            otherwise=f"{start} was not notified",
        )


@contextmanager
def listening(address: str) -> Iterator[Listener]:
    listener = Listener(address)
    try:
        yield listener
    finally:
        listener.socket.close()


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Give a listener whose address the parent finds in its environment; the watchdog's period is 4 s."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    with listening(address) as listener:
        yield listener


def test_it_is_ready_feeds_the_watchdog_shows_its_state_and_says_that_it_stops(
    tmp_path: Path, systemd: Listener
) -> None:
    with Parent(tmp_path) as parent:
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        parent.slot_when(SlotState.RUNNING)
        systemd.wait_for("STATUS=1/1 groups ok, 1/1 workers running")

        parent.signal(signal.SIGTERM)

        assert parent.exit_code() == 0
        assert systemd.lines().count("STOPPING=1") == 1


def test_a_long_stop_asks_for_time(tmp_path: Path, systemd: Listener) -> None:
    parent = Parent(tmp_path, stop_timeout=4.0)
    parent.behave("deaf")
    with parent:
        parent.slot_when(SlotState.RUNNING)

        parent.signal(signal.SIGTERM)

        systemd.wait_for("STOPPING=1")
        systemd.wait_for("EXTEND_TIMEOUT_USEC=")
        systemd.wait_for("STATUS=stopping: 0/1 workers down; orders/0 draining")


def test_children_do_not_inherit_the_right_to_notify(tmp_path: Path, systemd: Listener) -> None:
    with Parent(tmp_path) as parent:
        worker = parent.slot_when(SlotState.RUNNING).pid

        assert worker is not None
        names = psutil.Process(worker).environ()
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(names)


def test_workers_that_hang_crash_and_are_given_up_never_withhold_the_watchdog(
    tmp_path: Path, systemd: Listener
) -> None:
    parent = Parent(tmp_path, {"orders": 1, "bills": 1}, tick_timeout=0.5)
    parent.behave("exit 78", "orders-0")
    with parent:
        parent.slot_when(SlotState.FATAL)
        worker = parent.slot_when(SlotState.RUNNING, group="bills").pid
        assert worker is not None
        os.kill(worker, signal.SIGSTOP)
        systemd.wait_for("STATUS=1/2 groups ok, 1/2 workers running; orders/0 fatal")
        systemd.heard.clear()

        systemd.wait_for("WATCHDOG=1")


def test_without_a_service_manager_every_call_does_nothing() -> None:
    manager = ServiceManager.from_environment({})

    manager.ready()
    manager.reloading()
    manager.status("fine")
    manager.watchdog(now=1.0)
    manager.stopping()

    assert not manager.is_there
    assert manager.watchdog_period is None


def test_an_abstract_address_is_an_address(name: str) -> None:
    with listening(f"\0{name}") as listener:
        manager = ServiceManager(f"@{name}")

        manager.ready("fine")

        assert listener.lines() == ["READY=1", "STATUS=fine"]
        manager.close()


def test_a_reload_says_when_it_began(name: str) -> None:
    with listening(f"\0{name}") as listener:
        manager = ServiceManager(f"@{name}")

        manager.reloading()

        reloading, since = listener.lines()
        assert reloading == "RELOADING=1"
        assert since.startswith("MONOTONIC_USEC=")
        assert int(since.partition("=")[2]) > 0
        manager.close()


def test_what_the_full_queue_did_not_take_is_sent_with_a_later_pulse(name: str) -> None:
    with listening(f"\0{name}") as listener:
        manager = ServiceManager(f"@{name}")
        for number in range(100_000):
            if not manager._send(f"STATUS={number}"):
                break

        manager.ready()
        manager.flush()
        assert "READY=1" not in listener.lines()

        manager.flush()
        assert listener.lines()[-1] == "READY=1"
        manager.close()


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}

    manager = ServiceManager.from_environment(environ)

    assert manager.watchdog_period is None
    assert environ == {}
    manager.close()


@pytest.mark.parametrize("period", ["0", "", "-1", "1s"])
def test_a_period_of_nothing_means_that_nobody_watches(name: str, period: str) -> None:
    with listening(f"\0{name}") as listener:
        manager = ServiceManager.from_environment({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": period})

        for now in range(3):
            manager.watchdog(now=float(now))

        assert manager.is_there
        assert manager.watchdog_period is None
        assert listener.lines() == []
        manager.close()


def test_the_watchdog_is_fed_before_half_its_period_is_over(name: str) -> None:
    with listening(f"\0{name}") as listener:
        manager = ServiceManager(f"@{name}", watchdog=8.0)
        fed = []
        for now in range(20):
            before = len(listener.lines())
            manager.watchdog(now=float(now))
            fed += [now] * (len(listener.lines()) - before)

        assert fed == [0, 4, 8, 12, 16]
        manager.close()


def test_nobody_at_the_address_is_said_once_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager(str(tmp_path / "nobody"))

    manager.ready()
    manager.stopping()

    assert [record.getMessage() for record in caplog.records] == ["parent.notify_failed"]
    manager.close()
