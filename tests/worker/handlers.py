"""Handlers that the worker tests name; they tell what they did in files of the folder ``LEDGER``."""

import asyncio
import errno
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from supervisor.plugin import DependencyDownError, Letter, Produce, Record, WorkerContext, hookimpl

_FOLDER = Path(os.environ.get("LEDGER", "."))
_FILE = (
    os.open(_FOLDER / f"{os.getpid()}.ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND) if "LEDGER" in os.environ else -1
)


def note(record: Record, word: str = "done") -> None:
    """Append one line with a single write: it survives SIGKILL."""
    line = [
        word,
        record.topic,
        record.partition,
        record.offset,
        (record.key or b"").decode(),
        record.attempt,
        time.monotonic(),
    ]
    os.write(_FILE, (json.dumps(line) + "\n").encode())


def read_ledger(folder: Path) -> list[list[object]]:
    """Return all lines of all processes, oldest first; a half line at a file's end is a killed writer's."""
    lines = []
    for file in folder.glob("*.ledger"):
        for line in file.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
    return sorted(lines, key=lambda line: line[6])


def ok(record: Record) -> None:
    note(record)


def nothing(record: Record) -> None:
    pass


def orders(record: Record[dict[str, Any]]) -> None:
    """Note the id of a decoded order as the word."""
    note(record, str(record.data["id"]))


async def orders_async(record: Record[dict[str, Any]]) -> None:
    """Do the same on an event loop."""
    note(record, str(record.data["id"]))


def by_value(record: Record) -> object:
    """Do what the value says: ``raise``, ``raise-once``, ``exit``, ``return``, ``sleep:S`` ...; the rest is good."""
    word = (record.value or b"").decode(errors="replace")
    note(record, "start")
    if word == "raise" or (word == "raise-once" and record.attempt == 1):
        raise ValueError("as told")
    if word == "down":
        raise DependencyDownError(dependency="payments-db")
    if word == "exit":
        sys.exit(3)
    if word == "interrupt":
        raise KeyboardInterrupt
    if word == "return":
        return {"a": "value"}
    if word == "undecodable":
        b"\xff".decode()
    if word == "die":
        os._exit(9)
    if word.startswith("sleep:"):
        time.sleep(float(word[6:]))
    note(record)
    return None


def ok_or_raise(record: Record) -> None:
    """Fail where told; note nothing."""
    if record.value == b"raise":
        raise ValueError("as told")


class Silent:
    """A sink that never says whether it took a letter."""

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> "Future[None]":
        return Future()


class Full:
    """A sink on a disk that is full."""

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class Batches:
    """A batch handler that gives each record the outcome its value asks for."""

    @hookimpl
    def process_batch(self, records: Sequence[Record]) -> list[BaseException | None]:
        os.write(_FILE, (json.dumps(["batch", "", 0, 0, str(len(records)), 0, time.monotonic()]) + "\n").encode())
        outcomes: list[BaseException | None] = []
        for record in records:
            bad = record.value == b"raise" or (record.value == b"raise-once" and record.attempt == 1)
            outcomes.append(ValueError("as told") if bad else None)
            if not bad:
                note(record)
        return outcomes


def raise_on_large(record: Record) -> None:
    """Fail with a message that is long itself."""
    raise ValueError("x" * 900)


def fail_with_headers(record: Record) -> None:
    """Fail with the names of the headers where the value says so."""
    names = [name for name, _ in record.headers]
    if record.value == b"raise":
        raise ValueError(names)


def forward(record: Record) -> object:
    """Have one record produced per record, on the partition of the same number; the value says what else is done."""
    word = (record.value or b"").decode()
    if word == "flaky" and random.random() < 0.3:
        raise ValueError("as told")
    if word.startswith("raise"):
        raise ValueError("as told")
    if word == "slow-retry" and record.attempt == 1:
        raise ValueError("as told")
    if word == "huge":
        return Produce(f"{record.topic}.out", value=os.urandom(300_000))
    if word == "astray":
        return Produce("no topic has this name")
    if word == "nothing":
        return []
    if word == "nonsense":
        return [Produce(f"{record.topic}.out"), "not a record"]
    name = f"{record.partition}@{record.offset}"
    return Produce(f"{record.topic}.out", record.key, name, [("word", word.encode())], record.partition)


def forward_batch(records: Sequence[Record]) -> list[object]:
    """Do the same for a batch; failures are outcomes."""
    outcomes: list[object] = []
    for record in records:
        try:
            outcomes.append(forward(record))
        except ValueError as error:
            outcomes.append(error)
    return outcomes


class BatchForward:
    """``forward_batch`` as a plugin."""

    @hookimpl
    def process_batch(self, records: Sequence[Record]) -> list[Any]:
        return forward_batch(records)


class Waiting:
    """An async handler that sleeps as its value says, and notes when it is not on the loop it was opened on."""

    async def open(self, context: WorkerContext) -> None:
        self.loop = asyncio.get_running_loop()
        self.state_dir = context.state_dir
        await asyncio.sleep(0)

    async def process(self, record: Record) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("another loop")
        note(record, "start")
        await asyncio.sleep(float(record.value or 0))
        note(record)

    async def close(self) -> None:
        await asyncio.sleep(0)
        word = "closed" if asyncio.get_running_loop() is self.loop else "closed on another loop"
        os.write(_FILE, (json.dumps([word, "", 0, 0, "", 0, time.monotonic()]) + "\n").encode())


class CannotOpen:
    async def open(self) -> None:
        raise SystemExit("no route")

    async def process(self, record: Record) -> None: ...


class Leaving:
    """An async handler that leaves threads and tasks behind when its worker stops."""

    async def process(self, record: Record) -> None:
        self.task = asyncio.create_task(asyncio.to_thread(time.sleep, 30))
        note(record)

    async def close(self) -> None:
        await asyncio.sleep(30)
