"""Slots beyond the wanted number that an earlier supervisor had running: their members may still be in the group."""

from collections.abc import Iterator
from pathlib import Path

from supervisor.parent.plan import GroupPlan, Plan


def leftovers(plan: Plan) -> Iterator[tuple[GroupPlan, int]]:
    """Yield the slots of configured groups whose file is there and that the plan does not fill.

    A slot that left its group takes its file along, so what is found was killed, or stopped with keep. Groups of
    dynamic members (KIP-848) have nothing to leave in a dead one's name, and nobody knows any more how to reach the
    group of one that is configured no more.
    """
    groups = {group.name: group for group in plan.groups}
    for path in sorted(plan.runtime_dir.glob("*.slot")):
        name, number = _slot_of(path)
        group = groups.get(name)
        if group is None or number is None or plan.slot_file(name, number) != path:
            continue
        if number >= group.workers and group.policy.is_static:
            yield group, number


def _slot_of(path: Path) -> tuple[str, int | None]:
    name, _, number = path.stem.rpartition(".")
    return name, int(number) if number.isascii() and number.isdigit() else None
