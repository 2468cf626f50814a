"""Dead letters in files of JSON lines, as ``dlq_file`` and ``supervisor dlq export`` write them.

A worker may append meanwhile. What is read is what was there at the beginning, whole lines only. A position belongs to
what a file holds, not to its name: rotated files take it along.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from supervisor.core.dlq import Stored
from supervisor.core.letter_lines import letter_of
from supervisor.core.spools import is_letter_file
from supervisor.inspector.letter_source import MOST_BYTES, SourceError
from supervisor.inspector.noted_letters import NotedLetters

LONGEST_LINE = 256 << 20
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


class FileLetters(NotedLetters):
    """A ``SingleSource`` over files, one after the other."""

    def __init__(self, paths: Sequence[Path], progress: Path) -> None:
        super().__init__(paths, progress)
        self._files: dict[str, _File] = {}
        self._left: list[_File] = []
        self._lines: IO[bytes] | None = None
        self.on_unreadable: Callable[[int, bytes], None] = lambda _position, _line: None

    def open(self, *, pending: bool, meaning: str, one: str = "") -> None:
        """See ``Source``."""
        self._resume(pending=pending, meaning=meaning)
        for place, path, position in self._places(one):
            file = self._opened(path, place)
            if file is None:
                continue
            if position is not None:
                file.at, file.end = position, min(file.end, position + 1)
            self._files[place] = file
            self._left.append(file)

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

    def close(self) -> None:
        """See ``Source``."""
        if self._lines is not None:
            self._lines.close()

    def delete(self, place: str, positions: set[int]) -> int:
        """See ``SingleSource``: letters are overwritten where they stand."""
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

    def _mark(self, letter: Stored) -> tuple[str, int]:
        return self._files[letter.place].identity, letter.after

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
        at = min(end, self._progress.at.get(identity, 0))
        self.total += 0 if at >= end else max(1, round((end - at) / len(first)))  # a guess, from the first line
        return _File(path, place, identity, at, end)

    def _next(self, file: _File) -> Stored | None:
        """Return the next letter of a file, ``None`` where there is none; a file that is over is put away."""
        if self._lines is None and file.at < file.end:
            self._lines = _found(file)
        line = self._lines.readline(LONGEST_LINE) if self._lines is not None and file.at < file.end else b""
        if not line.endswith(b"\n"):
            self.close()
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


def _found(file: _File) -> IO[bytes] | None:
    """Open a file where it is by now, ``None`` when it is gone: a worker may have put it aside since."""
    for path in (file.path, *letter_files(file.path.parent)):
        try:
            lines = path.open("rb")
        except FileNotFoundError:
            continue
        if identity_of(lines.readline(LONGEST_LINE)) == file.identity:
            lines.seek(file.at)
            return lines
        lines.close()
    return None


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


def _age(path: Path) -> tuple[str, float]:
    try:
        return path.name.split(".jsonl")[0].split(".")[0], path.stat().st_mtime
    except FileNotFoundError:
        return path.name, 0.0
