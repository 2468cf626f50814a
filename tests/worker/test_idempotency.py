"""Records that were worked before: in engines with a store that is a dict, and on a real broker with real ones."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BreakerOrder, BreakerSpec, IdempotencySpec, PluginSpec
from supervisor.plugin import Claim, DependencyDownError, Letter, Produce, Record
from supervisor.plugin.idempotency import Guard, Store
from supervisor.worker import dependencies
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, lag, produce
from tests.plugins.test_idempotency_stores import opened
from tests.servers.processes import PostgresqlServer, RedisServer
from tests.waiting import wait_until
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec
from tests.worker.fake_source import FakeCluster
from tests.worker.in_process import PLACE, InProcess

QUICK = BreakerSpec(probe=Backoff(initial=0.01, factor=2.0, max=0.03, jitter=0.0))


class Memory:
    """A store in memory. While ``is_down`` names a hook, that one raises."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str, tuple[str | None, float]] = {}
        self.is_down: set[str] = set()
        self.calls: list[tuple[str, list[str]]] = []

    def claim(self, keys: Sequence[str], token: str, lease: float) -> list[Claim]:
        with self.lock:
            self._note("claim", keys)
            return [self._claim(key, token, lease) for key in keys]

    def done(self, keys: Sequence[str], ttl: float) -> None:
        with self.lock:
            self._note("done", keys)
            self.rows |= {key: (None, time.monotonic() + ttl) for key in keys}

    def release(self, keys: Sequence[str], token: str) -> None:
        with self.lock:
            self._note("release", keys)
            self.rows = {key: row for key, row in self.rows.items() if key not in keys or row[0] != token}

    def _note(self, hook: str, keys: Sequence[str]) -> None:
        self.calls.append((hook, list(keys)))
        if hook in self.is_down:
            raise OSError("away")

    def _claim(self, key: str, token: str, lease: float) -> Claim:
        owner, until = self.rows.get(key, ("", 0.0))
        if until > time.monotonic() and owner != token:
            return Claim.DONE if owner is None else Claim.BUSY
        self.rows[key] = (token, time.monotonic() + lease)
        return Claim.MINE


def by_value(record: Record) -> str | None:
    return (record.value or b"").decode() or None


@pytest.fixture
def memory() -> Memory:
    return Memory()


Guarded = Callable[..., Guard]


@pytest.fixture
def guard(memory: Memory) -> Any:
    made = Guard(Store("memory", memory.claim, memory.done, memory.release), by_value, ttl=60, lease=60)
    yield made
    made.close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(dependencies, "LONGEST_LOOK", 0.02)
    cluster = FakeCluster()
    for value in (b"a", b"b", b"a", b"", b"c", b""):
        cluster.add(PLACE, value)
    return cluster


class Seen:
    """Handlers of each kind; ``fails`` are values that fail the first time."""

    def __init__(self, *fails: bytes) -> None:
        self.values: list[bytes] = []
        self.fails = set(fails)

    def process(self, record: Record) -> None:
        value = record.value or b""
        self.values.append(value)
        if value in self.fails:
            self.fails.discard(value)
            raise ValueError("as told")

    async def process_async(self, record: Record) -> None:
        self.process(record)

    def process_batch(self, records: Sequence[Record]) -> list[BaseException | None]:
        return [self._outcome(record) for record in records]

    async def process_batch_async(self, records: Sequence[Record]) -> list[BaseException | None]:
        return [self._outcome(record) for record in records]

    def _outcome(self, record: Record) -> BaseException | None:
        try:
            self.process(record)
        except ValueError as error:
            return error
        return None


KINDS = ("process", "process_async", "process_batch", "process_batch_async")


