"""How far replays of files and tables are: a small file each, as durable as a broker's committed offsets."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.core.spools import safe_name

FORMAT = 1


class Progress:
    """Positions by place, and for each up to where letters may have been sent already (``until``)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.meaning = ""
        self.at: dict[str, int] = {}
        self.until: dict[str, int] = {}

    def load(self) -> bool:
        """Read what there is; ``False`` when there is nothing, or nothing that can be read."""
        try:
            found: Any = json.loads(self._path.read_bytes())
            self.meaning = str(found["meaning"])
            self.at = {str(place): int(at) for place, at in found["at"].items()}
            self.until = {str(place): int(at) for place, at in found["until"].items()}
        except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError):
            return False
        return True

    def save(self) -> None:
        """Write it, so that it is there after a crash of the machine; raises ``OSError``."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"v": FORMAT, "meaning": self.meaning, "at": self.at, "until": self.until})
        write_durably(self._path, text.encode())

    def delete(self) -> None:
        """Forget it."""
        self._path.unlink(missing_ok=True)


def progress_file(state_dir: str, group: str, name: str) -> Path:
    """Return where a replay of that name keeps how far it is."""
    return Path(state_dir) / "replays" / safe_name(group) / f"{safe_name(name)}.json"


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold the lock of a replay or drain while it runs on this host; ``False`` when another process has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def write_durably(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path``'s content: all of it or nothing, whenever the machine stops."""
    beside = path.with_name(f".{path.name}.new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.closing(os.fdopen(file, "wb", closefd=False)) as out:
            out.write(data)
        os.fsync(file)
    finally:
        os.close(file)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` durable (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
