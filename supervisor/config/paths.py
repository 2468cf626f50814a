"""Where a supervisor keeps its files. Only computed here: the parent makes them."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.config.config import Config

LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path, without the closing NUL (unix(7): sun_path)."""
SOCKET = "control.sock"
_NAME_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Paths:
    """All paths are absolute. Nothing says that they exist."""

    state_dir: Path
    runtime_dir: Path
    socket: Path
    lock: Path

    def slot_file(self, group: str, slot: int) -> Path:
        """Return the file of one slot: its board and its lock."""
        return self.runtime_dir / f"{group}.{slot}.slot"


def paths(config: Config) -> Paths:
    """Return where the supervisor of ``config`` keeps its files."""
    runtime = Path(config.supervisor.runtime_dir)
    return Paths(Path(config.supervisor.state_dir), runtime, runtime / SOCKET, runtime / "supervisor.lock")


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Return systemd's folder for state, else ``state`` (systemd.exec(5); the first one when it names several)."""
    return environ.get("STATE_DIRECTORY", "").split(":")[0] or "state"


def default_runtime_dir(environ: Mapping[str, str], config_file: Path, name: str) -> str:
    """Return systemd's folder for runtime files, else one on tmpfs that only this user and this config share."""
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return given
    shm = Path("/dev/shm")  # noqa: S108 - the parent makes the folder with mode 0700 and checks whose it is
    root = shm if shm.is_dir() else Path(tempfile.gettempdir())
    digest = hashlib.sha256(os.fsencode(config_file)).hexdigest()[:8]
    return str(root / f"kafka-supervisor-{os.getuid()}" / f"{name[:_NAME_SHOWN]}-{digest}")
