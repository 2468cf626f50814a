"""Conditions read off snapshots: when people are told, and when it is over."""

from dataclasses import replace

import pytest

from supervisor.core.conditions import CLEAR, Change, Conditions, Kind, Rule
from supervisor.core.events import Severity
from supervisor.core.lag import GroupLag
from supervisor.core.snapshot import BreakerSnapshot, FloodSnapshot, GroupSnapshot, SlotSnapshot, SlotState, Snapshot
from supervisor.core.worker_stats import WorkerStats

RULES = {
    Kind.WORKER_DOWN: Rule(Severity.WARNING, 60.0),
    Kind.GROUP_DOWN: Rule(Severity.CRITICAL, 0.0),
    Kind.NO_PROGRESS: Rule(Severity.CRITICAL, 300.0),
    Kind.LAG: Rule(Severity.WARNING, 60.0, above=100.0),
    Kind.OLDEST_RECORD: Rule(Severity.WARNING, 0.0, above=900.0),
    Kind.DEAD_LETTERS: Rule(Severity.WARNING, 0.0, above=10.0),
    Kind.COMMITS_FAILING: Rule(Severity.WARNING, 120.0),
    Kind.BROKER_UNREACHABLE: Rule(Severity.WARNING, 30.0),
    Kind.DEPENDENCY_DOWN: Rule(Severity.CRITICAL, 0.0),
    Kind.FLOOD: Rule(Severity.CRITICAL, 0.0),
}


def slot(number: int = 0, state: SlotState = SlotState.RUNNING, **stats: object) -> SlotSnapshot:
    told = WorkerStats(**stats) if state is SlotState.RUNNING else None  # type: ignore[arg-type]
    return SlotSnapshot("orders", number, state, reason="" if told else "SIGSEGV", stats=told)


def snapshot(*slots: SlotSnapshot, lag: int | None = None, paused: bool = False) -> Snapshot:
    group = GroupSnapshot(
        "orders", ("orders",), len(slots), slots, paused=paused, lag=None if lag is None else GroupLag(total=lag)
    )
    return Snapshot("web-1", "1", 1, at=0.0, uptime=0.0, groups=(group,))


def held(well: Snapshot, **why: object) -> Snapshot:
    return replace(well, groups=tuple(replace(one, **why) for one in well.groups))  # type: ignore[arg-type]


HELD = {
    "an operator": {"paused": True},
    "a breaker": {"breaker": BreakerSnapshot("payments", 0.0, 0, 1.0)},
    "a flood guard": {"flood": FloodSnapshot("tripped", "100 dead letters in a row", 0.0, "pause")},
}


def kinds(changes: tuple[Change, ...]) -> list[tuple[Kind, bool]]:
    return [(one.finding.kind, one.is_firing) for one in changes]


def test_a_worker_that_stays_down_is_told_after_its_time_and_once() -> None:
    conditions = Conditions(RULES)
    down = snapshot(slot(0), slot(1, SlotState.BACKOFF))

    assert conditions.look(down, now=0.0) == ()
    assert conditions.look(down, now=59.0) == ()
    (change,) = conditions.look(down, now=60.0)
    assert (change.finding.kind, change.finding.slot, change.since) == (Kind.WORKER_DOWN, 1, 0.0)
    assert change.finding.text == "backoff: SIGSEGV"
    assert conditions.look(down, now=61.0) == ()
    assert [one.finding.kind for one in conditions.firing] == [Kind.WORKER_DOWN]


def test_what_passes_quickly_is_never_told() -> None:
    conditions = Conditions(RULES)
    for now in range(0, 1000, 50):
        state = SlotState.BACKOFF if now % 100 else SlotState.RUNNING
        assert conditions.look(snapshot(slot(0), slot(1, state)), now=float(now)) == ()


