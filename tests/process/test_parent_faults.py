"""The matrix of faults: what a worker or a machine may do, and that its slot gets over it."""

import os
import random
import resource
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from supervisor.core.snapshot import SlotState
from tests.conftest import Scale
from tests.process.parents import RESTLESS, Deaths, Parent
from tests.waiting import is_alive, wait_until

STORM = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("verb", "limits", "seen", "last"),
    [
        ("stall", {"stall_timeout": 1.0}, "records wait to be worked and none is begun for", "dump"),
        ("gil", {"tick_timeout": 1.0}, "the poll loop stands still for", "abort"),
        ("tickless", {"tick_timeout": 1.0}, "the poll loop stands still for", "dump"),
        ("unplug", {"hung_timeout": 0.5}, "its connection to the supervisor is closed, and it goes on", "term"),
    ],
)
def test_each_way_to_hang_is_found_named_and_ended_on_the_rung_it_takes(
    tmp_path: Path, verb: str, limits: dict[str, float], seen: str, last: str
) -> None:
    parent = Parent(tmp_path, None, **limits)
    parent.behave(verb)
    with parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        parent.behave("work")
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        assert parent.events("worker.hung")[0].text.startswith(seen)
        (death,) = parent.events("worker.exited")
        assert (death.fields["class"], death.fields["rung"]) == ("hung", last)
        assert not is_alive(pid)


@pytest.mark.parametrize(
    ("code", "kind", "state"),
    [
        (0, "clean", SlotState.RUNNING),
        (1, "crash", SlotState.RUNNING),
        (3, "crash", SlotState.RUNNING),
        (75, "recycle", SlotState.RUNNING),
        (78, "config", SlotState.FATAL),
    ],
)
def test_each_exit_code_of_a_ready_worker_has_its_class_and_what_follows(
    tmp_path: Path, code: int, kind: str, state: SlotState
) -> None:
    with Parent(tmp_path, {"orders": 1, "bills": 1}) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        parent.behave(f"quit {code}", "orders-0")
        parent.client.restart("orders/0")
        wait_until(lambda: len(parent.events("worker.exited")) >= 2)
        parent.behave("work", "orders-0")
        parent.slot_when(state)

        own = [event for event in parent.events("worker.exited") if event.fields["mode"] == "work"][1]
        assert (own.fields["class"], own.fields["status"]) == (kind, code)
        assert own.fields["pid"] != pid


def test_a_worker_that_writes_megabytes_to_its_streams_holds_nobody(tmp_path: Path) -> None:
    parent = Parent(tmp_path, {"orders": 2})
    parent.behave("chatter", "orders-1")
    with parent:
        parent.slot_when(SlotState.RUNNING, slot=0)
        parent.slot_when(SlotState.RUNNING, slot=1)

        wait_until(lambda: parent.errors.stat().st_size > 8 << 20)
        assert parent.events("worker.exited") == []


def test_processes_that_cannot_be_made_are_tried_again_until_they_can(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}, failover_after=60.0) as parent:
        pid = parent.slot_when(SlotState.RUNNING, slot=1).pid
        assert pid is not None
        usual = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)
        open_now = len(list(Path(f"/proc/{parent.pid}/fd").iterdir()))

        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (open_now - 2, usual[1]))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "cannot start a process: " in parent.errors.read_text())
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, usual)

        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)
        assert parent.slot_when(SlotState.RUNNING, slot=0).incarnation == 1
        assert "Too many open files" in next(event.text for event in parent.events("slot.backoff"))


@pytest.mark.parametrize("start_method", ["fork", "exec"])
def test_a_parent_without_descriptors_says_so_once_supervises_on_and_answers_when_there_are_some(
    tmp_path: Path, start_method: str
) -> None:
    policy = {"start_method": start_method, "backoff": [1.5, 2.0, 3.0, 0.0], "failover_after": 60.0}
    with Parent(tmp_path, {"orders": 2}, **policy) as parent, ExitStack() as stack:
        pid = parent.slot_when(SlotState.RUNNING, slot=1).pid
        assert pid is not None
        parent.slot_when(SlotState.RUNNING, slot=0)
        usual = resource.prlimit(parent.pid, resource.RLIMIT_NOFILE)

        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (3, usual[1]))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(str(parent.client_socket))
        wait_until(lambda: "control.unreachable" in parent.errors.read_text())
        os.kill(pid, signal.SIGKILL)
        # Three tries to start it: more than 4 s, in which asyncio tries to accept again and every slot is sampled.
        wait_until(lambda: parent.errors.read_text().count("cannot start a process: ") >= 3, 30)
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, usual)

        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)
        assert parent.slot_when(SlotState.RUNNING, slot=0).incarnation == 1
        wait_until(lambda: parent.events("control.reachable"))
        (told,) = parent.events("control.unreachable")
        assert told.text.startswith("no connection can be taken: Too many open files; ")
        assert told.fields == {"open_files_limit": 3}
        assert "Traceback" not in parent.errors.read_text()


