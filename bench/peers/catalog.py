"""The peers, how each is set up, and what its commits are worth: a fast one that loses records is another thing."""

from dataclasses import dataclass
from pathlib import Path

from bench.peers.environments import Environment, environment

HERE = Path(__file__).parent

_AT_LEAST_ONCE = "at least once"
_AFTER = "committed each second, after the work"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to use one framework. ``records`` is what it is given at most, so that slow ones end too."""

    name: str
    distribution: str
    program: Path
    environment: Environment
    how: str
    guarantee: str
    records: int
    variant: str = ""
    sleep: float = 0.0
    concurrency: int = 1

    @property
    def version(self) -> str:
        """The version its requirements pin."""
        return self.environment.version(self.distribution)


_AIOKAFKA = environment("aiokafka")
_ARROYO = environment("arroyo")
_FASTSTREAM = environment("faststream")
_QUIXSTREAMS = environment("quixstreams")
_PYRALLEL = environment("pyrallel", python=(3, 12))

THROUGHPUT = (
    Peer(
        "aiokafka",
        "aiokafka",
        HERE / "aiokafka_consumer.py",
        _AIOKAFKA,
        "by hand: getmany(500)",
        f"{_AT_LEAST_ONCE}, order by partition, {_AFTER}",
        records=2_000_000,
    ),
    Peer(
        "quixstreams",
        "quixstreams",
        HERE / "quixstreams_consumer.py",
        _QUIXSTREAMS,
        "dataframe.update",
        f"{_AT_LEAST_ONCE}, order by partition, {_AFTER}",
        records=150_000,
    ),
    Peer(
        "arroyo",
        "sentry-arroyo",
        HERE / "arroyo_consumer.py",
        _ARROYO,
        "RunTask",
        f"{_AT_LEAST_ONCE}, order by partition, {_AFTER}",
        records=150_000,
    ),
    Peer(
        "faststream-batch",
        "faststream",
        HERE / "faststream_consumer.py",
        _FASTSTREAM,
        "batch=True, max_records=500, its default ACK_FIRST",
        "at most once: offsets stored when fetched, a crash loses up to a batch",
        records=150_000,
        variant="batch",
    ),
    Peer(
        "faststream",
        "faststream",
        HERE / "faststream_consumer.py",
        _FASTSTREAM,
        "one by one, its default ACK_FIRST",
        "at most once: offsets stored when fetched, a crash loses the record at work",
        records=10_000,
    ),
    Peer(
        "faststream-ack",
        "faststream",
        HERE / "faststream_consumer.py",
        _FASTSTREAM,
        "one by one, AckPolicy.ACK",
        f"{_AT_LEAST_ONCE}, order by partition, a commit per record",
        records=6_000,
        variant="ack",
    ),
    Peer(
        "pyrallel",
        "pyrallel-consumer",
        HERE / "pyrallel_consumer.py",
        _PYRALLEL,
        "asyncio engine, key_hash, 1,000 in flight",
        f"{_AT_LEAST_ONCE}, order by key, commits waited for in the loop",
        records=40_000,
    ),
)

_SLEEP = 0.005
_CONCURRENCY = 32

IO = (
    Peer(
        "aiokafka",
        "aiokafka",
        HERE / "aiokafka_consumer.py",
        _AIOKAFKA,
        "by hand: getmany(500), 32 tasks at once per chunk",
        f"{_AT_LEAST_ONCE}, no order, {_AFTER}",
        records=8_000,
        sleep=_SLEEP,
        concurrency=_CONCURRENCY,
    ),
    Peer(
        "arroyo",
        "sentry-arroyo",
        HERE / "arroyo_consumer.py",
        _ARROYO,
        "RunTaskInThreads(32), 1,000 pending",
        f"{_AT_LEAST_ONCE}, no order in the handlers, {_AFTER}",
        records=8_000,
        sleep=_SLEEP,
        concurrency=_CONCURRENCY,
    ),
    Peer(
        "pyrallel",
        "pyrallel-consumer",
        HERE / "pyrallel_consumer.py",
        _PYRALLEL,
        "asyncio engine, key_hash, max_in_flight=32",
        f"{_AT_LEAST_ONCE}, order by key, commits waited for in the loop",
        records=4_000,
        variant="limited",
        sleep=_SLEEP,
        concurrency=_CONCURRENCY,
    ),
    Peer(
        "pyrallel-1000",
        "pyrallel-consumer",
        HERE / "pyrallel_consumer.py",
        _PYRALLEL,
        "the same with its default of 1,000 in flight, so not 32",
        f"{_AT_LEAST_ONCE}, order by key, commits waited for in the loop",
        records=10_000,
        sleep=_SLEEP,
        concurrency=1000,
    ),
    Peer(
        "faststream",
        "faststream",
        HERE / "faststream_consumer.py",
        _FASTSTREAM,
        "max_workers=32, async handler",
        "at most once, no order: offsets stored when fetched, a crash loses what is at work",
        records=6_000,
        variant="workers",
        sleep=_SLEEP,
        concurrency=_CONCURRENCY,
    ),
    Peer(
        "quixstreams",
        "quixstreams",
        HERE / "quixstreams_consumer.py",
        _QUIXSTREAMS,
        "one by one: it has no concurrency within a process",
        f"{_AT_LEAST_ONCE}, order by partition, {_AFTER}",
        records=300,
        sleep=_SLEEP,
    ),
)
