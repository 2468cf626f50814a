"""Dead letters in files of JSON lines, as ``dlq_file`` and ``supervisor dlq export`` write them.

A worker may append meanwhile. What is read is what was there at the beginning, whole lines only. A position belongs to
what a file holds, not to its name: rotated files take it along.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from supervisor.core.dlq import Stored
from supervisor.core.letter_lines import letter_of
from supervisor.core.spools import is_letter_file
from supervisor.inspector.letter_source import SourceError
from supervisor.inspector.replay_progress import Progress

LONGEST_LINE = 256 << 20
MOST_BYTES = 16 << 20
"""Of letters that are read at once; the last one may be over it."""
_DROPPED = b'{"dropped":"'
LOCK_PATIENCE = 10.0
"""Seconds that a writer may hold its file; it does so for one line."""


@dataclass(slots=True)
class _File:
    """One file, and how far it is read."""

    path: Path
    place: str
    identity: str
    at: int
    end: int


class FileLetters:
    """A ``Source`` over files, one after the other."""

    def __init__(self, paths: Sequence[Path], progress: Path) -> None:
        self._paths = paths
        self._progress = Progress(progress)
        self._files: dict[str, _File] = {}
        self._left: list[_File] = []
        self._lines: IO[bytes] | None = None
        self.on_unreadable: Callable[[int, bytes], None] = lambda _position, _line: None
        self.total = self.unreadable = 0
        self.resumed = False
        self.other_meaning = ""

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """See ``Source``."""
        if pending and self._progress.load():
            self.resumed = True
            self.other_meaning = self._progress.meaning if self._progress.meaning != meaning else ""
        self._progress.meaning = meaning
        name, _, position = one.rpartition("@")
        for path in self._paths:
            place = path.name if sum(other.name == path.name for other in self._paths) == 1 else str(path)
            file = self._opened(path, place)
            if file is None or (one and place != name):
                continue
            if one and position.isdecimal():
                file.at = int(position)
            self._files[place] = file
            self._left.append(file)
            self.total += _lines_in(file)
        if one and self._left:
            self._left[0].end = min(self._left[0].end, self._left[0].at + 1)

    def read(self, most: int) -> list[Stored]:
        """See ``Source``."""
        found: list[Stored] = []
        size = 0
        try:
            while self._left and len(found) < most and size < MOST_BYTES:
                letter = self._next(self._left[0])
                if letter is not None:
                    found.append(letter)
                    size += letter.after - letter.position
        except OSError as error:
            message = f"{self._left[0].path}: {error.strerror}"
            raise SourceError(message) from error
        return found

    def is_again(self, letter: Stored) -> bool:
        """See ``Source``."""
        return letter.position < self._progress.until.get(self._files[letter.place].identity, -1)

    def intend(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for letter in letters:
            identity = self._files[letter.place].identity
            self._progress.until[identity] = max(letter.after, self._progress.until.get(identity, -1))
        self._save()

    def done(self, letters: Iterable[Stored]) -> None:
        """See ``Source``."""
        for letter in letters:
            self._progress.at[self._files[letter.place].identity] = letter.after
        self._save()

    def forget(self) -> None:
        """See ``Source``."""
        self._progress.until.clear()
        self._progress.at.clear()

    def drop(self, upto: Mapping[str, int]) -> None:
        """See ``Source``; single lines of files can go, too: ``delete``."""
        raise NotImplementedError

    def close(self) -> None:
        """See ``Source``."""
        if self._lines is not None:
            self._lines.close()

    def delete(self, place: str, positions: set[int]) -> int:
        """Overwrite letters where they stand; return how many there were."""
        file = self._files[place]
        try:
            return blank(file.path, positions, identity=file.identity)
        except OSError as error:
            message = f"{file.path}: {error.strerror}"
            raise SourceError(message) from error

    def passed(self, place: str) -> None:
        """Note durably that all that was read of a file is done, also what was no letter."""
        if place in self._files:
            self._progress.at[self._files[place].identity] = self._files[place].at
            self._save()

    def gone(self, place: str) -> None:
        """Forget how far a file was read that is no more."""
        identity = self._files[place].identity
        self._progress.at.pop(identity, None)
        self._progress.until.pop(identity, None)
        self._save()

    def position(self, place: str) -> int:
        """Return up to where a file was read; 0 when it was not there."""
        return self._files[place].at if place in self._files else 0

    def is_same(self, place: str, file: IO[bytes]) -> bool:
        """Tell whether ``file`` is still the one that was read, not another one of its name."""
        file.seek(0)
        return place in self._files and identity_of(file.readline(LONGEST_LINE)) == self._files[place].identity

    def _opened(self, path: Path, place: str) -> _File | None:
        try:
            with path.open("rb") as lines:
                first = lines.readline(LONGEST_LINE)
                identity = identity_of(first)
                # A first line that is still being written says not yet which file it is.
                end = os.fstat(lines.fileno()).st_size if first.endswith(b"\n") else 0
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{path}: {error.strerror}"
            raise SourceError(message) from error
        return _File(path, place, identity, min(end, self._progress.at.get(identity, 0)), end)

    def _next(self, file: _File) -> Stored | None:
        """Return the next letter of a file, ``None`` where there is none; a file that is over is put away."""
        if self._lines is None:
            self._lines = file.path.open("rb")
            self._lines.seek(file.at)
        line = self._lines.readline(LONGEST_LINE) if file.at < file.end else b""
        if not line.endswith(b"\n"):
            self._lines.close()
            self._lines = None
            self._left.pop(0)
            return None
        position, file.at = file.at, file.at + len(line)
        if not line.strip() or line.startswith(_DROPPED):
            return None
        letter = letter_of(line, place=file.place, position=position, after=file.at)
        if letter is None:
            self.unreadable += 1
            self.on_unreadable(position, line)
        return letter

    def _save(self) -> None:
        try:
            self._progress.save()
        except OSError as error:
            message = f"how far it is cannot be written: {error.strerror}"
            raise SourceError(message) from error


def letter_files(folder: Path) -> list[Path]:
    """Return the files of letters in a group's folder, older ones before those they were put aside from."""
    try:
        found = [path for path in folder.iterdir() if is_letter_file(path.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"{folder}: {error.strerror}"
        raise SourceError(message) from error
    return sorted(found, key=_age)


def identity_of(first_line: bytes) -> str:
    """Return what a file is known by, whatever it is called: its first letter has an audit id and a time."""
    if first_line.startswith(_DROPPED):
        return first_line[len(_DROPPED) :][:16].decode(errors="replace")
    return hashlib.sha256(first_line).hexdigest()[:16]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[bytes]]:
    """Hold a file so that no worker writes to it; raises ``SourceError`` when one does for too long.

    Workers lock the file for each line and look whether it is still the one of its name (``dlq_file``).
    """
    deadline = time.monotonic() + LOCK_PATIENCE
    with path.open("r+b") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"{path} is being written for more than {LOCK_PATIENCE:g} s"
                    raise SourceError(message) from error
                time.sleep(0.01)
        yield file


def blank(path: Path, positions: set[int], *, identity: str) -> int:
    """Overwrite the lines at ``positions``, while no worker writes to the file; return how many there were.

    None when the file of that name is another one by now: it was put aside, and a new one begun.
    In their place, so that positions of replays stay true; a file of which nothing is left is deleted.
    """
    with locked(path) as file:
        at, gone, left = 0, 0, 0
        if identity_of(file.readline(LONGEST_LINE)) != identity:
            return 0
        file.seek(0)
        for line in iter(lambda: file.readline(LONGEST_LINE), b""):
            if at in positions and line.endswith(b"\n"):
                mark = _DROPPED + identity_of(line).encode() + b'"}'
                os.pwrite(file.fileno(), mark.ljust(len(line) - 1), at)
                gone += 1
            elif line.strip() and not line.startswith(_DROPPED):
                left += 1
            at += len(line)
        os.fsync(file.fileno())
        if not left:
            path.unlink()
    return gone


def _lines_in(file: _File) -> int:
    """Guess how many letters are left, from the length of the first."""
    with file.path.open("rb") as lines:
        lines.seek(file.at)
        first = len(lines.readline(LONGEST_LINE))
    return 0 if not first or file.at >= file.end else max(1, round((file.end - file.at) / first))


def _age(path: Path) -> tuple[str, float]:
    try:
        return path.name.split(".jsonl")[0].split(".")[0], path.stat().st_mtime
    except FileNotFoundError:
        return path.name, 0.0
