"""One slot of a real parent over fake workers is paused: what it survives, what takes it back, who is refused."""

import json
import os
import signal
from pathlib import Path

import pytest

from supervisor.control.client import Refused
from supervisor.core.snapshot import SlotState
from tests.process.parents import Parent, all_run, pick
from tests.process.test_zygote import forking, zygote_of
from tests.waiting import wait_until

ORDERS = "orders"


def words(parent: Parent, slot: int, *what: str) -> list[str]:
    """Return what a slot's workers wrote of being paused, in their order."""
    known = {"start", "start paused", "pause True", "pause False"}
    return [line.what for line in parent.log() if line.name == f"orders-{slot}" and line.what in {*known, *what}]


def starts(parent: Parent, slot: int) -> list[str]:
    """Return how each of a slot's working processes began."""
    return [line.what for line in parent.log("start") if line.name == f"orders-{slot}" and line.mode == "work"]


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def paused(parent: Parent) -> list[bool]:
    return [slot.paused for slot in parent.client.status().groups[0].slots]


def kill(parent: Parent, slot: int, incarnation: int = 1) -> None:
    """Kill a slot's worker, and wait for the next one."""
    pid = pick(parent.client.status(), slot=slot).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    parent.slot_when(SlotState.RUNNING, slot=slot, incarnation=incarnation + 1)


def test_a_paused_slot_is_paused_again_after_a_crash_a_rolling_restart_and_a_reload(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        assert parent.client.pause("orders/1").slots == ("orders/1",)
        wait_until(lambda: words(parent, 1) == ["start", "pause True"])
        kill(parent, 1)
        parent.client.restart_rolling(ORDERS)
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=3)
        wait_until(lambda: parent.client.operation(1).state == "done")
        (tmp_path / "next").write_text(json.dumps({"changes": {ORDERS: {"max_gap": 77}}}))
        parent.client.reload()
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=4)

        assert words(parent, 1)[2:] == ["start paused"] * 3
        assert set(words(parent, 0)) == {"start"}
        (group,) = parent.client.status().groups
        assert ([slot.paused for slot in group.slots], group.paused) == ([False, True], False)
        parent.client.unpause("orders/1")
        wait_until(lambda: words(parent, 1)[-1] == "pause False")
        assert paused(parent) == [False, False]


def test_one_slot_of_a_paused_group_goes_on_alone(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 3}) as parent:
        parent.snapshot_when(all_run)
        parent.client.pause(ORDERS)

        parent.client.unpause("orders/1")
        kill(parent, 1)
        kill(parent, 2)

        assert paused(parent) == [True, False, True]
        assert not parent.client.status().groups[0].paused
        assert (words(parent, 1)[-1], words(parent, 2)[-1]) == ("start", "start paused")
        parent.client.scale({ORDERS: 4})
        wait_until(lambda: paused(parent) == [True, False, True, True])


def test_a_word_of_the_group_takes_back_what_was_said_of_its_slots(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        parent.client.pause("orders/0")
        parent.client.unpause(ORDERS)
        after_resume = paused(parent)
        parent.client.pause(ORDERS)
        parent.client.unpause("orders/0")
        parent.client.pause(ORDERS)

        assert after_resume == [False, False]
        assert paused(parent) == [True, True]
        assert parent.client.status().groups[0].paused


def test_a_record_that_asks_for_a_pause_pauses_its_group_though_only_its_own_slot_goes_on(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)
        parent.client.pause(ORDERS)
        parent.client.unpause("orders/1")

        parent.have_say("orders-1", "pause", record="orders/1@8", reason="still closed")
        wait_until(lambda: paused(parent) == [True, True])

        (event,) = parent.events("group.paused")
        assert (event.slot, event.text) == (
            1,
            "paused at orders/1@8: still closed; to go on: supervisor resume orders",
        )


def test_a_slot_that_was_scaled_away_comes_back_as_its_group_is(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)
        parent.client.pause("orders/1")

        parent.client.scale({ORDERS: 1})
        parent.snapshot_when(lambda snapshot: len(snapshot.groups[0].slots) == 1)
        parent.client.scale({ORDERS: 2})
        wait_until(lambda: len(starts(parent, 1)) == 2)

        assert starts(parent, 1) == ["start", "start"]
        assert paused(parent) == [False, False]


def test_a_drain_that_is_given_up_leaves_a_paused_slot_paused(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {ORDERS: 2})
    parent.behave("holds")
    with parent:
        parent.snapshot_when(all_run)
        parent.client.pause("orders/1")

        drain = parent.client.drain(ORDERS, timeout=0.5)
        wait_until(lambda: parent.client.operation(drain.number).state == "failed")

        wait_until(lambda: words(parent, 0)[-1] == "pause False")
        assert words(parent, 1)[-1] == "pause True"
        assert paused(parent) == [False, True]


def test_who_paused_a_slot_is_told(tmp_path: Path) -> None:
    with Parent(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)

        parent.client.pause("orders/1")
        parent.client.unpause("orders/1")

        told = [event.fields for event in parent.events("operator.action")]
        assert told == [
            {"verb": verb, "target": "orders/1", "uid": os.getuid(), "pid": os.getpid()} for verb in ("pause", "resume")
        ]


def test_a_slot_that_cannot_be_paused_is_refused_with_what_to_do(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {ORDERS: 3})
    parent.behave("exit 78", "orders-2")
    with parent:
        parent.slot_when(SlotState.FATAL, slot=2)
        parent.slot_when(SlotState.RUNNING, slot=1)
        parent.client.pause("orders/1")
        parent.client.stop("orders/1")
        parent.slot_when(SlotState.STOPPED, slot=1)

        refused: dict[str, set[tuple[str, str]]] = {}
        for ask in (parent.client.pause, parent.client.unpause):
            for target in ("orders/1", "orders/2", "orders/9", "bills/0", "orders/x"):
                with pytest.raises(Refused) as caught:
                    ask(target)
                refused.setdefault(target, set()).add((str(caught.value), caught.value.help))
        with pytest.raises(Refused, match="slot orders/0 is not paused") as running:
            parent.client.unpause("orders/0")

        assert "supervisor resume orders" in running.value.help
        assert refused == {
            "orders/1": {("slot orders/1 is stopped", "to have it work: supervisor start orders/1")},
            "orders/2": {("slot orders/2 was given up", "to have it work: supervisor start orders/2")},
            "orders/9": {("group 'orders' has no slot '9'", "its slots are orders/0 to orders/2")},
            "bills/0": {("no group is called 'bills'", "groups: orders")},
            "orders/x": {("group 'orders' has no slot 'x'", "its slots are orders/0 to orders/2")},
        }
        parent.client.start("orders/1")
        wait_until(lambda: words(parent, 1)[-1] == "start paused")


def test_what_is_said_while_a_process_comes_to_be_reaches_it(tmp_path: Path) -> None:
    with forking(tmp_path, {ORDERS: 2}) as parent:
        parent.snapshot_when(all_run)
        zygote = zygote_of(parent)
        (tmp_path / "zygote").write_text("stop")  # once it has the next worker's spec, before that one is told
        pid = pick(parent.client.status(), slot=1).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_stopped(zygote))
        try:
            parent.client.pause("orders/1")
        finally:
            os.kill(zygote, signal.SIGCONT)

        wait_until(lambda: words(parent, 1)[-2:] == ["start", "pause True"])
