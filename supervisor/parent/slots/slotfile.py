"""The parent's view of a slot file: make it, read its board, ask who holds its lock."""

import fcntl
import os
import struct
import sys
from pathlib import Path

from supervisor.core.board import Board, read_board, size

# struct flock: Linux (64 bit) has type and whence first, the BSDs and macOS last.
_LINUX = sys.platform.startswith("linux")
_FLOCK = "hhqqi4x" if _LINUX else "qqihh"
UNKNOWN_HOLDER = 0


class SlotFile:
    """One slot's file, held open as long as the slot exists.

    POSIX record locks belong to a process and an inode: this process never takes the slot's lock, so opening
    and closing the file here drops nobody's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = _open(path)

    def fit(self, cells: int) -> None:
        """Give the file its size. Only while nobody holds the lock: a mapped file that shrinks kills its owner.

        A file that somebody deleted is made anew: the next worker locks and maps what is at the path, and its board
        would be read from a file without a name. Raises ``OSError`` when the file system is full.
        """
        if not is_at(self._fd, self.path):
            new = _open(self.path)
            os.close(self._fd)
            self._fd = new
        wanted = size(cells)
        if os.fstat(self._fd).st_size != wanted:
            os.ftruncate(self._fd, wanted)
            if hasattr(os, "posix_fallocate"):  # else a full tmpfs would kill the worker at its first store
                os.posix_fallocate(self._fd, 0, wanted)

    def board(self) -> Board | None:
        """Return what the slot's last or present worker wrote, ``None`` before the first."""
        return read_board(os.pread(self._fd, os.fstat(self._fd).st_size, 0))

    def holder(self) -> int | None:
        """Return the pid that holds the slot's lock, ``None`` when it is free (``F_GETLK``, fcntl(2)).

        ``UNKNOWN_HOLDER`` when the holder has no pid here (another pid namespace).
        """
        return lock_holder(self._fd)

    def close(self) -> None:
        """Close the file; it stays where it is for the next parent."""
        os.close(self._fd)


def is_at(fd: int, path: Path) -> bool:
    """Tell whether ``path`` still names the file of ``fd``: cleaners of /dev/shm and /tmp delete files in use."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def lock_holder(fd: int) -> int | None:
    """Return the pid that holds a write lock on byte 0 of ``fd``, ``None`` when nobody does."""
    if _LINUX:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    else:
        asked = struct.pack(_FLOCK, 0, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
    answer = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    kind, pid = (answer[0], answer[4]) if _LINUX else (answer[3], answer[2])
    if kind == fcntl.F_UNLCK:
        return None
    return pid if pid > 0 else UNKNOWN_HOLDER
