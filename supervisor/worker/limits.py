"""What a worker sets for itself before it loads user code: cgroup, niceness, processors, rlimits."""

import os
import resource
from pathlib import Path

from supervisor.core.spec import LimitsSpec


class LimitsError(Exception):
    """A limit cannot be set; a restart would not help. The text says which, and what to do."""


def set_limits(limits: LimitsSpec) -> str:
    """Set what ``limits`` says for this process and all it will start; raise ``LimitsError``.

    Returns why the cgroup was not joined, else an empty string: without it the worker still does its work, and
    tomorrow's restart of a healthy one must not fail for a folder that somebody removed.

    Main thread, before there are others: niceness and processors are a thread's own on Linux, later threads
    inherit them.
    """
    outside = _join(Path(limits.cgroup)) if limits.cgroup else ""
    _set_nice(limits.nice)
    _set_cpus(limits)
    for name, amount in limits.rlimits.items():
        _set_rlimit(name, amount)
    return outside


def _join(cgroup: Path) -> str:
    """Put ourselves into the cgroup that the parent made ("0" is the writer, cgroups(7))."""
    try:
        (cgroup / "cgroup.procs").write_text("0")
    except OSError as error:
        return f"cannot join cgroup {cgroup}: {error.strerror}"
    return ""


def _set_nice(increment: int) -> None:
    if not increment:
        return
    try:
        os.nice(increment)
    except OSError as error:
        below = "a value below 0 needs LimitNICE= in the unit"
        remedy = below if increment < 0 else "the unit needs its limits drop-in"
        message = f"limits.nice = {increment}: {error.strerror}; help: {remedy}"
        raise LimitsError(message) from error


def _set_cpus(limits: LimitsSpec) -> None:
    if not limits.cpus and limits.spread is None:
        return
    if not hasattr(os, "sched_setaffinity"):
        message = "limits.cpu_affinity: this system cannot bind processes to processors; help: leave it out"
        raise LimitsError(message)
    allowed = sorted(os.sched_getaffinity(0))
    cpus = set(limits.cpus) if limits.spread is None else {allowed[limits.spread % len(allowed)]}
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        wanted, there = ", ".join(map(str, sorted(cpus))), ", ".join(map(str, allowed))
        message = f"limits.cpu_affinity = [{wanted}]: {error.strerror}; help: allowed here are {there}"
        raise LimitsError(message) from error


def _set_rlimit(name: str, amount: int) -> None:
    """Set the soft limit, and lower the hard one to it: user code must not take it back."""
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        message = f"limits.rlimits.{name}: this system knows no such limit; help: leave it out"
        raise LimitsError(message)
    wanted = resource.RLIM_INFINITY if amount < 0 else amount
    try:
        resource.setrlimit(number, (wanted, wanted))
    except (OSError, ValueError) as error:  # ValueError is CPython's word for "above the hard limit, not allowed"
        hard = resource.getrlimit(number)[1]
        message = (
            f"limits.rlimits.{name} = {amount if amount >= 0 else 'unlimited'}: above the hard limit ({hard});"
            f" help: lower it, or raise Limit{name.upper()}= in the unit"
        )
        raise LimitsError(message) from error