def test_a_condition_is_over_when_it_was_not_true_for_a_while() -> None:
    conditions = Conditions(RULES)
    down, up = snapshot(slot(0), slot(1, SlotState.FATAL)), snapshot(slot(0), slot(1))
    conditions.look(down, now=0.0)
    conditions.look(down, now=60.0)

    assert conditions.look(up, now=61.0) == ()
    assert conditions.look(down, now=62.0) == ()
    assert conditions.look(up, now=62.0 + CLEAR - 1) == ()
    assert kinds(conditions.look(up, now=62.0 + CLEAR)) == [(Kind.WORKER_DOWN, False)]
    assert conditions.firing == ()


def test_a_group_without_a_worker_is_told_at_once() -> None:
    (change,) = Conditions(RULES).look(snapshot(slot(0, SlotState.FATAL)), now=0.0)

    assert (change.finding.kind, change.severity) == (Kind.GROUP_DOWN, Severity.CRITICAL)
    assert change.finding.text == "no worker runs: SIGSEGV"


def test_a_group_that_is_stopped_is_not_down_while_its_places_are_given_up() -> None:
    leaving = slot(0, SlotState.LEAVING)
    ordered, given_up = replace(leaving, after=SlotState.STOPPED), replace(leaving, after=SlotState.FATAL)

    assert Conditions(RULES).look(snapshot(ordered), now=0.0) == ()
    assert kinds(Conditions(RULES).look(snapshot(given_up), now=0.0)) == [(Kind.GROUP_DOWN, True)]


def test_a_group_that_was_stopped_by_somebody_is_no_condition() -> None:
    assert Conditions(RULES).look(snapshot(slot(0, SlotState.STOPPED)), now=0.0) == ()


def test_p7_records_that_wait_while_none_is_settled_are_told() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(settled=5, lag=7)), now=0.0)
    conditions.look(snapshot(slot(settled=6, lag=7)), now=100.0)
    stuck = snapshot(slot(settled=6, lag=7, waits="sink"))

    assert conditions.look(stuck, now=101.0) == ()
    (change,) = conditions.look(stuck, now=401.0)
    assert (change.finding.kind, change.finding.value) == (Kind.NO_PROGRESS, 7)
    assert change.finding.text == "7 records wait and none is settled; workers say: sink"


@pytest.mark.parametrize(
    "still",
    [
        snapshot(slot(settled=6)),
        snapshot(slot(settled=6, lag=7), paused=True),
        snapshot(slot(settled=6), lag=1_000_000_000),
    ],
    ids=["nothing to do", "paused by an operator", "the backlog is another host's"],
)
def test_a_group_that_owes_nothing_is_not_told(still: Snapshot) -> None:
    conditions = Conditions({Kind.NO_PROGRESS: RULES[Kind.NO_PROGRESS]})
    for now in range(0, 1000, 100):
        assert conditions.look(still, now=float(now)) == ()


@pytest.mark.parametrize("why", HELD.values(), ids=HELD)
def test_a_group_that_is_held_is_told_by_its_cause_alone(why: dict[str, object]) -> None:
    conditions = Conditions(RULES)
    stuck = snapshot(slot(settled=6, lag=7, queued=3, oldest=5000.0, waits="dependency"))
    conditions.look(held(stuck, **why), now=0.0)
    for now in range(5, 5000, 5):
        assert conditions.look(held(stuck, **why), now=float(now)) == ()

    after = {
        kind for now in range(5000, 6000, 5) for kind, is_firing in kinds(conditions.look(stuck, now=now)) if is_firing
    }
    assert after == {Kind.NO_PROGRESS, Kind.OLDEST_RECORD}, "nothing holds it any more"


def test_a_group_that_is_let_go_has_its_time_to_work_what_became_old_meanwhile() -> None:
    conditions = Conditions(RULES)
    old = snapshot(slot(settled=6, oldest=5000.0))
    conditions.look(held(old, paused=True), now=0.0)

    assert conditions.look(old, now=900.0) == ()
    assert kinds(conditions.look(old, now=901.0)) == [(Kind.OLDEST_RECORD, True)]


def paused(one: SlotSnapshot) -> SlotSnapshot:
    return replace(one, paused=True)


def test_what_waits_for_a_slot_that_is_paused_singly_is_not_told() -> None:
    conditions = Conditions(RULES)
    held_back = paused(slot(1, settled=3, lag=7, queued=3, oldest=5000.0, waits="paused"))

    for now in range(0, 5000, 5):
        assert conditions.look(snapshot(slot(0, settled=6), held_back), now=float(now)) == ()


