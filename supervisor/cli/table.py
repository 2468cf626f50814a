"""A ``Snapshot`` as the table of ``supervisor status``."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from supervisor.core.durations import format_duration
from supervisor.core.lag import PartitionLag
from supervisor.core.snapshot import SlotSnapshot, SlotState, Snapshot
from supervisor.core.worker_stats import PartitionStats

NONE = "-"
COLUMNS = ("GROUP", "SLOT", "STATE", "PID", "UP", "RESTARTS", "PARTITIONS", "REC/S", "LAG", "OLDEST", "RSS", "CPU", "")
STYLES = {
    SlotState.RUNNING: "green",
    SlotState.STARTING: "cyan",
    SlotState.DRAINING: "cyan",
    SlotState.LEAVING: "cyan",
    SlotState.BACKOFF: "yellow",
    SlotState.FATAL: "bold red",
    SlotState.STOPPED: "dim",
}
UNREMARKABLE = {"", "none", "eof", "busy"}
"""Waits that need no word: a worker that has read everything, or is at work."""


def status_table(snapshot: Snapshot) -> Table:
    """Return the slots of all groups, one line each; a reading nobody has is ``-``, never zero."""
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for right in ("REC/S", "LAG", "OLDEST", "RSS", "CPU"):
        table.columns[COLUMNS.index(right)].justify = "right"
    table.columns[COLUMNS.index("PARTITIONS")].no_wrap = False
    for group in snapshot.groups:
        for slot in group.slots:
            table.add_row(*_cells(slot, whole=group.paused))
    return table


def headline(snapshot: Snapshot) -> str:
    """Return the one line above the table."""
    return (
        f"supervisor {snapshot.supervisor} (version {snapshot.version}), pid {snapshot.pid}, "
        f"up {format_duration(snapshot.uptime)}"
    )


def conditions(snapshot: Snapshot) -> list[str]:
    """Return one line for each group with which something is not as usual as a whole."""
    return [f"{group.name}: {group.condition}" for group in snapshot.groups if group.condition]


def _cells(slot: SlotSnapshot, *, whole: bool) -> list[str | Text]:
    stats = slot.stats
    busy = stats is not None and stats.in_flight + stats.queued > 0
    return [
        slot.group,
        str(slot.slot),
        Text(slot.state.value, style=STYLES[slot.state]),
        _or_none(slot.pid),
        NONE if slot.uptime is None else format_duration(slot.uptime),
        str(slot.restarts),
        NONE if stats is None or not stats.partitions else partitions(stats.partitions),
        NONE if slot.records_per_s is None else count(slot.records_per_s),
        NONE if stats is None or stats.lag is None else count(stats.lag),
        NONE if stats is None or not busy else spaced(format_duration(stats.oldest)),
        NONE if slot.rss_bytes is None else size(slot.rss_bytes),
        NONE if slot.cpu_percent is None else f"{slot.cpu_percent:.0f} %",
        Text(remark(slot, whole=whole)),
    ]


def remark(slot: SlotSnapshot, *, whole: bool = False) -> str:
    """Return why a slot is in its state, or why its worker moves nothing; empty when there is nothing to say.

    ``whole``: where it is paused, its whole group is.
    """
    if slot.state is SlotState.BACKOFF and slot.next_start_in is not None:
        wait = f"in {spaced(format_duration(max(0.0, slot.next_start_in)))}"
        return f"{wait}: {slot.reason}" if slot.reason else wait
    if slot.state is not SlotState.RUNNING:
        return slot.reason
    stopped = [one for one in slot.stats.partitions if one.stopped] if slot.stats else []
    if stopped:
        first = stopped[0]
        more = f" and {len(stopped) - 1} more" if len(stopped) > 1 else ""
        return f"stopped: {first.topic}/{first.partition} ({first.stopped}){more}"
    if slot.paused:
        return f"paused: supervisor resume {slot.group}" + ("" if whole else f"/{slot.slot}")
    waits = slot.stats.waits.lower() if slot.stats else ""
    if waits not in UNREMARKABLE:
        return f"waits: {waits}"
    return "" if slot.joined else "not in its group yet"


def partitions(owned: Sequence[PartitionStats | PartitionLag]) -> str:
    """Return the owned partitions as runs (``a:0-3,7 b:1``), always with the topic: a bare ``0`` would read as none."""
    by_topic: dict[str, list[int]] = defaultdict(list)
    for part in owned:
        by_topic[part.topic].append(part.partition)
    return " ".join(f"{topic}:{','.join(_runs(numbers))}" for topic, numbers in sorted(by_topic.items()))


def _runs(numbers: list[int]) -> list[str]:
    runs = []
    for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        if len(members) > 2:  # noqa: PLR2004 - two are as short written out
            runs.append(f"{members[0]}-{members[-1]}")
        else:
            runs.extend(str(number) for number in members)
    return runs


def count(value: float) -> str:
    """Return a count the way a table shows it: ``31``, ``0.4``, ``12.4k``, ``3.1M``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.1f}{unit}"
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:.0f}"  # noqa: PLR2004


def size(octets: int) -> str:
    """Return bytes the way a table shows them: ``41 MB``, ``1.2 GB``."""
    return f"{octets / 1e9:.1f} GB" if octets >= 1e9 else f"{octets / 1e6:.0f} MB"  # noqa: PLR2004


def spaced(duration: str) -> str:
    """Set a number apart from its unit where there is only one (``40ms`` becomes ``40 ms``; ``3h12m`` stays)."""
    digits = duration.rstrip("msdh")
    return f"{digits} {duration[len(digits) :]}" if digits.replace(".", "").isdigit() else duration


def _or_none(value: object) -> str:
    return NONE if value is None else str(value)