@pytest.mark.parametrize("seconds", [-86400.0, 86400.0], ids=["back", "forth"])
def test_a_wall_clock_that_is_set_kills_nobody_and_moves_no_restart(tmp_path: Path, seconds: float) -> None:
    limits = {"tick_timeout": 4.0, "handler_timeout": 4.0, "start_timeout": 4.0, "stall_timeout": 4.0}
    waits = [2.0, 1.0, 2.0, 0.0]
    with Parent(tmp_path, {"orders": 2}, backoff=waits, failover_after=60.0, **limits) as parent:
        before = parent.slot_when(SlotState.RUNNING, slot=0)
        for incarnation in (1, 2):
            pid = parent.slot_when(SlotState.RUNNING, slot=1, incarnation=incarnation).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.BACKOFF, slot=1)
        began = time.monotonic()

        (tmp_path / "clock").write_text(str(seconds))
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=3)
        took = time.monotonic() - began
        wait_until(lambda: time.monotonic() > began + 6.0, 10)  # beyond every limit that could be taken for over

        assert took > 1.0, "it waits its time"
        assert abs(parent.client.status().at - time.time() - seconds) < 60, "the parent sees that clock"
        assert parent.events("worker.hung") == []
        after = parent.slot_when(SlotState.RUNNING, slot=0)
        assert (after.pid, after.incarnation) == (before.pid, before.incarnation)
        assert len([one for one in parent.events("worker.exited") if one.slot == 1]) == 2


def test_p4_p7_every_death_in_a_storm_of_signals_is_seen_once_and_nothing_is_left(
    tmp_path: Path, rng: random.Random, scale: Scale
) -> None:
    """P4, P7: 1,000 signals under --long; no zombie, no orphan, no descriptor or thread more."""
    signals = scale.pick(150, 1000)
    with Parent(tmp_path, {"orders": 4, "bills": 2}, **RESTLESS) as parent:
        for number in range(4):
            parent.slot_when(SlotState.RUNNING, slot=number)
        proc = Path(f"/proc/{parent.pid}")
        descriptors, threads = len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))
        struck: dict[int, signal.Signals] = {}
        deaths, sent = Deaths(parent), 0
        deadline = time.monotonic() + scale.pick(120, 1000)
        while sent < signals:
            assert time.monotonic() < deadline, f"{sent} of {signals} signals"
            sent += strike(parent, struck, rng)
            deaths.look()

        wait_until(lambda: len(deaths.look()) >= len(struck), 30)
        for group, slots in (("orders", 4), ("bills", 2)):
            for number in range(slots):
                parent.slot_when(SlotState.RUNNING, slot=number, group=group)

        assert deaths.seen.keys() == struck.keys()
        ended = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)
        assert all(deaths.seen[pid].fields["status"] == -number for pid, number in struck.items() if number in ended)
        assert not any(is_alive(pid) for pid in struck)
        wait_until(lambda: len(list((proc / "fd").iterdir())) <= descriptors + 1)
        assert len(list((proc / "task").iterdir())) == threads
        children = psutil.Process(parent.pid).children()
        assert len(children) == 6
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in children)


def strike(parent: Parent, struck: dict[int, signal.Signals], rng: random.Random) -> int:
    """Send a random signal to each running worker that got none; return how many. A stopped one goes on."""
    sent = 0
    for group in parent.client.status().groups:
        for slot in group.slots:
            if slot.pid is None or slot.state is not SlotState.RUNNING or slot.pid in struck:
                continue
            number = rng.choice(STORM)
            os.kill(slot.pid, number)
            if number is signal.SIGSTOP:
                os.kill(slot.pid, signal.SIGCONT)
            else:
                struck[slot.pid] = number
            sent += 1
    return sent
