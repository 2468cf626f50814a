"""What the worker tests share: a folder whose ledger the handlers write, and workers that end with the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.spec import GroupSpec
from tests.worker.direct import DirectWorker
from tests.worker.handlers import read_ledger

Start = Callable[..., DirectWorker]


class Ledger:
    """What handlers noted: (word, topic, partition, offset, key, attempt, time) in the order it happened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, word: str = "done") -> list[list[Any]]:
        """Return the entries of one word."""
        return [line for line in read_ledger(self.folder) if line[0] == word]

    def places(self, word: str = "done") -> set[tuple[int, int]]:
        """Return the (partition, offset) pairs of a word."""
        return {(line[2], line[3]) for line in self.of(word)}

    def offsets(self, partition: int, word: str = "done") -> list[int]:
        """Return a partition's offsets in the order they happened."""
        return [line[3] for line in self.of(word) if line[2] == partition]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Give the folder the handlers of this test write to."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    return Ledger(folder)


@pytest.fixture
def start(tmp_path: Path, ledger: Ledger) -> Iterator[Start]:
    """Start workers: ``start(group, slot=0, host="a", ...)``; hosts have slot files of their own."""
    with ExitStack() as stack:

        def starter(group: GroupSpec, *, host: str = "a", **options: Any) -> DirectWorker:
            folder = tmp_path / host
            folder.mkdir(exist_ok=True)
            worker = DirectWorker(group, folder, env={"LEDGER": str(ledger.folder)}, **options)
            return stack.enter_context(worker)

        yield starter
