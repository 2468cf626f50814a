"""The handlers of the benchmarks; they run in workers, named by the benchmarks' configuration."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from supervisor.plugin import Produce, Record, WorkerContext

SLEEP = 0.005
SLEEP_LONG = 0.3
FAILING = 42
LEDGER = "BENCH_LEDGER"
"""The variable that names the folder of ``Noted``, or the file of ``Delayed``."""
OUTPUT = "BENCH_OUTPUT"
"""The variable that names the topic of ``Produces``."""
SECONDS = "BENCH_SECONDS"
"""The variable that says how long ``Sleeps`` waits."""


class Noted:
    """Note each record with the monotonic time, in a file of this incarnation; one write each survives SIGKILL."""

    def open(self, context: WorkerContext) -> None:
        """Open ``SLOT-INCARNATION-PID``."""
        name = f"{context.slot}-{context.incarnation}-{os.getpid()}"
        self._file = open_ledger(Path(os.environ[LEDGER]) / name)

    def process(self, record: Record) -> None:
        """Write one line."""
        os.write(self._file, f"record {record.partition} {time.monotonic()}\n".encode())


class Delayed:
    """Note how long each record was on its way, for ``latency``."""

    def open(self, _context: WorkerContext) -> None:
        """Open the ledger."""
        self._file = open_ledger(Path(os.environ[LEDGER]))

    def process(self, record: Record) -> None:
        """Write one line."""
        note_delay(self._file, record.value or b"")


def open_ledger(path: Path) -> int:
    """Open a file to which each note is one write."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note_delay(file: int, value: bytes) -> None:
    """Note when (monotonic nanoseconds) a record was given to its producer, which is its value, and its delay."""
    now = time.monotonic_ns()
    os.write(file, b"%b %d\n" % (value, now - int(value)))


def process(record: Record) -> None:
    """Do nothing."""


def process_batch(records: Sequence[Record]) -> None:
    """Do nothing."""


class Produces:
    """Return one output per record, for ``exactly_once``."""

    def open(self, _context: WorkerContext) -> None:
        """Look up the topic."""
        self._topic = os.environ[OUTPUT]

    def process(self, record: Record) -> Produce:
        """Copy the record."""
        return Produce(self._topic, record.key, record.value)


class Sleeps:
    """Wait as many milliseconds as there are records in flight, so that their number does not change the rate."""

    def open(self, _context: WorkerContext) -> None:
        """Look up the time."""
        self._seconds = float(os.environ[SECONDS])

    def process(self, _record: Record) -> None:
        """Wait."""
        time.sleep(self._seconds)


class SleepsAsync(Sleeps):
    """The same on the event loop."""

    async def process(self, _record: Record) -> None:  # type: ignore[override]
        """Wait."""
        await asyncio.sleep(self._seconds)


def sleep(_record: object) -> None:
    """Wait as for a quick database."""
    time.sleep(SLEEP)


def sleep_long(_record: object) -> None:
    """Wait as for somebody else's service."""
    time.sleep(SLEEP_LONG)


def stick(_record: object) -> None:
    """Do not come back."""
    time.sleep(3600)


def stick_at_first(record: Record) -> None:
    """Do not come back from partition 0."""
    if record.partition == 0:
        time.sleep(3600)


async def sleep_async(_record: object) -> None:
    """Wait as for a quick database, on the event loop."""
    await asyncio.sleep(SLEEP)


class OnceInAWhileError(Exception):
    """What ``some_fail`` raises."""


def some_fail(record: Record) -> None:
    """Fail at the first attempt of one record in a hundred."""
    if record.offset % 100 == FAILING and record.attempt == 1:
        raise OnceInAWhileError


def all_well(record: Record) -> None:
    """Ask the same, and never fail."""
    if record.offset % 100 == FAILING and record.attempt == 0:
        raise OnceInAWhileError


def sleep_some_fail(record: Record) -> None:
    """Wait, then fail as ``some_fail``."""
    time.sleep(SLEEP)
    some_fail(record)


def sleep_all_well(record: Record) -> None:
    """Wait, and never fail."""
    time.sleep(SLEEP)
    all_well(record)
