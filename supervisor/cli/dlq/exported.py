"""Where exported letters go: a new file or standard output, whole lines or none of a line."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from supervisor.cli.errors import CommandError


class Lines:
    """Lines that are written one by one, and counted."""

    def __init__(self, file: int, name: str) -> None:
        self._file = file
        self._name = name
        self.count = 0

    def write(self, line: str) -> None:
        """Write a line; raises ``CommandError`` when there is no room, ``BrokenPipeError`` when nobody reads on."""
        data = memoryview(f"{line}\n".encode())
        left = data
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            self._take_back(len(data) - len(left))
            raise self._failed(error) from error
        self.count += 1

    def sync(self) -> None:
        """Have the disk hold what is written; raises ``CommandError``."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _take_back(self, part: int) -> None:
        if part:
            with suppress(OSError):  # a pipe, a terminal: what went there is gone
                os.ftruncate(self._file, os.lseek(self._file, 0, os.SEEK_CUR) - part)

    def _failed(self, error: OSError) -> CommandError:
        return CommandError(f"{self._name}: {error.strerror}")


@contextmanager
def lines_to(path: Path | None) -> Iterator[Lines]:
    """Yield lines to a new file, which only its owner may read, or to standard output.

    What fails within is told with how much is written. A file that got nothing is not left behind; one that is
    complete is on the disk.
    """
    if path is None:
        sys.stdout.flush()
        lines = Lines(os.dup(1), "standard output")
    else:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"{path}: {error.strerror}"
            raise CommandError(message) from error
        lines = Lines(file, str(path))
    try:
        yield lines
        if path is not None:
            lines.sync()
    except BaseException as error:
        if path is not None and not lines.count:
            path.unlink(missing_ok=True)
        if isinstance(error, CommandError) and lines.count:
            message = f"{error.message}\n{_so_far(lines.count, path)}"
            raise CommandError(message) from error
        raise
    finally:
        lines.close()


def _so_far(count: int, path: Path | None) -> str:
    if path is None:
        return f"{count} letters were written: not all"
    return (
        f"{path} holds {count} letters: not all, but each of them whole\n"
        "  help: --file takes it as it is; for all of them delete it and export anew"
    )
