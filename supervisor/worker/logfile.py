"""A slot's own log file: what the worker logs, and what it and its libraries write to stdout and stderr."""

import contextlib
import logging
import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path

from supervisor.core.spec import LogFileSpec

logger = logging.getLogger(__name__)


class LogFile:
    """Stands behind descriptors 1 and 2 of this process, so that native code writes there, too.

    Only the process that holds the slot's lock rotates, so a file has one who renames it. Main thread.
    """

    def __init__(self, spec: LogFileSpec) -> None:
        """Open the file and send stdout and stderr there; raises ``OSError``."""
        self._path = Path(spec.path)
        self._spec = spec
        self._asked = False
        self._is_stuck = False
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)
        signal.signal(signal.SIGUSR2, self._ask)

    def look(self) -> None:
        """Rotate when the file has its size, open it anew when SIGUSR2 asked for it; about once a second."""
        try:
            if os.fstat(2).st_size >= self._spec.max_size:
                self._rotate()
            elif self._asked:
                self._open()
        except OSError as error:
            if not self._is_stuck:
                logger.warning("log_file.not_rotated", extra={"fields": {"file": self._path.name, "error": str(error)}})
            self._is_stuck = True
            return
        self._asked = self._is_stuck = False

    def _ask(self, *_: object) -> None:
        self._asked = True

    def _rotate(self) -> None:
        if not self._spec.keep:
            os.ftruncate(2, 0)
            return
        for number in range(self._spec.keep - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with contextlib.suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))
        self._open()

    def _open(self) -> None:
        """Open the file under its name and put it in the place of stdout and stderr."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
        finally:
            os.close(descriptor)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def open_log_file(spec: LogFileSpec | None) -> tuple[LogFile | None, str]:
    """Return the log file that ``spec`` asks for, and why there is none: a worker works without one, too."""
    if spec is None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        return None, ""
    try:
        return LogFile(spec), ""
    except OSError as error:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        return None, f"{spec.path} cannot be opened ({error.strerror}): logging to the supervisor's stderr"
