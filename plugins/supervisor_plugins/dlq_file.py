"""Dead letters to a local file: the fallback for when Kafka itself is what fails.

``<state_dir>/dead-letters/<group>/<slot>.jsonl``, one JSON object per line, bytes in base64, mode 0600: the lines hold
what the records held. Whoever changes, moves or deletes a file locks it first (``flock``), as this does for each line.
"""

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from supervisor.plugin import Letter, Seconds, WorkerContext, hookimpl
from supervisor_plugins.letter_folder import letter_folder, make_folder, sync_names

FORMAT = 1
LOCK_PATIENCE = 5.0
LOCK_POLL = 0.01
LONGEST_LINE = 1 << 20


class FileSink:
    """Append each letter and return when the disk has it."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``directory`` replaces ``<state_dir>/dead-letters``.

        A file of ``max_size`` bytes, or whose first letter is ``max_age`` old, is put aside as ``<slot>.<time>.jsonl``
        and a new one begun; 0: never. With ``keep`` only so many of those put aside are left: letters are DELETED,
        unread or not; 0: all are kept.
        """

        directory: str = ""
        max_size: int = 0
        max_age: Seconds = 0.0
        keep: int = 0

        def __post_init__(self) -> None:
            """Refuse what would delete letters by a slip."""
            if min(self.max_size, self.max_age, self.keep) < 0:
                message = "max_size, max_age and keep must not be below 0"
                raise ValueError(message)
            if self.keep and not (self.max_size or self.max_age):
                message = "keep is of files that max_size or max_age puts aside: write one of them, too"
                raise ValueError(message)

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path: Path | None = None
        self._file: int | None = None
        self._begun_at = 0.0
        self._lock = threading.Lock()

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Fix the file's name; it is made with the first letter."""
        self._path = letter_folder(context, self._options.directory) / f"{context.slot}.jsonl"

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        """Write and sync one line; handler threads take turns. After any failure the file is opened anew."""
        line = json.dumps(_letter_json(letter), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError:
                # A failed fsync is not repeated by the kernel.
                self._close()
                raise

    @hookimpl
    def worker_stopping(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    def _append(self, line: bytes) -> None:
        with self._held() as (file, size):
            is_full = self._is_full(size, len(line))
            if not is_full:
                _write(file, size, line)
        if is_full:
            self._put_aside()
            with self._held() as (file, size):
                _write(file, size, line)

    @contextmanager
    def _held(self) -> Iterator[tuple[int, int]]:
        """Lock the file of the name and give it with its size; another may have been put in its place meanwhile."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            file = self._opened()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    message = f"another process holds it for {LOCK_PATIENCE:g} s"
                    raise TimeoutError(message) from error
                time.sleep(LOCK_POLL)
                continue
            if self._is_still_named(file):
                break
            self._close()
        try:
            yield file, os.fstat(file).st_size
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._file is None:
            path = self._named()
            make_folder(path.parent)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_names(path.parent)
            self._begun_at = _first_written_at(self._file)
        return self._file

    def _named(self) -> Path:
        if self._path is None:
            message = "dlq_file was asked for a letter before the worker had started"
            raise RuntimeError(message)
        return self._path

    def _is_still_named(self, file: int) -> bool:
        try:
            named = self._named().stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))

    def _is_full(self, size: int, more: int) -> bool:
        if not size:
            return False
        options = self._options
        is_old = options.max_age > 0 and time.time() - self._begun_at >= options.max_age
        return is_old or (options.max_size > 0 and size + more > options.max_size)

    def _put_aside(self) -> None:
        path = self._named()
        with self._held():
            path.rename(_free_name(path))
        self._close()
        sync_names(path.parent)
        if self._options.keep:
            for old in sorted(path.parent.glob(f"{path.stem}.*.jsonl"), key=_age)[: -self._options.keep]:
                old.unlink(missing_ok=True)

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


def _write(file: int, size: int, line: bytes) -> None:
    """Append a line and sync it, or leave the file as it was: a full disk must not be filled with pieces of lines."""
    try:
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line  # a writer died within its line; ours must not become part of it
        left = line
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, size)
        raise


def _first_written_at(file: int) -> float:
    """Return when a file was begun; now where its first line does not say it."""
    first = os.pread(file, LONGEST_LINE, 0).partition(b"\n")[0]
    _, _, tail = first.rpartition(b'"written_at":')
    try:
        return float(tail.rstrip(b"}"))
    except ValueError:
        return time.time()


def _free_name(path: Path) -> Path:
    """Return a name that says when the file was put aside; one that is taken is not taken again."""
    now = time.time_ns()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now // 10**9))
    free = path.with_name(f"{path.stem}.{stamp}-{now % 10**9:09}.jsonl")
    if free.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(free))
    return free


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name
