"""The worker's hold on its slot file: the lock that makes it the only process of its slot (P4), and the board."""

import fcntl
import mmap
import os
import time
from pathlib import Path

from supervisor.core.board import Board, BoardWriter, read_board, size

LOCK_PATIENCE = 1.0
LOCK_POLL = 0.02


class SlotTakenError(Exception):
    """Another process holds the slot's lock."""


def take_slot(path: Path, *, cells: int, incarnation: int) -> tuple[BoardWriter, Board | None]:
    """Lock the slot file; return its board, and what the last process of the slot had left on it.

    Raises ``SlotTakenError`` when it is held beyond a second.

    A POSIX record lock (fcntl(2)), not flock(2), which a handler's forked child would keep. It falls when
    *any* descriptor of the file is closed by this process: it is opened here, once, and kept until the end
    (the mapping's duplicate included).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
            break
        except OSError as error:
            if time.monotonic() >= deadline:
                message = f"{path} is locked by another process"
                raise SlotTakenError(message) from error
            time.sleep(LOCK_POLL)
    length = size(cells)
    _reserve(descriptor, length)
    memory = mmap.mmap(descriptor, length)
    before = read_board(memory)
    now = time.monotonic_ns()
    return BoardWriter(memory, cells=cells, pid=os.getpid(), incarnation=incarnation, now_ns=now), before


def _reserve(descriptor: int, length: int) -> None:
    """Give the file its blocks now: on a full disk a store into a hole would be a SIGBUS, here it is an ``OSError``."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, length)
    elif os.fstat(descriptor).st_size < length:
        os.ftruncate(descriptor, length)
