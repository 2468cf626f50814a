"""A transactional producer that does what the test says: outputs and offsets appear together, or not at all."""

from collections.abc import Callable, Sequence
from typing import Any

from supervisor.plugin.types import Produce
from tests.worker.fake_source import FakeCluster, Place

Tagged = Sequence[tuple[Any, Produce]]


class FakeTransactional:
    """``judge`` is asked before each transaction, and may raise what the real one raises."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        self.written: list[Produce] = []
        self.runs: list[tuple[int, bool, object]] = []
        """Of each transaction that was begun: its outputs, whether one by one, the member's metadata."""
        self.judge: Callable[[Tagged, object], None] = lambda _outputs, _metadata: None
        self.pause: Callable[[], None] = lambda: None
        self.on_commit: Callable[[Place, int], None] = lambda _place, _offset: None

    def start(self, timeout: float) -> None: ...

    def look_up(self, topic: str) -> None: ...

    def run(
        self, outputs: Tagged, offsets: Sequence[tuple[Place, int]], metadata: object, *, one_by_one: bool = False
    ) -> None:
        self.runs.append((len(outputs), one_by_one, metadata))
        self.pause()
        with self.cluster.lock:
            self.judge(outputs, metadata)
            self.written += [output for _, output in outputs]
            for place, offset in offsets:
                assert offset >= self.cluster.committed.get(place, 0), "a transaction moved the group back"
                self.on_commit(place, offset)
                self.cluster.committed[place] = offset
