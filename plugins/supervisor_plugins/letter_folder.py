"""Where sinks of this host keep a group's dead letters: a folder of the group's own, for its owner only."""

import os
from pathlib import Path
from urllib.parse import quote

from supervisor.plugin import WorkerContext


def letter_folder(context: WorkerContext, directory: str) -> Path:
    """Return ``<state_dir>/dead-letters/<group>``; ``directory`` replaces all but the last."""
    root = Path(directory) if directory else Path(context.state_dir) / "dead-letters"
    group = quote(context.group, safe="")  # a group may be called anything, "../x" too
    return root / (f"%2E{group[1:]}" if group.startswith(".") else group)


def make_folder(folder: Path) -> None:
    """Make a folder that is not there yet."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def sync_names(folder: Path) -> None:
    """Make the names in a folder durable, and its own: fsync of a file says nothing of its name (fsync(2))."""
    for one in (folder, folder.parent):
        handle = os.open(one, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