def test_a_slot_that_is_paused_hides_nothing_of_the_others() -> None:
    conditions = Conditions(RULES)
    held_back = paused(slot(1, settled=3, lag=900, oldest=5000.0, waits="paused"))
    stuck = snapshot(slot(0, settled=6, lag=7, oldest=901.0, waits="sink"), held_back)
    conditions.look(stuck, now=0.0)
    conditions.look(stuck, now=5.0)

    told = {one.finding.kind: one.finding.text for one in conditions.look(stuck, now=305.0)}

    assert told == {Kind.NO_PROGRESS: "7 records wait and none is settled; workers say: sink"}
    assert {one.finding.kind: one.finding.text for one in conditions.firing} == {
        **told,
        Kind.OLDEST_RECORD: "a record was delivered 15m1s ago and is not settled",
    }


def test_a_slot_that_goes_on_has_its_time_to_work_what_became_old_meanwhile() -> None:
    conditions = Conditions(RULES)
    old = slot(1, settled=6, lag=7, oldest=5000.0)
    conditions.look(snapshot(slot(0, settled=6), paused(old)), now=0.0)

    for now in range(5, 301, 5):
        assert conditions.look(snapshot(slot(0, settled=6), old), now=float(now)) == ()
    changes = [
        change for now in range(305, 905, 5) for change in conditions.look(snapshot(slot(0, settled=6), old), now=now)
    ]
    assert kinds(tuple(changes)) == [(Kind.NO_PROGRESS, True)]
    assert kinds(conditions.look(snapshot(slot(0, settled=6), old), now=905.0)) == [(Kind.OLDEST_RECORD, True)]


def test_a_group_that_sheds_a_flood_is_not_held() -> None:
    conditions = Conditions({Kind.NO_PROGRESS: RULES[Kind.NO_PROGRESS]})
    shedding = FloodSnapshot("tripped", "100 dead letters in a row", 0.0, "shed")
    stuck = held(snapshot(slot(settled=6, lag=7)), flood=shedding)
    for now in (0.0, 5.0):
        conditions.look(stuck, now=now)

    assert kinds(conditions.look(stuck, now=305.0)) == [(Kind.NO_PROGRESS, True)]


def test_a_worker_that_begins_anew_makes_progress_with_its_first_records() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(settled=1000, lag=7)), now=0.0)
    conditions.look(snapshot(slot(settled=3, lag=7)), now=299.0)

    assert conditions.look(snapshot(slot(settled=3, lag=7)), now=301.0) == ()


def test_lag_above_its_limit_is_told_and_without_a_limit_never() -> None:
    behind = snapshot(slot(settled=1), lag=101)
    conditions, unlimited = Conditions(RULES), Conditions({Kind.LAG: replace(RULES[Kind.LAG], above=None)})
    for one in (conditions, unlimited):
        one.look(behind, now=0.0)

    assert kinds(conditions.look(behind, now=60.0)) == [(Kind.LAG, True)]
    assert unlimited.look(behind, now=60.0) == ()


def test_lag_that_nobody_can_read_now_is_neither_told_nor_over() -> None:
    conditions = Conditions(RULES)
    high = snapshot(slot(), lag=101)
    unread = replace(high, groups=(replace(high.groups[0], lag=GroupLag(trouble="no broker answers")),))

    conditions.look(high, now=0.0)
    assert kinds(conditions.look(unread, now=100.0)) == []
    conditions.look(high, now=200.0)
    assert kinds(conditions.look(high, now=260.0)) == [(Kind.LAG, True)]

    assert kinds(conditions.look(unread, now=261.0)) == []
    assert kinds(conditions.look(unread, now=3600.0)) == []
    assert kinds(conditions.look(snapshot(slot(), lag=3), now=3601.0)) == []
    assert kinds(conditions.look(snapshot(slot(), lag=3), now=3600.0 + CLEAR + 1)) == [(Kind.LAG, False)]


