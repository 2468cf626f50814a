"""Where our cgroup is, and whether it was given to us (cgroup v2 only)."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

LEAF = "supervisor"
"""The cgroup below our own for ourselves: one with limits for those below it may hold no process (cgroups(7))."""
HELP = "write Delegate=cpu memory in the unit, and ProtectControlGroups=no"


@dataclass(frozen=True, slots=True)
class Delegation:
    """``base``: the cgroup that is ours to divide, ``None`` when there is none; ``reason`` then says why."""

    base: Path | None
    reason: str = ""


def own_cgroup(proc: Path = Path("/proc/self")) -> Path | None:
    """Return the folder of the cgroup v2 this process is in, ``None`` where there is no such thing."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in groups if line.startswith("0::")), None)
    for line in mounts:
        fields, _, rest = line.partition(" - ")
        if path is not None and rest.startswith("cgroup2 "):
            root, mounted = fields.split(" ")[3:5]
            inner = os.path.relpath(path, root) if root != "/" else path.lstrip("/")
            return None if inner.startswith("..") else Path(mounted) / inner
    return None


def delegation(cgroup: Path | None = None) -> Delegation:
    """Look whether our cgroup may be divided; changes nothing."""
    cgroup = cgroup or own_cgroup()
    if cgroup is None:
        return Delegation(None, "this system has no cgroup v2")
    base = cgroup.parent if cgroup.name == LEAF else cgroup
    needed = (base, base / "cgroup.procs", base / "cgroup.subtree_control")
    if not all(os.access(path, os.W_OK) for path in needed):
        return Delegation(None, f"cgroup {base} is not ours to write")
    if not _is_given(base):
        return Delegation(None, f"systemd has not delegated cgroup {base}")
    try:
        strangers = [pid for pid in members(base) if not _is_ours(pid)]
    except OSError as error:
        return Delegation(None, f"cgroup {base} cannot be read: {error.strerror}")
    if strangers:
        return Delegation(None, f"other processes share cgroup {base}, such as {strangers[0]}")
    return Delegation(base)


def members(cgroup: Path) -> list[int]:
    """Return the processes that are in a cgroup itself, not below it."""
    return [int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()]


def _is_given(base: Path) -> bool:
    """Tell what systemd leaves to us from what root may write anyway, by its mark (systemd.io/CGROUP_DELEGATION)."""
    if os.geteuid() != 0 or "INVOCATION_ID" not in os.environ:
        return True
    for name in ("trusted.delegate", "user.delegate"):
        try:
            if os.getxattr(base, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _is_ours(pid: int) -> bool:
    try:
        return pid == os.getpid() or os.getpid() in (one.pid for one in psutil.Process(pid).parents())
    except psutil.Error:
        return True  # it is gone
