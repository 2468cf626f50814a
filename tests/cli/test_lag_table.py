import io
from dataclasses import replace

from rich.console import Console

from supervisor.cli.lag_table import lag_table
from supervisor.core.lag import GroupLag, GroupMember, PartitionLag
from supervisor.core.snapshot import Snapshot
from tests.cli.snapshots import running, snapshot

MEMBERS = (GroupMember("web-1-orders-0", "10.0.0.1", 1, is_ours=True), GroupMember("web-2-orders-0", "10.0.0.2", 1))


def shown(lag: GroupLag | None, topics: tuple[str, ...] = ("orders",)) -> list[str]:
    seen = snapshot(running(0), topics=topics)
    return rendered(replace(seen, groups=(replace(seen.groups[0], lag=lag),)))


def rendered(seen: Snapshot) -> list[str]:
    out = io.StringIO()
    table = lag_table(seen)
    if table is None:
        return []
    Console(file=out, width=500).print(table)
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def part(number: int, lag: int | None, owner: str | None = "web-1-orders-0", topic: str = "orders") -> PartitionLag:
    return PartitionLag(topic, number, 0, lag or 0, lag, owner)


def test_the_lag_of_all_partitions_and_of_those_nobody_owns_is_shown() -> None:
    parts = (part(0, 1000), part(1, 200, ""), part(2, 100, ""), part(3, 0, ""))

    lines = shown(GroupLag(1300, 2.0, parts, MEMBERS))

    assert lines == ["GROUP LAG UNOWNED MEMBERS", "orders 1300 300 in orders:1-3 1 here, 1 on 10.0.0.2"]


def test_topics_are_named_where_a_group_reads_several() -> None:
    parts = (part(0, 5, ""), part(1, 5, "", "refunds"))

    assert shown(GroupLag(10, 2.0, parts, ()), ("orders", "refunds"))[1] == "orders 10 10 in orders:0 refunds:1 0 here"


def test_what_nobody_knows_is_never_zero() -> None:
    assert shown(GroupLag(trouble="_TRANSPORT", age=95.0))[1] == "orders - - - _TRANSPORT, last read 1m35s ago"
    assert shown(GroupLag(7, 2.0, (part(0, 7, None),), None))[1] == "orders 7 - -"
    assert shown(GroupLag(trouble="not read yet"))[1] == "orders - - - not read yet"


def test_nothing_is_unowned_when_everything_has_an_owner() -> None:
    assert shown(GroupLag(7, 2.0, (part(0, 7),), MEMBERS))[1] == "orders 7 0 1 here, 1 on 10.0.0.2"


def test_missing_topics_and_rights_are_named() -> None:
    lag = GroupLag(0, 2.0, (), (), missing=("order",), denied=("secret",))

    assert shown(lag)[1].endswith("does not exist: order; no right to see: secret")


def test_there_is_no_second_table_when_nobody_looks() -> None:
    assert shown(None) == []
