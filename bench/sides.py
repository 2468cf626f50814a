"""The processes that are compared: a worker as the parent starts one, or a script of this folder; and their topic."""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from bench.peers.runs import PeerRuns
from bench.stage import BenchError, Stage, progress, wait_for
from bench.windows import Shown, Window
from supervisor.config import ConfigError, group_spec, load, worker_spec
from supervisor.core.spec import GroupSpec, Mode
from supervisor.kafka.settings import Settings, consumer_settings
from tests.worker.direct import DirectWorker

CONFIG = "supervisor.toml"
KEYS = 5000
BY_HAND: Settings = {"auto.offset.reset": "earliest", "enable.partition.eof": False, "log_level": 3}
"""What a script's consumer has otherwise than a worker's, which finds its own beginnings."""
VALUE = b"x" * 40
_CONFIG = """
[supervisor]
name = "bench"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.bench]
topics = ["{topic}"]
handler = "bench.handlers:process"
"""


def group(stage: Stage, topic: str, more: str = "") -> GroupSpec:
    """Return a group with all defaults; ``more`` is TOML behind the group's table."""
    file = stage.folder / CONFIG
    file.write_text(_CONFIG.format(bootstrap=stage.bootstrap, topic=topic) + more)
    try:
        return group_spec(load(file), "bench")
    except ConfigError as error:
        message = f"the configuration is refused: {error}"
        raise BenchError(message) from error


def settings(stage: Stage, like: GroupSpec) -> Settings:
    """Return what a script gives its consumer: the settings of the group's worker, quiet and without ends."""
    spec = worker_spec(load(stage.folder / CONFIG), "bench", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=0)
    return consumer_settings(replace(spec, group=like)) | BY_HAND


Side = Callable[[str], AbstractContextManager[Shown]]
"""Starts what is to be measured, under a group name of its own, and ends it."""


def in_turns(
    sides: Mapping[str, Side], rounds: int, measure: Callable[[Shown], Window], peers: PeerRuns | None = None
) -> dict[str, list[Window]]:
    """Measure every side once per round, in an order drawn anew; peers among them."""
    chance = random.Random(1)
    windows: dict[str, list[Window]] = {name: [] for name in sides}
    for number in range(rounds):
        due = [*sides, *(peers.due(number) if peers else ())]
        for name in chance.sample(due, len(due)):
            if peers and name in peers.peers:
                peers.measure(name, number)
                continue
            try:
                with sides[name](f"{name}-{number}") as shown:
                    windows[name].append(measure(shown))
            except BenchError as error:
                message = f"{name}: {error}"
                raise BenchError(message) from error
        texts = [f"{name} {windows[name][-1].per_s:,.0f}" for name in sides]
        progress(f"round {number + 1}/{rounds}: {', '.join(texts)} records/s")
    return windows


def workers(stage: Stage, like: GroupSpec, **changes: Any) -> Side:  # noqa: ANN401 - members of ``GroupSpec``
    """Return the side that is one worker of a group with ``changes``."""

    @contextmanager
    def start(name: str) -> Iterator[Shown]:
        with working(stage, replace(like, name=name, **changes)) as started:
            yield shown(started)

    return start


@contextmanager
def working(
    stage: Stage, like: GroupSpec, slot: int = 0, *, env: Mapping[str, str] | None = None
) -> Iterator[DirectWorker]:
    """Start a real worker process as the parent does, and kill it at the end.

    When it ended by itself, that is the error, with its last words: a refused handler for example.
    """
    folder = stage.folder / like.name
    folder.mkdir(exist_ok=True)
    with DirectWorker(like, folder, slot=slot, env=stage.environment | dict(env or {})) as started:
        try:
            yield started
        except BenchError as error:
            if started.process.poll() is None:
                raise
            message = f"the worker ended with {started.process.returncode}: {_last_words(started)}"
            raise BenchError(message) from error


def refusal(stage: Stage, like: GroupSpec) -> str | None:
    """Return why a worker of this group would end at once, or ``None`` when it gets ready."""
    with working(stage, replace(like, name=f"probe-{like.handler.partition(':')[2]}")) as probe:
        wait_for(lambda: probe.of_type("ready") or probe.process.poll() is not None, "the worker does not get ready")
        return None if probe.of_type("ready") else _last_words(probe)


def shown(started: DirectWorker) -> Shown:
    """Return how a worker is watched."""
    return Shown(started.slot_file, started.spec.group.concurrency, started.process.pid)


@contextmanager
def script(stage: Stage, name: str, *arguments: str) -> Iterator[Shown]:
    """Start a script of this folder, which shows its progress in a file, its last argument; kill it at the end."""
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        file = Path(folder) / "slot"
        command = [sys.executable, "-P", str(Path(__file__).parent / name), *arguments, str(file)]
        process = subprocess.Popen(command, env=stage.environment)
        try:
            yield Shown(file, 1, process.pid)
        finally:
            process.kill()
            process.wait(10)


@contextmanager
def by_hand(stage: Stage, name: str, like: GroupSpec, *arguments: str) -> Iterator[Shown]:
    """Start a script that consumes the group's topic with the settings of the group's worker."""
    with script(stage, name, json.dumps(settings(stage, like)), like.topics[0], *arguments) as started:
        yield started


def fill(bootstrap: str, topic: str, total: int, *, partitions: int, value: bytes = VALUE, keys: int = KEYS) -> None:
    """Write ``total`` records, to the partitions in turn; a key stays on its partition."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "batch.num.messages": 1000,
            "queue.buffering.max.kbytes": 1 << 18,
        }
    )
    write(producer, topic, range(total), partitions=partitions, value=value, keys=keys)
    if producer.flush(30):
        message = "the topic could not be written"
        raise BenchError(message)


def write(
    producer: Producer, topic: str, numbers: Iterable[int], *, partitions: int, value: bytes = VALUE, keys: int = KEYS
) -> None:
    """Hand records to a producer, waiting while its queue is full."""
    for number in numbers:
        while True:
            try:
                producer.produce(topic, value, b"k%06d" % (number % keys), number % partitions)
                break
            except BufferError:
                producer.poll(0.05)


def _last_words(worker: DirectWorker) -> str:
    with suppress(BenchError):
        wait_for(lambda: worker.of_type("bye"), "no goodbye", timeout=1)
    goodbyes = worker.of_type("bye")
    return str(goodbyes[-1]["reason"]) if goodbyes else worker.log_tail()