def test_dead_letters_are_counted_over_a_minute_of_all_workers() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(0, dead_lettered=100), slot(1)), now=0.0)

    assert conditions.look(snapshot(slot(0, dead_lettered=105), slot(1, dead_lettered=5)), now=10.0) == ()
    (change,) = conditions.look(snapshot(slot(0, dead_lettered=106), slot(1, dead_lettered=5)), now=20.0)
    assert (change.finding.kind, change.finding.value) == (Kind.DEAD_LETTERS, 11)


def test_an_old_record_is_told() -> None:
    (change,) = Conditions(RULES).look(snapshot(slot(settled=1, oldest=901.0)), now=0.0)

    assert change.finding.text == "a record was delivered 15m1s ago and is not settled"


def test_commits_that_only_fail_are_told_with_their_codes() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(commits=5)), now=0.0)
    conditions.look(snapshot(slot(commits=5, commit_errors={"NOT_COORDINATOR": 1})), now=10.0)
    failing = snapshot(slot(commits=5, commit_errors={"NOT_COORDINATOR": 9}))

    (change,) = conditions.look(failing, now=130.0)
    assert change.finding.text == "no commit succeeds: NOT_COORDINATOR (9)"


def test_a_commit_that_failed_long_ago_is_no_condition() -> None:
    conditions = Conditions(RULES)
    idle = snapshot(slot(commits=5, commit_errors={"NOT_COORDINATOR": 1}))
    conditions.look(snapshot(slot(commits=4, commit_errors={"NOT_COORDINATOR": 1})), now=0.0)
    for now in range(0, 1000, 100):
        assert conditions.look(idle, now=float(now)) == ()


def test_an_unreachable_broker_is_told() -> None:
    conditions = Conditions(RULES)
    away = snapshot(slot(waits="broker"))
    conditions.look(away, now=0.0)

    assert kinds(conditions.look(away, now=30.0)) == [(Kind.BROKER_UNREACHABLE, True)]


def test_what_is_no_rule_any_more_is_over_at_once() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(0, SlotState.FATAL)), now=0.0)
    conditions.replan({})

    assert kinds(conditions.look(snapshot(slot(0, SlotState.FATAL)), now=1.0)) == [(Kind.GROUP_DOWN, False)]


def test_slots_and_groups_that_are_gone_are_forgotten() -> None:
    conditions = Conditions(RULES)
    conditions.look(snapshot(slot(0, SlotState.FATAL)), now=0.0)
    empty = replace(snapshot(), groups=())

    assert kinds(conditions.look(empty, now=CLEAR)) == [(Kind.GROUP_DOWN, False)]


def test_a_dependency_that_is_down_is_told_and_its_end_with_the_same_urgency() -> None:
    conditions = Conditions(RULES)
    well = snapshot(slot(0))
    (group,) = well.groups
    down = replace(well, groups=(replace(group, breaker=BreakerSnapshot("payments", 0.0, 0, 1.0)),))

    (began,) = conditions.look(down, now=0.0)
    assert (began.finding.kind, began.finding.slot) == (Kind.DEPENDENCY_DOWN, None)
    assert began.finding.text.startswith("payments is down")
    assert conditions.look(down, now=3600.0) == ()
    (ended,) = conditions.look(well, now=3600.0 + CLEAR)
    assert (ended.finding.kind, ended.severity, ended.is_firing) == (Kind.DEPENDENCY_DOWN, Severity.CRITICAL, False)


def test_a_flood_is_one_condition_also_while_a_few_records_try() -> None:
    conditions = Conditions(RULES)
    well = snapshot(slot(0))
    (group,) = well.groups
    for at, state in enumerate(("tripped", "half-open", "tripped", "stopped")):
        flood = FloodSnapshot(state, "100 dead letters in a row", 0.0, "pause")
        changes = conditions.look(replace(well, groups=(replace(group, flood=flood),)), now=60.0 * at)
        assert kinds(changes) == ([(Kind.FLOOD, True)] if at == 0 else [])

    assert kinds(conditions.look(well, now=300.0)) == [(Kind.FLOOD, False)]
