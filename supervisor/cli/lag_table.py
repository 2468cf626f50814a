"""The lag of whole groups as the second table of ``supervisor status``: what no slot here owns is in it, too."""

from collections import Counter

from rich.table import Table
from rich.text import Text

from supervisor.cli.table import NONE, count, partitions
from supervisor.core.durations import format_duration
from supervisor.core.lag import GroupLag, GroupMember
from supervisor.core.snapshot import GroupSnapshot, Snapshot

COLUMNS = ("GROUP", "LAG", "UNOWNED", "MEMBERS", "")
MOST_RUNS = 60
MOST_HOSTS = 3


def lag_table(snapshot: Snapshot) -> Table | None:
    """Return one line per group; ``None`` when nobody looks at lag."""
    groups = [group for group in snapshot.groups if group.lag is not None]
    if not groups:
        return None
    table = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in table.columns[:2]:
        column.no_wrap = True
    table.columns[1].justify = "right"
    for group in groups:
        table.add_row(*_cells(group, group.lag or GroupLag()))
    return table


def _cells(group: GroupSnapshot, lag: GroupLag) -> list[str | Text]:
    return [
        group.name,
        NONE if lag.total is None else count(lag.total),
        _unowned(lag),
        NONE if lag.members is None else members(lag.members),
        Text(_remark(lag)),
    ]


def _unowned(lag: GroupLag) -> str:
    """Return what nobody works: the lag and the partitions; a total without owners is no total of unowned ones."""
    if lag.total is None or lag.members is None:
        return NONE
    unowned = lag.unowned
    if not unowned:
        return "0"
    where = partitions(unowned)
    behind = count(sum(one.lag or 0 for one in unowned))
    shown = where if len(where) <= MOST_RUNS else f"{len(unowned)} partitions"
    return f"{behind} in {shown}"


def members(found: tuple[GroupMember, ...]) -> str:
    """Return who is in the group: ``2 here, 3 on 10.0.0.7``."""
    here = sum(one.is_ours for one in found)
    hosts = Counter(one.host for one in found if not one.is_ours)
    shown = [f"{here} here", *(f"{number} on {host}" for host, number in hosts.most_common(MOST_HOSTS))]
    more = len(hosts) - MOST_HOSTS
    return ", ".join(shown) + (f" and {more} more hosts" if more > 0 else "")


def _remark(lag: GroupLag) -> str:
    found = []
    if lag.missing:
        found.append(f"does not exist: {', '.join(lag.missing)}")
    if lag.denied:
        found.append(f"no right to see: {', '.join(lag.denied)}")
    if lag.trouble:
        since = f", last read {format_duration(lag.age)} ago" if lag.age is not None else ""
        found.append(f"{lag.trouble}{since}")
    return "; ".join(found)
