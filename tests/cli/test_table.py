import io
from dataclasses import replace

import pytest
from rich.console import Console

from supervisor.cli.table import conditions, count, partitions, remark, size, status_table
from supervisor.core.snapshot import SlotState, Snapshot
from tests.cli.snapshots import down, part, running, snapshot, stats


def rendered(seen: Snapshot, width: int = 10_000) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(status_table(seen))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def words(line: str) -> str:
    return " ".join(line.split())


def test_the_table_has_one_line_per_slot_with_every_reading() -> None:
    slot = replace(down(1, SlotState.BACKOFF, "SIGSEGV at orders/1@812 (2 of 3)"), next_start_in=4.2)

    header, first, second = rendered(snapshot(running(0), slot))

    assert words(header) == "GROUP SLOT STATE PID UP RESTARTS PARTITIONS REC/S LAG OLDEST RSS CPU"
    assert words(first) == "orders 0 running 4711 3h12m 0 orders:0,4,8 12.4k 31 40 ms 41 MB 38 %"
    assert words(second).startswith("orders 1 backoff - - 7 - - - - - - in")
    assert second.endswith("in 4.2 s: SIGSEGV at orders/1@812 (2 of 3)")


def test_a_reading_that_nobody_has_is_never_zero() -> None:
    bare = replace(running(0), records_per_s=None, rss_bytes=None, cpu_percent=None, stats=None, uptime=None)

    assert words(rendered(snapshot(bare))[1]) == "orders 0 running 4711 - 0 - - - - - -"


def test_what_is_not_as_usual_with_a_group_has_a_line_of_its_own() -> None:
    seen = snapshot(running(0))
    text = "half-open: the others wait until slot 0 is healthy"
    failing = replace(seen, groups=(replace(seen.groups[0], condition=text),))

    assert conditions(seen) == []
    assert conditions(failing) == [f"orders: {text}"]


def test_no_value_is_cut_without_a_terminal() -> None:
    reason = "the handler 'shop.orders:process' " + "could not be loaded " * 30

    assert rendered(snapshot(down(0, SlotState.FATAL, reason.strip())))[1].endswith(reason.strip())


def test_a_narrow_terminal_cuts_no_state_and_folds_the_reason() -> None:
    reason = "five exits in a row before it was ready"

    lines = rendered(snapshot(running(0), down(1, SlotState.FATAL, reason)), width=110)

    text = " ".join(" ".join(lines).split())
    assert "fatal" in text
    assert all(word in text for word in reason.split())


@pytest.mark.parametrize(
    ("owned", "text"),
    [
        ((part(0),), "orders:0"),
        ((part(3), part(1), part(2), part(7)), "orders:1-3,7"),
        ((part(0), part(1, "refunds"), part(2)), "orders:0,2 refunds:1"),
    ],
)
def test_partitions_are_shown_as_runs_by_topic(owned: tuple[object, ...], text: str) -> None:
    assert partitions(owned) == text  # type: ignore[arg-type]


def test_a_worker_that_waits_says_what_for() -> None:
    assert remark(replace(running(0), stats=stats(part(0), waits="sink"))) == "waits: sink"
    assert remark(replace(running(0), stats=stats(part(0), waits="eof"))) == ""
    assert remark(replace(running(0), joined=False)) == "not in its group yet"


def test_figures_are_short() -> None:
    assert [count(value) for value in (0, 0.4, 31, 999.6, 12_400, 3_100_000)] == [
        "0",
        "0.4",
        "31",
        "1000",
        "12.4k",
        "3.1M",
    ]
    assert [size(value) for value in (41_000_000, 1_200_000_000)] == ["41 MB", "1.2 GB"]
