"""P1 and P3 under seeded chaos for outputs: what handlers return, held against what the cluster took.

As ``test_simulation``, with brokers that confirm late, refuse, and abort transactions at any time.
"""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BatchSpec, CommitSpec, DeadLetterSpec, Delivery, Ordering, RetrySpec
from supervisor.kafka.transactions import AbortedError, CrowdedError, RefusedError
from supervisor.plugin.types import Letter, Produce, Record
from tests.worker.fake_source import FakeCluster, Place
from tests.worker.fake_transactions import Tagged
from tests.worker.in_process import InProcess

SEEDS = 32
AT_ONCE = 4
PLACES: list[Place] = [("t", 0), ("t", 1), ("t", 2)]
KINDS = ["quick"] * 60 + ["nothing", "pause", "stuck", "fail once", "fail always", "refused", "two"]


class Life:
    """One seed: a cluster, a worker after the other, and what their outputs became."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.cluster = FakeCluster()
        self.delivery = dice.choice(list(Delivery))
        self.ordering = dice.choice(list(Ordering))
        self.in_batches = dice.random() < 0.3
        self.kinds: dict[tuple[Place, int], str] = {}
        self.taken: dict[tuple[Place, int], int] = defaultdict(int)
        self.order: list[tuple[Place, int, bytes | None]] = []
        self.letters: set[tuple[Place, int]] = set()
        self.broken: list[str] = []
        self._lock = threading.Lock()
        for _ in range(dice.randrange(30, 250)):
            self.produce()

    def produce(self) -> None:
        dice = self.dice
        place, kind = dice.choice(PLACES), dice.choice(KINDS)
        key = None if dice.random() < 0.2 else b"%d" % dice.randrange(4)
        offset = self.cluster.add(place, kind.encode(), key, hole=dice.choice([0, 0, 0, 3]))
        self.kinds[place, offset] = kind

    # --- the handler ------------------------------------------------------------------------------------

    def process(self, record: Record) -> object:
        kind = (record.value or b"").decode()
        if kind == "pause":
            time.sleep(0.004)
        if kind == "stuck":
            time.sleep(0.08)
        if kind == "fail always" or (kind == "fail once" and record.attempt == 1):
            raise ValueError
        if kind == "nothing":
            return None
        name = b"%d %d" % (record.partition, record.offset)
        one = Produce("refused" if kind == "refused" else "out", record.key, name)
        return [one, one] if kind == "two" else one

    def process_batch(self, records: Sequence[Record]) -> list[object]:
        outcomes: list[object] = []
        for record in records:
            try:
                outcomes.append(self.process(record))
            except ValueError as error:
                outcomes.append(error)
        return outcomes

    def sink(self, letter: Letter) -> object:
        if self.dice.random() < 0.3:
            raise OSError
        if self.delivery is Delivery.EXACTLY_ONCE:
            return Produce("dlq", letter.key, b"%d %d" % (letter.source_partition, letter.source_offset))
        self._wrote_letter((letter.source_topic, letter.source_partition), letter.source_offset)
        return None

    # --- the cluster ------------------------------------------------------------------------------------

    def take(self, output: Produce) -> None:
        """Note an output that the cluster took, for good."""
        partition, offset = map(int, (output.value or b"").split())
        place = ("t", partition)
        if output.topic == "dlq":
            self._wrote_letter(place, offset)
            return
        with self._lock:
            self.taken[place, offset] += 1
            if self.taken[place, offset] == 1:
                self.order.append((place, offset, output.key))  # type: ignore[arg-type]

    def _wrote_letter(self, place: Place, offset: int) -> None:
        with self._lock:
            self.letters.add((place, offset))

    def committed(self, place: Place, offset: int) -> None:
        with self._lock:
            for (of, at), kind in list(self.kinds.items()):
                if of == place and at < offset and not self._is_settled(of, at, kind):
                    self.broken.append(f"P1: {place} was committed to {offset}, {at} ({kind}) is not settled")

    def _is_settled(self, place: Place, at: int, kind: str) -> bool:
        if kind == "nothing":
            return True
        if kind in ("refused", "fail always"):
            return (place, at) in self.letters
        return self.taken[place, at] >= (2 if kind == "two" else 1)

    def confirm(self, worker: InProcess, stop: threading.Event) -> None:
        """Confirm what was sent, now and then some of it, until told to stop."""
        dice, told = random.Random(1), 0
        while not stop.wait(dice.random() * 0.01):
            most = len(worker.outputs.sent)
            while told < most:
                if dice.random() < 0.02:
                    break
                output, _ = worker.outputs.sent[told]
                refused = output.topic == "refused"
                if not refused:
                    self.take(output)
                worker.outputs.confirm(told, "MSG_SIZE_TOO_LARGE" if refused else None)
                told += 1

    def worker(self) -> InProcess:
        dice = self.dice
        worker = InProcess(
            self.cluster,
            None if self.in_batches else self.process,
            process_batch=self.process_batch if self.in_batches else None,
            sink=self.sink,
            delivery=self.delivery,
            ordering=self.ordering,
            concurrency=dice.choice([1, 2, 4]),
            max_gap=dice.choice([4, 20, 10_000]),
            queue_records=dice.choice([8, 40, 10_000]),
            queue_bytes=dice.choice([200, 16 << 20]),
            revoke_timeout=dice.choice([2.0, 0.02]),
            retry=RetrySpec(2, Backoff(0.01, 1.0, 0.01, 0.5)),
            dead_letters=DeadLetterSpec("dlq_kafka", "", "dlq", 0.5),
            commit=CommitSpec("manual", dice.choice([1, 1000]), 0.02),
            batch=BatchSpec(dice.choice([1, 5, 50]), dice.choice([0.0, 0.01, 1.0])),
        )
        aborts = random.Random(2)

        def judge(outputs: Tagged, metadata: object) -> None:
            if metadata != worker.source.generation:
                raise AbortedError("ILLEGAL_GENERATION")
            one_by_one = worker.transactional.runs[-1][1]
            for tag, output in outputs:
                if output.topic == "refused":
                    raise RefusedError("MSG_SIZE_TOO_LARGE", tag) if one_by_one else CrowdedError("MSG_SIZE_TOO_LARGE")
            if aborts.random() < 0.1:
                raise AbortedError("_TIMED_OUT")
            for _, output in outputs:
                self.take(output)

        worker.transactional.judge = judge
        worker.transactional.pause = lambda: time.sleep(aborts.random() * 0.005)
        worker.transactional.on_commit = self.committed
        worker.source.on_commit = self.committed
        most = dice.choice([1, 7, 1000])
        worker.source.chunk = lambda limit: min(limit, most)
        return worker

    def run(self) -> None:
        for last in (False, False, True):
            stop = threading.Event()
            with self.worker() as worker:
                confirming = threading.Thread(target=self.confirm, args=(worker, stop))
                confirming.start()
                try:
                    self._live(worker, last=last)
                finally:
                    stop.set()
                    confirming.join()
        assert not self.broken, self.broken[:3]
        self._check()

    def _live(self, worker: InProcess, *, last: bool) -> None:
        dice = self.dice
        assert worker.source.assign(*PLACES).wait(5), "nobody polls"
        for _ in range(0 if last else dice.randrange(4)):
            time.sleep(dice.random() * 0.06)
            for _ in range(dice.randrange(20)):
                self.produce()
            some = dice.sample(PLACES, dice.randrange(1, 4))
            assert worker.source.revoke(*some, lost=dice.random() < 0.2).wait(10), "nobody polls"
            assert worker.source.assign(*some).wait(5), "nobody polls"
        if last:
            try:
                worker.until(lambda: self.cluster.committed == self.cluster.ends or self.broken, timeout=15)
            except AssertionError as error:
                raise AssertionError(_words(worker)) from error
            assert (worker.parts.outlet.held, worker.parts.outlet.size) == (0, 0), "a counter leaks"
        assert worker.stop(4.0), "a thread did not end"
        lanes = worker.engine.lanes
        assert (lanes.count, lanes.busy, lanes.blocked, lanes.size) == (0, 0, 0, 0)
        assert worker.engine.end is None, worker.engine.end

    def _check(self) -> None:
        """Hold the end against the beginning: nothing lost, nothing twice where once is promised."""
        for (place, at), kind in self.kinds.items():
            assert self._is_settled(place, at, kind), f"{place}@{at} ({kind}) is lost"
        if self.delivery is Delivery.EXACTLY_ONCE:
            more = {one: n for one, n in self.taken.items() if n > (2 if self.kinds[one] == "two" else 1)}
            assert not more, f"more than once: {more}"
            self._check_order()

    def _check_order(self) -> None:
        last: dict[Any, int] = {}
        for place, at, key in self.order:
            lane = place if self.ordering is Ordering.PARTITION or self.in_batches else (place, key)
            if self.ordering is Ordering.NONE or (key is None and lane != place):
                continue
            assert last.get(lane, -1) < at, f"outputs of {lane} out of order: {at} after {last[lane]}"
            last[lane] = at


def _words(worker: InProcess) -> str:
    """Say where a worker stands that should go on."""
    engine = worker.engine
    lanes, outlet = engine.lanes, worker.parts.outlet
    words = [f"held {outlet.held}, lanes {lanes.count}, busy {lanes.busy}, blocked {lanes.blocked}, {engine.paused}"]
    for owned in list(engine.owned.values()):
        offsets = owned.offsets
        words.append(
            f"{owned.place}: {owned.committed} {offsets.committable()} {offsets.position} {len(owned.filling)}"
        )
    return "stands still: " + "; ".join(words)


def _live(seed: int) -> str:
    life = Life(seed)
    try:
        life.run()
    except AssertionError as error:
        return f"seed {seed} ({life.delivery}, {life.ordering}, batches: {life.in_batches}): {error} {life.broken[:2]}"
    return ""


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS // 4))
def test_p1_p3_any_life_of_a_worker_with_outputs_loses_none_and_in_transactions_repeats_none(
    first: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = Backoff(initial=0.01, factor=1.0, max=0.01, jitter=0.0)
    for what in ("outcomes.SINK_BACKOFF", "transactions.RETRY", "prefixes.LETTER_RETRY"):
        monkeypatch.setattr(f"supervisor.worker.{what}", quick)
    caplog.set_level("CRITICAL")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        problems = [text for text in pool.map(_live, range(first, first + SEEDS // 4)) if text]
    assert not problems, "\n".join(problems)
