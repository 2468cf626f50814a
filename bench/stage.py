"""What every benchmark stands on: the real broker, a folder, progress on stderr, and how results are put."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import confluent_kafka

from bench.peers.table import table
from tests.broker import real
from tests.broker.real import RealBroker

ROOT = Path(__file__).resolve().parents[1]

Figures = dict[str, object]


class BenchError(Exception):
    """A run did not do what is to be measured; its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A running broker and an empty folder on tmpfs; both end with the benchmark."""

    bootstrap: str
    folder: Path
    quick: bool
    peers: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of child processes.

        They find this package from any working directory, and have compiled modules as an installed package has,
        also where the machine forbids to write them beside the source (a third of a worker's start).
        """
        ours = {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(self.folder / "compiled")}
        return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | ours


@contextmanager
def stage(*, quick: bool, peers: bool = False) -> Iterator[Stage]:
    """Start a broker of our own, from the thread that stays until it ends."""
    lack = real.missing()
    if lack is not None:
        raise BenchError(lack)
    memory = Path("/dev/shm")  # noqa: S108 - as a place for files of our own making
    place = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="kafka-supervisor-bench-", dir=place))
    try:
        progress("broker: starting")
        with RealBroker(real.STEADY) as broker:
            yield Stage(broker.bootstrap, folder, quick, peers)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def progress(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def wait_for(condition: Callable[[], object], otherwise: str, *, timeout: float = 30.0, every: float = 0.02) -> None:
    """Return once ``condition`` is true; raise ``BenchError`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"{otherwise} within {timeout:g} s"
            raise BenchError(message)
        time.sleep(every)


def machine() -> Figures:
    """Describe what the figures were taken on."""
    return {
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "confluent_kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "commit": _commit(),
    }


def report(name: str, figures: Mapping[str, object], *, only_json: bool) -> None:
    """Print the figures, for people first unless told otherwise; the last line is the JSON object."""
    if not only_json:
        width = max(map(len, figures))
        for key, value in figures.items():
            print(f"{key:{width}}  {value if key != 'peers' else ''}".rstrip())
        print(table(figures.get("peers")), end="")
    print(json.dumps({"benchmark": name, **figures, "machine": machine()}), flush=True)


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    found = subprocess.run(
        [git, "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
        timeout=5,
    )
    return found.stdout.strip()
