"""A cgroup per slot, where our own was delegated to us: the kernel holds limits that nobody looks after each second."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from supervisor.core.spec import LimitsSpec, Mode, WorkerSpec
from supervisor.parent.processes.delegation import HELP, LEAF, Delegation, delegation, members

PERIOD = 100_000
"""Microseconds over which the kernel measures a share of processor time; its own default."""
TRIES = 5

logger = logging.getLogger(__name__)


class Cgroups:
    """Makes, fills and removes the slots' cgroups. In the parent's loop; files of cgroupfs answer at once.

    Nothing is touched before the first worker whose limits need it. ``tell`` is called with what does not work,
    once per reason: the workers run all the same.
    """

    def __init__(self, tell: Callable[[str], None], *, look: Callable[[], Delegation] = delegation) -> None:
        self._tell = tell
        self._look = look
        self._base: Path | None = None
        self._is_open = False
        self._told: set[str] = set()
        self._made: dict[tuple[str, int], Path] = {}

    def placed(self, spec: WorkerSpec) -> WorkerSpec:
        """Return ``spec`` with the cgroup the worker is to join, made and limited; as it is where none is needed."""
        wanted = _settings(spec.limits)
        if spec.mode is not Mode.WORK or not wanted:
            return spec
        if not self._is_open:
            self._is_open = True
            self._open()
        if self._base is None:
            return spec
        cgroup = self._base / f"{spec.group.name}-{spec.slot}"
        try:
            cgroup.mkdir(exist_ok=True)
        except OSError as error:
            self._complain(f"cannot make cgroup {cgroup}: {error.strerror}")
            return spec
        self._made[spec.group.name, spec.slot] = cgroup
        self.empty(spec.group.name, spec.slot)  # the slot is free: what is in there is left by one before
        for name, value in wanted.items():
            self._set(cgroup, name, value)
        return replace(spec, limits=replace(spec.limits, cgroup=str(cgroup)))

    def empty(self, group: str, slot: int) -> None:
        """Kill what a dead worker has left in its cgroup, whatever sessions it moved to (cgroup.kill, Linux 5.14)."""
        cgroup = self._made.get((group, slot))
        if cgroup is not None:
            with contextlib.suppress(OSError):
                _write(cgroup / "cgroup.kill", "1")

    def remove(self, group: str, slot: int) -> None:
        """Remove the cgroup of a slot that is gone; one that is not empty yet stays for the next supervisor."""
        cgroup = self._made.pop((group, slot), None)
        if cgroup is not None:
            with contextlib.suppress(OSError):
                cgroup.rmdir()

    def close(self) -> None:
        """Remove all of them."""
        for group, slot in list(self._made):
            self.remove(group, slot)

    def _open(self) -> None:
        found = self._look()
        if found.base is None:
            self._complain(found.reason)
            return
        try:
            self._divide(found.base)
        except OSError as error:
            self._complain(f"cannot divide cgroup {found.base}: {error.strerror}")
            return
        self._base = found.base
        for old in found.base.glob("*-*/"):  # what an earlier supervisor could not remove; rmdir takes only empty ones
            with contextlib.suppress(OSError):
                old.rmdir()
        logger.info("cgroups.ready", extra={"fields": {"cgroup": str(found.base)}})

    def _divide(self, base: Path) -> None:
        """Move us and our children to a leaf, then let limits be set for the cgroups beside it.

        A child may be born in between: then the kernel says ``EBUSY``, and we look again.
        """
        (base / LEAF).mkdir(exist_ok=True)
        there = (base / "cgroup.controllers").read_text().split()
        enable = " ".join(f"+{name}" for name in ("cpu", "memory") if name in there)
        for left in reversed(range(TRIES)):
            for pid in members(base):
                with contextlib.suppress(ProcessLookupError):
                    _write(base / LEAF / "cgroup.procs", str(pid))
            try:
                if enable:
                    _write(base / "cgroup.subtree_control", enable)
            except OSError as error:
                if error.errno != errno.EBUSY or not left:
                    raise
            else:
                return

    def _set(self, cgroup: Path, name: str, value: str) -> None:
        try:
            _write(cgroup / name, value)
        except OSError as error:
            controller = name.partition(".")[0]
            why = "there is no such controller here" if error.errno == errno.ENOENT else error.strerror
            self._complain(f"cannot set {name} ({controller} controller): {why}")

    def _complain(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            self._tell(f"memory_max and cpu_quota are not in force: {reason}; help: {HELP}")


def _settings(limits: LimitsSpec) -> dict[str, str]:
    settings = {}
    if limits.memory_max is not None:
        settings["memory.max"] = str(limits.memory_max)
    if limits.cpu_quota is not None:
        settings["cpu.max"] = f"{round(limits.cpu_quota * PERIOD)} {PERIOD}"
    return settings


def _write(path: Path, text: str) -> None:
    """Write to a file of the kernel's, which is there or is not: never make one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
