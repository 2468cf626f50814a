"""What sources of letters on this host have in common: names of places, and how far a replay is, noted in a file."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from supervisor.core.dlq import Stored, letter_named
from supervisor.inspector.letter_source import SourceError
from supervisor.inspector.replay_progress import Progress


class NotedLetters(ABC):
    """The halves of a ``Source`` that do not depend on how letters are kept."""

    def __init__(self, paths: Sequence[Path], progress: Path) -> None:
        self._paths = paths
        self._progress = Progress(progress)
        self.total = self.unreadable = 0
        self.resumed = False
        self.other_meaning = ""

    def is_again(self, letter: Stored) -> bool:
        """See ``Source``."""
        key, mark = self._mark(letter)
        return mark <= self._progress.until.get(key, -1)

    def intend(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for key, mark in map(self._mark, letters):
            self._progress.until[key] = max(mark, self._progress.until.get(key, -1))
        self._save()

    def done(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for key, mark in map(self._mark, letters):
            self._progress.at[key] = mark
            if mark >= self._progress.until.get(key, -1):
                self._progress.until.pop(key, None)
        self._save()

    def forget(self) -> None:
        """See ``Source``."""
        self._progress.until.clear()
        self._progress.at.clear()

    @abstractmethod
    def _mark(self, letter: Stored) -> tuple[str, int]:
        """Return what a letter's place is known by in notes, and what is noted there once the letter is passed."""

    def _resume(self, *, pending: bool, meaning: str) -> None:
        """Take up what was noted, where ``pending`` letters are meant."""
        if pending and self._progress.load():
            self.resumed = True
            self.other_meaning = self._progress.meaning if self._progress.meaning != meaning else ""
        self._progress.meaning = meaning

    def _places(self, one: str) -> Iterator[tuple[str, Path, int | None]]:
        """Yield each file with what it is called here; with ``one`` only that letter's, and its position."""
        wanted = letter_named(one)
        for path in self._paths:
            place = path.name if sum(other.name == path.name for other in self._paths) == 1 else str(path)
            if wanted is None:
                yield place, path, None
            elif place == wanted[0]:
                yield place, path, wanted[1]

    def _save(self) -> None:
        try:
            self._progress.save()
        except OSError as error:
            message = f"how far it is cannot be written: {error.strerror}"
            raise SourceError(message) from error
