"""The parent's side of a slot's crash file: read what a dead worker left, once."""

import contextlib
import logging
import os
from pathlib import Path

from supervisor.core.crashfile import HEAD, MOST_STACK, RING_AT, crash_path, last_lines, plain

logger = logging.getLogger(__name__)


def take_stacks(slot_file: Path) -> str:
    """Return what faulthandler wrote since the last look, and drop it: also of a worker that lives on after a dump."""
    with contextlib.suppress(OSError):
        fd = _open(slot_file)
        try:
            stacks = _stacks(fd)
            if stacks:
                os.ftruncate(fd, HEAD)
        finally:
            os.close(fd)
        return stacks
    return ""


def take_evidence(slot_file: Path) -> dict[str, str]:
    """Return a dead worker's ``stack`` and last ``log`` lines, where there are some, and empty its crash file.

    Only when the slot's process is gone. Reads at most some 48 KiB, of a file on tmpfs.
    """
    found: dict[str, str] = {}
    try:
        fd = _open(slot_file)
    except OSError:
        return found
    try:
        if os.fstat(fd).st_size >= HEAD:
            found = {"stack": _stacks(fd), "log": last_lines(os.pread(fd, HEAD, 0))}
        os.ftruncate(fd, HEAD)  # not shorter: a process that maps it would die of its next line
        os.pwrite(fd, bytes(RING_AT), 0)
    except OSError as error:
        logger.warning("parent.crash_file_refused", extra={"fields": {"file": slot_file.name, "error": str(error)}})
    finally:
        os.close(fd)
    return {name: text for name, text in found.items() if text}


def remove_crash_file(slot_file: Path) -> None:
    """Remove the crash file of a slot that is no more."""
    Path(crash_path(slot_file)).unlink(missing_ok=True)


def _open(slot_file: Path) -> int:
    return os.open(crash_path(slot_file), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _stacks(fd: int) -> str:
    end = os.fstat(fd).st_size
    return plain(os.pread(fd, MOST_STACK, max(HEAD, end - MOST_STACK))) if end > HEAD else ""