def keywords(seen: Seen, kind: str) -> dict[str, Any]:
    return {kind.removesuffix("_async"): getattr(seen, kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_worked_once_and_records_without_one_always(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    seen = Seen()

    with InProcess(cluster, **keywords(seen, kind), guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert sorted(seen.values) == [b"", b"", b"a", b"b", b"c"]
    assert guard.duplicates == 1
    assert {key: row[0] for key, row in memory.rows.items()} == {"a": None, "b": None, "c": None}


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_is_released_and_worked_again(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    seen = Seen(b"b")

    with InProcess(cluster, **keywords(seen, kind), guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert seen.values.count(b"b") == 2
    assert ("release", ["b"]) in memory.calls
    assert guard._held == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_down_makes_no_dead_letter_and_its_records_wait(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    seen, letters = Seen(), list[Letter]()
    memory.is_down = {"claim", "done", "release"}

    with InProcess(cluster, **keywords(seen, kind), guard=guard, breaker=QUICK, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(memory.calls) > 10)
        begun = [value for value in seen.values if value]
        memory.is_down = set()
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert begun == []
    assert sorted(seen.values) == [b"", b"", b"a", b"b", b"c"]
    assert letters == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_whose_handler_is_done_is_not_worked_again_because_the_store_is_down(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    seen = Seen()
    memory.is_down = {"done"}

    with InProcess(cluster, **keywords(seen, kind), guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: [hook for hook, _ in memory.calls].count("done") > 10)
        settled = worker.engine.counters.settled
        memory.is_down = set()
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert settled <= 2, "only those without a key"
    assert sorted(seen.values) == [b"", b"", b"a", b"b", b"c"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_that_somebody_else_works_is_waited_for_and_no_attempt_counts(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    seen, letters = Seen(), list[Letter]()
    memory.claim(["b"], "other", 60)

    with InProcess(cluster, **keywords(seen, kind), guard=guard, breaker=QUICK, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: sum("b" in keys for hook, keys in memory.calls if hook == "claim") > 8)
        assert b"b" not in seen.values
        memory.release(["b"], "other")
        worker.until(lambda: worker.engine.counters.settled == 6)
        failed = worker.engine.counters.failed_attempts

    assert seen.values.count(b"b") == 1
    assert (failed, letters) == (0, [])


def test_p10_the_log_says_by_its_class_why_a_store_is_down(
    cluster: FakeCluster, guard: Guard, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    memory.is_down = {"claim"}

    with InProcess(cluster, lambda _: None, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(memory.calls) > 2)
        memory.is_down = set()
        worker.until(lambda: worker.engine.counters.settled == 6)

    fields = [cast("Any", line).fields for line in caplog.records if line.message == "record.failed"]
    assert {(one["error"], one.get("cause")) for one in fields} == {("DependencyDownError", "OSError")}
    assert "away" not in str(fields)


def test_a_key_that_somebody_else_finished_meanwhile_is_a_duplicate(
    cluster: FakeCluster, guard: Guard, memory: Memory
) -> None:
    seen = Seen()
    memory.claim(["b"], "other", 60)

    with InProcess(cluster, seen.process, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: sum("b" in keys for hook, keys in memory.calls if hook == "claim") > 3)
        memory.done(["b"], 60)
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert b"b" not in seen.values
    assert guard.duplicates == 2


def test_a_key_is_done_only_when_what_its_handler_returned_is_confirmed(
    cluster: FakeCluster, guard: Guard, memory: Memory
) -> None:
    def answer(record: Record) -> Produce:
        return Produce("out", value=record.value)

    with InProcess(cluster, answer, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 2)  # the third has the key of the first, and waits
        assert not any(hook == "done" for hook, _ in memory.calls)
        memory.is_down = {"done"}
        worker.outputs.confirm(0)
        worker.until(lambda: any(hook == "done" for hook, _ in memory.calls))
        assert worker.engine.counters.settled == 0, "its offset waits for the store"
        memory.is_down = set()
        worker.until(lambda: worker.engine.counters.settled >= 1)
        worker.until(lambda: len(worker.outputs.sent) == 5)
        for at in range(1, 5):
            worker.outputs.confirm(at)
        worker.until(lambda: worker.engine.counters.settled == 6)

    assert len(worker.outputs.sent) == 5
    assert guard._held == {}


def test_a_key_whose_output_is_refused_is_released(cluster: FakeCluster, guard: Guard, memory: Memory) -> None:
    letters: list[Letter] = []

    def answer(record: Record) -> Produce | None:
        return Produce("out", value=record.value) if record.value == b"b" else None

    with InProcess(cluster, answer, guard=guard, breaker=QUICK, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: len(worker.outputs.sent) == 1)
        worker.outputs.confirm(0, "INVALID_TIMESTAMP")
        worker.until(lambda: worker.engine.counters.settled == 6)
        worker.until(lambda: ("release", ["b"]) in memory.calls)

    assert [letter.value for letter in letters] == [b"b"]


@pytest.mark.parametrize("kind", ["process", "process_async"])
def test_a_handler_that_returns_nonsense_has_its_key_released(
    cluster: FakeCluster, guard: Guard, memory: Memory, kind: str
) -> None:
    letters: list[Letter] = []

    def nonsense(record: Record) -> object:
        return ValueError("returned") if record.value == b"b" else None

    async def nonsense_async(record: Record) -> object:
        return nonsense(record)

    handler = nonsense if kind == "process" else nonsense_async
    with InProcess(cluster, handler, guard=guard, breaker=QUICK, sink=letters.append) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 6)
        worker.until(lambda: ("release", ["b"]) in memory.calls)

    assert [(letter.value, letter.disposition.value) for letter in letters] == [(b"b", "plugin-error")]


def test_a_claim_is_renewed_while_its_handler_works(cluster: FakeCluster, memory: Memory) -> None:
    guard = Guard(Store("memory", memory.claim, memory.done, memory.release), by_value, ttl=60, lease=0.3)
    go_on = threading.Event()

    def slow(record: Record) -> None:
        if record.value == b"b":
            go_on.wait(10)

    with InProcess(cluster, slow, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: memory.calls.count(("claim", ["b"])) >= 5)
        assert memory.claim(["b"], "other", 60) == [Claim.BUSY]
        go_on.set()
        worker.until(lambda: worker.engine.counters.settled == 6)
    guard.close()


def test_a_handler_that_is_cancelled_for_its_time_leaves_no_claim(
    cluster: FakeCluster, guard: Guard, memory: Memory
) -> None:
    import asyncio  # noqa: PLC0415 - only here

    async def slow_once(record: Record) -> None:
        if record.value == b"b" and record.attempt == 1:
            await asyncio.sleep(60)

    with InProcess(cluster, slow_once, guard=guard, breaker=QUICK, handler_timeout=0.3) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 6, 20.0)

    assert ("release", ["b"]) in memory.calls
    assert guard._held == {}


@pytest.mark.parametrize("kind", ["process_async", "process_batch_async"])
def test_what_a_cancelled_handler_returned_all_the_same_keeps_no_claim(
    cluster: FakeCluster, guard: Guard, kind: str
) -> None:
    import asyncio  # noqa: PLC0415 - only here

    async def stubborn(record: Record) -> object:
        if record.value != b"b" or record.attempt > 1:
            return None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Produce("out", value=b"half of it")

    async def stubborn_batch(records: Sequence[Record]) -> list[object]:
        return [await stubborn(record) for record in records]

    handler = {"process": stubborn} if kind == "process_async" else {"process_batch": stubborn_batch}
    changes: dict[str, Any] = {"guard": guard, "breaker": QUICK, "handler_timeout": 0.3}
    with InProcess(cluster, **handler, **changes) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.engine.counters.settled == 6, 20.0)
        assert worker.outputs.sent == []

    assert guard._held == {}


def test_p8_a_store_that_raises_what_is_no_exception_does_not_end_the_thread_that_tells_it(memory: Memory) -> None:
    cluster, tries = FakeCluster(), 0
    cluster.add(PLACE, b"b")

    def done(keys: Sequence[str], ttl: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise SystemExit
        memory.done(keys, ttl)

    def answer(record: Record) -> Produce:
        return Produce("out", value=record.value)

    guard = Guard(Store("memory", memory.claim, done, memory.release), by_value, ttl=60, lease=60)
    with InProcess(cluster, answer, guard=guard, breaker=QUICK) as worker:
        worker.source.assign(PLACE)
        worker.until(lambda: worker.outputs.sent)
        worker.outputs.confirm(0)
        worker.until(lambda: worker.engine.counters.settled == 1)
    guard.close()


def test_p1_who_waits_for_a_key_to_be_done_goes_on_waiting_though_another_turn_could_not_tell_it(
    guard: Guard, memory: Memory, cluster: FakeCluster
) -> None:
    told: list[str] = []
    first, second = guard.turn(), guard.turn()
    record = Record(cast("Any", cluster.records[PLACE][1]))
    guard.begin(first, (record,))
    memory.rows.clear()  # its lease was lost
    guard.begin(second, (record,))
    memory.is_down = {"done"}

    guard.mark_later(first, "b", lambda: told.append("b"))
    wait_until(lambda: ("done", ["b"]) in memory.calls)
    guard.end(second, (None,))
    memory.is_down = set()

    wait_until(lambda: told == ["b"])


@pytest.mark.parametrize("becomes", ["free", "done"])
def test_a_renewal_that_is_late_does_not_claim_again_what_was_given_back(
    memory: Memory, cluster: FakeCluster, becomes: str
) -> None:
    renewing, go_on = threading.Event(), threading.Event()

    def claim(keys: Sequence[str], token: str, lease: float) -> list[Claim]:
        if ("claim", ["b"]) in memory.calls and not go_on.is_set():
            renewing.set()
            go_on.wait(20)
        return memory.claim(keys, token, lease)

    guard = Guard(Store("memory", claim, memory.done, memory.release), by_value, ttl=60, lease=60)
    turn, record = guard.turn(), Record(cast("Any", cluster.records[PLACE][1]))
    guard.begin(turn, (record,))
    renewal = threading.Thread(target=guard._renew, args=(turn,))
    renewal.start()
    renewing.wait(20)

    memory.is_down = {"done"}
    guard.end(turn, (None if becomes == "done" else ValueError(),))
    go_on.set()
    renewal.join(20)
    guard.close()

    owner = memory.rows.get("b", ("nobody", 0.0))[0]
    assert owner == (turn.token if becomes == "done" else "nobody"), (
        "what is to be told done is nobody else's meanwhile"
    )


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_p1_a_server_that_is_restarted_in_the_middle_makes_no_dead_letter_and_nothing_is_worked_twice(
    cluster: FakeCluster, kind: str
) -> None:
    seen, letters = Seen(), list[Letter]()
    at_work, go_on = threading.Event(), threading.Event()

    def process(record: Record) -> None:
        seen.process(record)
        if record.value == b"b":
            at_work.set()
            go_on.wait(60)

    with RedisServer() if kind == "redis" else PostgresqlServer() as server:
        store = opened(kind, {"dsn": server.dsn} if isinstance(server, PostgresqlServer) else {"url": server.url})
        guard = Guard(Store(kind, store.claim, store.done, store.release), by_value, ttl=60, lease=60)
        with InProcess(cluster, process, guard=guard, breaker=QUICK, sink=letters.append) as worker:
            worker.source.assign(PLACE)
            worker.until(at_work.is_set)
            server.stop()
            go_on.set()
            worker.until(lambda: any(frame.get("state") == "down" for frame in worker.link.frames))
            server.start()
            worker.until(lambda: worker.engine.counters.settled == 6, 30)
        guard.close()
        store.worker_stopping()

    assert sorted(seen.values) == [b"", b"", b"a", b"b", b"c"]
    assert letters == []


# --- on a real broker, with the stores that come with it ---------------------------------------------------------


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> PluginSpec:
    """Give a store of this test's own."""
    options: dict[str, Any] = {}
    if request.param == "sqlite":
        options = {"path": str(tmp_path / "keys.sqlite")}
    elif request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        options = {"url": server.url, "prefix": f"{name}:"}
    else:
        database: PostgresqlServer = request.getfixturevalue("postgresql_server")
        options = {"dsn": database.dsn, "table": name[-40:]}
    return PluginSpec(f"idempotency_{request.param}", options)


def test_a_crash_within_a_handler_is_waited_out_by_its_lease_and_the_record_worked_again(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, store: PluginSpec
) -> None:
    create_topic(broker.bootstrap, name)
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        plugins=[store],
        idempotency=IdempotencySpec(store.target, "offset", ttl=600.0, lease=3.0),
    )
    produce(broker.bootstrap, name, ["good", "sleep:30", "good"])
    worker = start(group)
    worker.wait(lambda: (0, 1) in ledger.places("start"))
    first_pid = worker.process.pid
    worker.kill()
    killed_at = time.monotonic()
    (ledger.folder / f"{first_pid}.ledger").rename(ledger.folder / "before")

    again = start(group, incarnation=2)

    again.wait(lambda: (0, 1) in ledger.places("start"))
    begun_at = next(line[6] for line in ledger.of("start") if line[3] == 1)
    assert begun_at - killed_at >= 1.5, "the lease was renewed at most two thirds of its length ago"


def test_records_that_come_again_are_not_worked_again(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, store: PluginSpec
) -> None:
    create_topic(broker.bootstrap, name)
    count = produce(
        broker.bootstrap, name, (b"%d" % number for number in range(200)), headers=[("order-id", b"one-for-all")]
    )
    once = IdempotencySpec(store.target, "offset", ttl=600.0, lease=5.0)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:ok", plugins=[store], idempotency=once)
    first = start(group)
    first.wait(lambda: lag(broker.bootstrap, name, name) == 0)
    first.stop("leave")
    reset(broker, name)

    second = start(group, incarnation=2)
    second.wait(lambda: lag(broker.bootstrap, name, name) == 0)
    second.wait(lambda: second.stats.get("duplicates") == count)

    assert len(ledger.of()) == count
    second.stop("leave")
    reset(broker, name)
    by_header = IdempotencySpec(store.target, "header:order-id", ttl=600.0, lease=5.0)
    third = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok", plugins=[store], idempotency=by_header))
    third.wait(lambda: lag(broker.bootstrap, name, name) == 0)
    assert len(ledger.of()) == count + 1, "all have the same header"


def reset(broker: RealBroker, name: str) -> None:
    """Have the group begin again."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415 - only here

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": name})
    try:
        wait_until(lambda: _commits(consumer, TopicPartition(name, 0, 0)), 20)
    finally:
        consumer.close()
    assert committed(broker.bootstrap, name, name) == {0: 0}


def _commits(consumer: Any, place: Any) -> bool:
    from confluent_kafka import KafkaException  # noqa: PLC0415 - only here

    try:
        consumer.commit(offsets=[place], asynchronous=False)
    except KafkaException:
        return False
    return True


def is_open(name: str = "payments-db") -> BreakerOrder:
    return BreakerOrder(is_open=True, name=name, probes=True)


@pytest.mark.parametrize("kind", ["process", "process_async", "process_batch"])
def test_a_record_that_was_worked_before_is_no_word_from_what_is_down(guard: Guard, memory: Memory, kind: str) -> None:
    cluster, tried = FakeCluster(), list[bytes]()
    values = [b"old %d" % number for number in range(100)]
    for value in (*values, b"new"):
        cluster.add(PLACE, value)
    memory.rows = {value.decode(): (None, time.monotonic() + 60) for value in values}
    is_up = threading.Event()

    def process(record: Record) -> None:
        tried.append(record.value or b"")
        if not is_up.is_set():
            raise DependencyDownError(dependency="payments-db")

    async def process_async(record: Record) -> None:
        process(record)

    def process_batch(records: Sequence[Record]) -> None:
        process(*records)

    hooks: dict[str, Any] = {
        "process": {"process": process},
        "process_async": {"process": process_async},
        "process_batch": {"process_batch": process_batch},
    }
    with InProcess(cluster, guard=guard, breaker=QUICK, **hooks[kind]) as worker:
        worker.parts.outcomes.breaker.obey(is_open())
        worker.source.assign(PLACE)
        worker.until(lambda: len(tried) > 2)
        states = [frame["state"] for frame in worker.link.frames if frame["type"] == "breaker"]
        is_up.set()
        worker.until(lambda: worker.engine.counters.settled == 101)

    assert set(states) == {"down"}
    assert set(tried) == {b"new"}
    assert worker.link.frames[-1]["type"] != "breaker" or worker.link.frames[-1]["state"] == "up"


def test_a_record_that_was_worked_before_says_that_the_store_itself_is_back(guard: Guard, memory: Memory) -> None:
    cluster = FakeCluster()
    cluster.add(PLACE, b"old")
    memory.rows = {"old": (None, time.monotonic() + 60)}

    with InProcess(cluster, lambda _: None, guard=guard, breaker=QUICK) as worker:
        worker.parts.outcomes.breaker.obey(is_open("memory"))
        worker.source.assign(PLACE)
        worker.until(lambda: any(frame.get("state") == "up" for frame in worker.link.frames))
