"""What a ``limits`` table means for workers and for the parent, and what is wrong with it on this machine."""

import os
import resource
from collections.abc import Callable

from supervisor.config.limit_values import SPREAD
from supervisor.config.models import Limits
from supervisor.config.problems import KeyPath
from supervisor.config.source import Source
from supervisor.core.limits import Allowance
from supervisor.core.spec import LimitsSpec


def allowance(table: Limits) -> Allowance:
    """Return what the parent holds a group's workers to."""
    return Allowance(
        rss_soft=table.rss_soft,
        rss_hard=table.rss_hard,
        max_records=table.max_records,
        max_age=table.max_age,
        variance=table.variance,
    )


def limits_spec(table: Limits, *, place: int) -> LimitsSpec:
    """Return what a worker sets for itself; ``place`` is its slot's among all slots of this supervisor."""
    spreads = table.cpu_affinity == SPREAD
    return LimitsSpec(
        nice=table.nice,
        cpus=() if isinstance(table.cpu_affinity, str) else table.cpu_affinity,
        spread=place if spreads else None,
        rlimits=dict(table.rlimits),
        memory_max=table.memory_max,
        cpu_quota=table.cpu_quota,
    )


def check_limits(source: Source, table: Limits, where: Callable[..., KeyPath]) -> None:
    """Report limits that do not fit each other, or this machine."""
    if table.rss_soft is not None and table.rss_hard is not None and table.rss_soft >= table.rss_hard:
        text = "not below rss_hard: a worker would be ended before it could be replaced in order"
        source.report(where("limits", "rss_soft"), text, "lower rss_soft, or raise rss_hard")
    if table.memory_max is not None and table.rss_hard is not None and table.rss_hard > table.memory_max:
        text = "above memory_max: the kernel would kill the worker first"
        source.warn(where("limits", "rss_hard"), text, "lower rss_hard, or raise memory_max")
    if table.cpu_affinity:
        _check_cpus(source, table, where("limits", "cpu_affinity"))
    for name, amount in table.rlimits.items():
        _check_rlimit(source, where("limits", "rlimits", name), name, amount=amount)


def _check_cpus(source: Source, table: Limits, where: KeyPath) -> None:
    if not hasattr(os, "sched_setaffinity"):
        source.report(where, "this system cannot bind processes to processors", "leave it out")
        return
    there = os.sysconf("SC_NPROCESSORS_CONF")
    missing = [cpu for cpu in table.cpu_affinity if isinstance(cpu, int) and cpu >= there]
    if missing:
        text = f"this machine has no processor {', '.join(map(str, missing))}"
        source.report(where, text, f'write numbers from 0 to {there - 1}, or "spread"')


def _check_rlimit(source: Source, where: KeyPath, name: str, *, amount: int) -> None:
    """Warn of a limit no worker could raise: what counts is the supervisor's own, and its unit may have another."""
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        source.report(where, "this system knows no such limit", "leave it out")
        return
    hard = resource.getrlimit(number)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY or 0 <= amount <= hard:
        return
    text = f"above the hard limit here ({hard}): workers could not start"
    source.warn(where, text, f"write {hard} or less, or raise the hard limit: Limit{name.upper()}= in the unit")
