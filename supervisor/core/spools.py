"""Where sinks of this host keep letters: the folders and names that ``dlq_file`` and ``dlq_sqlite`` use. Pure."""

from pathlib import PurePath
from urllib.parse import quote

from supervisor.core.spec import GroupSpec

SPOOL = "dlq_file"
"""The plugin whose files are drained where it is a group's fallback."""
TABLE = "letters.sqlite"


def letter_folder(state_dir: str, group: GroupSpec, plugin: str = SPOOL) -> PurePath:
    """Return the folder in which ``plugin`` keeps a group's letters."""
    options = next((one.options for one in group.plugins.plugins if one.target == plugin), {})
    root = str(options.get("directory") or "") or str(letters_root(state_dir))
    return PurePath(root) / safe_name(group.name)


def letters_root(state_dir: str) -> PurePath:
    """Return the folder of all groups' folders, unless a plugin's ``directory`` says otherwise."""
    return PurePath(state_dir) / "dead-letters"


def safe_name(name: str) -> str:
    """Return ``name`` as one part of a path; a group may be called anything, ``../x`` too. As the plugins have it."""
    quoted = quote(name, safe="")
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def is_letter_file(name: str) -> bool:
    """Tell a slot's file of lines, or one that was put aside: ``0.jsonl``, ``0.20260131T140000-000.jsonl``."""
    return name.endswith(".jsonl") and not name.startswith(".")


def is_spooled(group: GroupSpec) -> bool:
    """Tell whether a group's fallback is a spool that must be drained into its sink."""
    letters = group.dead_letters
    return letters.fallback == SPOOL and letters.sink != SPOOL
