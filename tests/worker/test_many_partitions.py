"""A worker with more partitions than fit into one frame: it counts as joined, and is told who is accused in all."""

import socket
import threading
from typing import Self

import pytest

from supervisor.core.frames import Frame, FrameReader
from supervisor.link import Link
from supervisor.worker import quarantine
from supervisor.worker.orders import Stop
from supervisor.worker.report import MAX_PARTITIONS
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import InProcess

PLACES = [("t" * 249, number) for number in range(20_000)]


class Parent:
    """Reads a worker's frames in a thread, as ``Channel`` does, and answers who is accused: nobody."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.frames: list[Frame] = []
        self.link = Link(self._ours)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join(5)
        self._theirs.close()
        self._ours.close()

    def take(self, worker: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the worker's parent; its main thread flushes the link as it does when it waits for orders."""
        wait = worker._orders.wait

        def flushing(timeout: float) -> Stop | None:
            self.link.flush()
            return wait(timeout)

        worker.engine.link = self.link
        monkeypatch.setattr(worker._orders, "wait", flushing)

    def read(self, worker: InProcess) -> None:
        self._thread = threading.Thread(target=self._read, args=(worker,), daemon=True)
        self._thread.start()

    def of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in list(self.frames) if frame["type"] == kind]

    def _read(self, worker: InProcess) -> None:
        reader = FrameReader()
        while data := self._theirs.recv(1 << 16):
            for frame in reader.feed(data):
                self.frames.append(frame)
                if frame["type"] == "accused":
                    worker.tell("accused", ask=frame["ask"], suspects=[], convicted=[])


def test_a_worker_with_twenty_thousand_partitions_counts_as_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "PATIENCE", 30.0)
    with Parent() as parent, InProcess(FakeCluster(), lambda _: None, max_deaths=3) as worker:
        parent.take(worker, monkeypatch)
        parent.read(worker)
        worker.source.assign(*PLACES)
        worker.until(lambda: parent.of_type("assigned"), 60)

        (assigned,) = parent.of_type("assigned")
        asked = [tuple(place) for frame in parent.of_type("accused") for place in frame["partitions"]]

        assert len(assigned["partitions"]) == MAX_PARTITIONS
        assert sorted(asked) == PLACES
        assert not [frame for frame in parent.of_type("event") if frame["name"] == "accusations.unknown"]


def test_p8_a_question_that_the_parent_does_not_take_is_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked before may be answered: that is no answer to the rest."""
    monkeypatch.setattr(quarantine, "PATIENCE", 0.2)
    with Parent() as parent, InProcess(FakeCluster(), lambda _: None, max_deaths=3) as worker:
        parent.take(worker, monkeypatch)
        number = worker.engine.quarantine.ask(PLACES)
        parent.read(worker)
        worker.until(lambda: parent.link.send("event", name="asked") and parent.of_type("event"))

        worker.engine.quarantine.await_answer(number, lambda: None)
        worker.until(lambda: any(frame["name"] == "accusations.unknown" for frame in parent.of_type("event")))

        assert 0 < len(parent.of_type("accused")) < len(PLACES) // quarantine.ASKED
