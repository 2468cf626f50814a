"""The handlers of the whole-supervisor tests, copied beside each test's config; what they do is in a ledger.

A ledger is one file per process in the folder ``LEDGER``. A line is written with one ``write``: after SIGKILL it
is there or it is not.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from supervisor.plugin import DependencyDownError, Record, WorkerContext

BEAT = struct.Struct("<HHIqd")
"""0 for a start and 1 for an end, partition, key, offset, monotonic time."""
FOLDER = Path(os.environ.get("LEDGER", "."))


class InvalidError(Exception):
    """Never to be tried again."""


class Noting:
    """Notes ``start`` and ``done`` of every record and does between them what the record's value says."""

    def open(self, context: WorkerContext) -> None:
        self._who = [context.supervisor, context.slot, context.incarnation, os.getpid()]
        name = f"{context.supervisor}.{context.slot}.{os.getpid()}.ledger"
        self._file = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _work(self, record: Record) -> None:
        self._note("start", record)
        value = (record.value or b"").decode(errors="replace")
        if value.startswith("extend:"):
            record.extend(10 * float(value.removeprefix("extend:")))
        do(value.replace("extend:", "sleep:"))
        self._note("done", record)

    def _note(self, word: str, record: Record) -> None:
        key = (record.key or b"").decode()
        where = [record.topic, record.partition, record.offset, key, record.attempt]
        os.write(self._file, (json.dumps([word, *where, time.monotonic(), *self._who]) + "\n").encode())


class Work(Noting):
    """One record at a time."""

    def process(self, record: Record) -> None:
        self._work(record)


class Async(Noting):
    """Many at a time, on one event loop."""

    async def process(self, record: Record) -> None:
        self._note("start", record)
        await asyncio.sleep(0.005)
        do((record.value or b"").decode())
        await asyncio.sleep(0.005)
        self._note("done", record)


class Batch(Noting):
    """The same, a batch at a time."""

    def process_batch(self, records: Sequence[Record]) -> None:
        for record in records:
            self._work(record)


class Tally:
    """Notes start and end of each record in ``BEAT``'s 24 bytes; the value says how many microseconds are between."""

    def open(self, context: WorkerContext) -> None:
        name = f"{context.supervisor}.{context.slot}.{os.getpid()}.tally"
        self._file = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def process(self, record: Record) -> None:
        place = record.partition, int(record.key or b"0"), record.offset
        os.write(self._file, BEAT.pack(0, *place, time.monotonic()))
        time.sleep(int(record.value or b"0") / 1e6)
        os.write(self._file, BEAT.pack(1, *place, time.monotonic()))


class Deaf(Work):
    """Takes no SIGTERM: the worker's own handler for it is gone."""

    def open(self, context: WorkerContext) -> None:
        super().open(context)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fall() -> None:
    """Die of SIGSEGV, here."""
    ctypes.string_at(0)


def burn(fuse: Path) -> None:
    """Wait until somebody lays the fuse, and end the process with it."""
    while not fuse.exists():
        time.sleep(0.01)
    fuse.unlink()
    os._exit(3)


def malloc(size: int) -> int | None:
    """Return the address of new memory, ``None`` where there is none."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    address: int | None = libc.malloc(size)
    return address


def do(value: str) -> None:
    """Do what a record asks for; what is not known is simply good."""
    verb, _, argument = value.partition(":")
    match verb:
        case "raise" | "invalid" | "needs" | "until":
            fail(verb, argument)
        case "sleep":
            time.sleep(float(argument))
        case "gate":
            while not (FOLDER / argument).exists():
                time.sleep(0.01)
        case "gil":
            ctypes.PyDLL(None).sleep(int(argument))  # a PyDLL call keeps the interpreter lock
        case "ignore":
            until = time.monotonic() + float(argument)
            while time.monotonic() < until:
                with contextlib.suppress(BaseException):  # the worst handler there is
                    time.sleep(1.0)
        case _:
            speak(verb, argument)


def fail(verb: str, argument: str) -> None:
    """Fail; ``needs`` and ``until`` only while a file is not there."""
    match verb:
        case "raise":
            raise ValueError("as told")
        case "invalid":
            raise InvalidError("as told")
        case "until" if (FOLDER / argument).exists():
            pass
        case "until":
            raise InvalidError("not yet")
        case _:
            time.sleep(0.004)
            if not (FOLDER / argument).exists():
                raise OSError from DependencyDownError(dependency=argument)


def speak(verb: str, argument: str) -> None:
    """Say something, perhaps for the last time."""
    match verb:
        case "print":
            print(argument)
        case "native":
            os.write(2, f"{argument}\n".encode())
        case "exit":
            os._exit(int(argument))
        case "fuse":
            burn(FOLDER / argument)
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does for want of memory
        case "hog":
            lock = ctypes.create_string_buffer(64)
            for _ in range(2):  # the second waits for ever, with the interpreter lock, and no signal interrupts it
                ctypes.PyDLL(None).pthread_mutex_lock(lock)
        case "memory":
            ctypes.memset(malloc(1 << 40) or 0, 1, 4096)  # as libraries do that never look at what malloc says
        case "segfault":
            logging.getLogger("shop").warning("shop.last_words")
            fall()
        case _:
            pass
