"""What a worker leaves for who asks why it died: its stacks and its last log lines, in the slot's crash file."""

import faulthandler
import logging
import mmap
import os
import signal
from pathlib import Path

from supervisor.core.crashfile import HEAD, begin, crash_path, note
from supervisor.logs import EventFormatter

logger = logging.getLogger(__name__)


class CrashFile:
    """The slot's crash file, open until the process ends.

    ``faulthandler`` writes behind the ring by itself, on a fatal signal and on SIGUSR1. Without a file (no space) it
    writes to stderr, and lines are not kept.
    """

    def __init__(self, slot_file: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd: int | None = None
        try:
            self._fd = os.open(crash_path(slot_file), flags, 0o600)
            if os.fstat(self._fd).st_size < HEAD:
                os.ftruncate(self._fd, HEAD)
        except OSError as error:
            logger.warning("worker.no_crash_file", extra={"fields": {"error": str(error)}})
        target = 2 if self._fd is None else self._fd
        faulthandler.enable(target)
        faulthandler.register(signal.SIGUSR1, target, all_threads=True)

    def keep_lines(self) -> None:
        """Keep the last log lines from now on. Only while the slot's lock is held: the ring of another goes."""
        if self._fd is None:
            return
        try:
            if hasattr(os, "posix_fallocate"):  # else a full tmpfs would be a SIGBUS at the first line
                os.posix_fallocate(self._fd, 0, HEAD)
            os.ftruncate(self._fd, HEAD)
            handler = _RingHandler(memoryview(mmap.mmap(self._fd, HEAD)))
        except OSError as error:
            logger.warning("worker.no_crash_file", extra={"fields": {"error": str(error)}})
            return
        handler.setFormatter(EventFormatter("text", {}))
        logging.getLogger().addHandler(handler)


class _RingHandler(logging.Handler):
    """Writes each line into mapped memory; costs no system call."""

    def __init__(self, memory: memoryview) -> None:
        super().__init__()
        self._memory = memory
        begin(memory)

    def emit(self, record: logging.LogRecord) -> None:
        note(self._memory, self.format(record))
