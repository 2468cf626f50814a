"""Dead letters to a local file: the fallback for when Kafka itself is what fails.

``<state_dir>/dead-letters/<group>/<slot>.jsonl``, one JSON object per line, bytes in base64, mode 0600:
the lines hold what the records held.
"""

import fcntl
import json
import os
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from supervisor.plugin import Letter, WorkerContext, hookimpl

FORMAT = 1
LOCK_PATIENCE = 10.0


class FileSink:
    """Append each letter and return when the disk has it."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``directory`` replaces ``<state_dir>/dead-letters``."""

        directory: str = ""

    def __init__(self, options: Options) -> None:
        self._directory = options.directory
        self._path: Path | None = None
        self._file: int | None = None
        self._lock = threading.Lock()

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Fix the file's name; it is made with the first letter."""
        root = Path(self._directory) if self._directory else Path(context.state_dir) / "dead-letters"
        group = quote(context.group, safe="")  # a group may be called anything, "../x" too
        if group.startswith("."):
            group = f"%2E{group[1:]}"
        self._path = root / group / f"{context.slot}.jsonl"

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        """Write and sync one line; handler threads take turns. After any failure the file is opened anew."""
        line = json.dumps(_letter_json(letter), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                file = self._locked()
                try:
                    _write_all(file, line)
                    os.fsync(file)
                finally:
                    fcntl.flock(file, fcntl.LOCK_UN)
            except OSError:
                # The line may be there in part, and a failed fsync is not repeated by the kernel.
                self._close()
                raise

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _locked(self) -> int:
        """Return the file of our name, locked for one line.

        Who drains it (``supervisor dlq drain``) deletes it under the same lock once it holds nothing new: then we
        make another. Raises ``TimeoutError`` when it is held for too long.
        """
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            if self._file is None:
                self._file = self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"another process holds it for {LOCK_PATIENCE:g} s"
                    raise TimeoutError(message) from error
                time.sleep(0.005)
                continue
            if os.fstat(self._file).st_nlink:
                return self._file
            self._close()

    def _open(self) -> int:
        if self._path is None:
            message = "dlq_file was asked for a letter before the worker had started"
            raise RuntimeError(message)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                _write_all(file, b"\n")  # a writer died within its line; ours must not become part of it
            for folder in (self._path.parent, self._path.parent.parent):
                _sync_folder(folder)
        except OSError:
            os.close(file)
            raise
        return file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _letter_json(letter: Letter) -> dict[str, object]:
    return {
        "v": FORMAT,
        "audit_id": letter.audit_id,
        "topic": letter.topic,
        "key": _text(letter.key),
        "value": _text(letter.value),
        "headers": [[name, _text(value)] for name, value in letter.headers],
        "source": {"topic": letter.source_topic, "partition": letter.source_partition, "offset": letter.source_offset},
        "disposition": letter.disposition.value,
        "timestamp": letter.timestamp,
        "written_at": time.time(),
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode("ascii")


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, not only the bytes (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
