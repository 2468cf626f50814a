"""What a zygote goes through before it forks leaves nothing that a worker would not have."""

import logging
import os
import signal
import sys
import threading

import pytest

from supervisor.link import Link
from supervisor.worker import poller, process
from supervisor.zygote import rehearsal
from supervisor.zygote.nowhere import NoBrokers
from supervisor.zygote.rehearsal import rehearse


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _state() -> list[object]:
    return [
        list(sys.path),
        list(logging.getLogger().handlers),
        logging.getLogger().level,
        [signal.getsignal(number) for number in signal.valid_signals()],
        threading.active_count(),
        [fd for fd in range(100) if _is_open(fd)],
    ]


def test_a_rehearsal_leaves_no_trace() -> None:
    rehearse()  # imports what is not there yet
    before = _state()

    rehearse()

    assert _state() == before


def test_a_rehearsal_is_a_whole_life_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Watched(NoBrokers):
        def poll(self, timeout: float) -> None:
            told.append("polled")
            super().poll(timeout)

        def close(self) -> None:
            super().close()
            told.append("closed")

    class Told(Link):
        def send(self, kind: str, **members: object) -> bool:
            told.append(f"{kind} {members['partitions']}" if kind == "assigned" else kind)
            return super().send(kind, **members)

    monkeypatch.setattr(rehearsal, "Link", Told)
    monkeypatch.setattr(rehearsal, "NoBrokers", Watched)

    rehearse()

    one = told[: told.index("closed") + 1]
    assert one.count("polled") > 2
    assert [line for line in one if line.startswith("assigned")] == ["assigned [('orders', 0)]", "assigned []"]
    assert "stats" in one
    assert told.count("closed") == 1 + rehearsal.TURNS


def test_a_rehearsal_may_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then more is due in it than on a quick machine."""
    monkeypatch.setattr(poller, "ENDS_INTERVAL", 0.0)
    monkeypatch.setattr(process, "STATS_INTERVAL", 0.0)

    rehearse()
