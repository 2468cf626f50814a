"""What the benchmarks measure with: bytes a process received, its processor time, stretches between two moments."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.received import Received
from bench.stage import BenchError
from bench.windows import Edge, Window, between, cpu_of, next_change, ratio


def test_bytes_received_are_the_kernels_and_stay_counted_when_the_connection_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        received = Received(os.getpid())
        client = socket.create_connection(server.getsockname(), timeout=5)
        peer, _ = server.accept()
        received.total()

        peer.sendall(b"x" * 12_345)
        client.settimeout(5)
        while len(client.recv(20_000, socket.MSG_PEEK)) < 12_345:
            pass
        here = received.total()
        client.close()
        peer.close()

        assert here == 12_345
        assert received.total() == here


def test_processor_time_is_of_all_threads_of_the_process() -> None:
    def burn() -> None:
        while time.thread_time() < 0.02:
            pass

    before = cpu_of(os.getpid())
    other = threading.Thread(target=burn)
    other.start()
    other.join(30)

    assert 0.02 <= cpu_of(os.getpid()) - before < 10


def test_a_window_is_what_happened_between_two_moments() -> None:
    window = between(Edge(at=10.0, count=1000, cpu=1.0), Edge(at=12.0, count=5000, cpu=1.4))

    assert window.per_s == 2000
    assert window.cpu_us == pytest.approx(100)


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    ours = [Window(100, 4), Window(200, 4), Window(30, 4)]
    raw = [Window(100, 1), Window(400, 2), Window(300, 8)]

    assert ratio(ours, raw) == 0.5
    assert ratio(ours, raw, "cpu_us") == 2.0


def test_waiting_for_a_process_that_ends_ends_with_a_reason(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""], cwd=tmp_path)

    with pytest.raises(BenchError, match="the process that is measured ended"):
        next_change(lambda: 1, child.pid)

    assert child.wait(10) == 0
