"""Workers that are forked from a zygote: whose children they are, what they have, and what deaths mean."""

import os
import random
import signal
from pathlib import Path

import psutil

from supervisor.core.snapshot import SlotState
from tests.conftest import Scale
from tests.process.parents import RESTLESS, Deaths, Parent, pick
from tests.waiting import is_alive, wait_until


def forking(folder: Path, groups: dict[str, int] | None = None, **policy: object) -> Parent:
    return Parent(folder, groups, start_method="fork", **policy)


def title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def zygotes(parent: Parent) -> list[int]:
    return [child.pid for child in psutil.Process(parent.pid).children() if title(child.pid) == "supervisor: zygote"]


def zygote_of(parent: Parent, *, other_than: int = 0) -> int:
    return wait_until(lambda: next((pid for pid in zygotes(parent) if pid != other_than), 0))


def descriptors(pid: int) -> dict[int, str]:
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


def children_of_workers(parent: Parent) -> list[psutil.Process]:
    return [child for child in psutil.Process(parent.pid).children() if "worker" in title(child.pid)]


def test_a_forked_worker_is_the_parents_child_and_has_only_what_is_its_own(tmp_path: Path) -> None:
    """P4: its exit is the parent's to see, and no other process holds its socketpair."""
    with forking(tmp_path, {"orders": 2}) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        parent.slot_when(SlotState.RUNNING, slot=1)
        status = Path(f"/proc/{pid}/status").read_text()
        targets = descriptors(pid)

        assert psutil.Process(pid).ppid() == parent.pid
        assert title(pid) == "supervisor: worker orders/0"
        assert os.getsid(pid) == pid
        assert os.getpgid(pid) == pid
        assert "SigBlk:\t0000000000000000" in status
        own = sorted(target.partition(":")[0] for fd, target in targets.items() if fd > 2)
        slot_file = str(parent.folder / "run" / "orders.0.slot")
        assert own == [slot_file, slot_file, "socket"], "the slot file twice (its mapping has one), the link"


def test_workers_live_on_when_the_zygote_is_killed_and_the_next_restart_works(tmp_path: Path) -> None:
    """P3, P4."""
    with forking(tmp_path, {"orders": 2}) as parent:
        before = [parent.slot_when(SlotState.RUNNING, slot=slot).pid for slot in (0, 1)]
        zygote = zygote_of(parent)

        os.kill(zygote, signal.SIGKILL)
        new = zygote_of(parent, other_than=zygote)
        assert before[0] is not None
        os.kill(before[0], signal.SIGKILL)
        after = parent.slot_when(SlotState.RUNNING, incarnation=2)

        assert new != zygote
        assert after.pid is not None
        assert title(after.pid) == "supervisor: worker orders/0"
        assert parent.slot_when(SlotState.RUNNING, slot=1).pid == before[1]
        assert [event.severity for event in parent.events("zygote.exited")] == ["warning"]


def test_a_zygote_that_dies_before_it_answers_leaves_no_worker_that_nobody_knows(tmp_path: Path) -> None:
    """P4: the unknown child finds the end of its socketpair; the slot is started again."""
    with forking(tmp_path) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        (tmp_path / "zygote").write_text("die")

        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=3)

        wait_until(lambda: len(children_of_workers(parent)) == 1)
        assert [line.incarnation for line in parent.log("start")] == [1, 3], "the lost one was told nothing"
        backoffs = [event.text for event in parent.events("slot.backoff")]
        assert any("before it answered" in text for text in backoffs), backoffs


def test_a_zygote_that_does_not_answer_is_replaced(tmp_path: Path) -> None:
    """P8."""
    with forking(tmp_path) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        (tmp_path / "zygote").write_text("stop")

        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=3, timeout=30)

        wait_until(lambda: len(children_of_workers(parent)) == 1)


def test_p8_nothing_waits_for_a_zygote_that_hangs_in_its_preload(tmp_path: Path) -> None:
    """It may have been imported well when it was checked: what it asks for may be down since."""
    (tmp_path / "hangs.py").write_text(
        "import sys, time\nif 'zygote' in ' '.join(sys.orig_argv):\n    time.sleep(600)\n"
    )
    with forking(tmp_path, preload=["hangs"]) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None

        os.kill(pid, signal.SIGKILL)

        assert "fake_worker.py" in title(parent.slot_when(SlotState.RUNNING, incarnation=2).pid or 0)
        parent.signal(signal.SIGTERM)
        assert parent.exit_code() == 0


def test_workers_are_execd_when_a_preloaded_module_starts_threads_and_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text("")
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='pump').start()\n"
    )
    with forking(tmp_path, preload=["quiet", "threaded"]) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None

        (event,) = parent.events("zygote.unfit")
        assert "importing 'threaded' started threads (1: pump)" in event.text
        assert "fake_worker.py" in title(pid)
        wait_until(lambda: zygotes(parent) == [])


def test_workers_are_execd_when_a_preloaded_module_keeps_a_file_open(tmp_path: Path) -> None:
    (tmp_path / "holder.py").write_text("file = open(__file__)\n")
    with forking(tmp_path, preload=["holder"]) as parent:
        parent.slot_when(SlotState.RUNNING)

        (event,) = parent.events("zygote.unfit")
        assert f"importing 'holder' left open: {tmp_path / 'holder.py'}" in event.text


def test_workers_are_execd_when_a_preloaded_module_cannot_be_imported(tmp_path: Path) -> None:
    with forking(tmp_path, preload=["nowhere"]) as parent:
        parent.slot_when(SlotState.RUNNING)

        (event,) = parent.events("zygote.unfit")
        assert "there is no module 'nowhere'" in event.text


def test_every_death_of_a_forked_worker_is_seen_once_and_nothing_is_left(
    tmp_path: Path, scale: Scale, rng: random.Random
) -> None:
    """P4, P7: no death is missed or told twice, no zombie, no descriptor, no thread more than before."""
    kills, slots = scale.pick(60, 200), 8
    with forking(tmp_path, {"orders": slots}, **RESTLESS) as parent:
        for slot in range(slots):
            parent.slot_when(SlotState.RUNNING, slot=slot)
        itself = psutil.Process(parent.pid)
        before, threads, killed = itself.num_fds(), itself.num_threads(), set[int]()
        deaths = Deaths(parent)

        while len(killed) < kills:
            deaths.look()
            running = parent.snapshot_when(
                lambda s: any(one.pid not in killed and one.state is SlotState.RUNNING for one in s.groups[0].slots)
            )
            for one in running.groups[0].slots:
                if one.pid not in killed and one.state is SlotState.RUNNING and one.pid and rng.random() < 0.7:
                    os.kill(one.pid, signal.SIGKILL)
                    killed.add(one.pid)
        for slot in range(slots):
            parent.snapshot_when(lambda s, n=slot: pick(s, slot=n).pid not in killed | {None})  # type: ignore[misc]
            parent.slot_when(SlotState.RUNNING, slot=slot)

        assert deaths.look().keys() == killed
        assert wait_until(lambda: len(itself.children()) == slots + 1), "workers and the zygote"
        assert [child for child in itself.children() if child.status() == psutil.STATUS_ZOMBIE] == []
        assert itself.num_threads() == threads
        assert itself.num_fds() <= before + 2, "the control socket's connections come and go"


def test_the_zygote_and_its_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    """P4: no orphan."""
    with forking(tmp_path, {"orders": 2}) as parent:
        pids = [parent.slot_when(SlotState.RUNNING, slot=slot).pid for slot in (0, 1)]
        pids.append(zygote_of(parent))

        parent.signal(signal.SIGKILL)

        wait_until(lambda: not any(is_alive(pid) for pid in pids if pid))


def test_what_a_dead_worker_left_in_a_session_of_its_own_is_ended_and_reaped(tmp_path: Path) -> None:
    """P4: as a subreaper the parent gets it; it is no worker, and no zombie either."""
    parent = forking(tmp_path)
    parent.behave("daemon")
    with parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        (line,) = wait_until(lambda: parent.log("child"))
        daemon = int(line.what.split()[1])
        parent.behave("work")

        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        wait_until(lambda: not psutil.pid_exists(daemon), 15)
        assert len(parent.events("worker.exited")) == 1


def test_p4_what_workers_left_is_ended_when_the_supervisor_ends(tmp_path: Path) -> None:
    parent = forking(tmp_path)
    parent.behave("daemon")
    with parent:
        parent.slot_when(SlotState.RUNNING)
        (line,) = wait_until(lambda: parent.log("child"))

        parent.signal(signal.SIGTERM)
        assert parent.exit_code() == 0

        assert not psutil.pid_exists(int(line.what.split()[1]))


def test_children_that_were_there_before_the_supervisor_are_left_alone(tmp_path: Path) -> None:
    """A container's entry point may start something and become the supervisor."""
    parent = forking(tmp_path)
    parent.through = ("sh", "-c", f'sleep 300 & echo $! > {tmp_path}/before; exec "$0" "$@"')
    with parent:
        before = int((tmp_path / "before").read_text())
        pid = parent.slot_when(SlotState.RUNNING).pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        parent.slot_when(SlotState.RUNNING, incarnation=2)

        looks = "parent.orphan_killed"
        assert is_alive(before)
        assert looks not in parent.errors.read_text()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(before))


def test_preloaded_modules_are_shared_and_imported_once(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        f"import os\nopen({str(tmp_path / 'imports')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    )
    with forking(tmp_path, {"orders": 3}, preload=["models"]) as parent:
        for slot in range(3):
            parent.slot_when(SlotState.RUNNING, slot=slot)

        assert (tmp_path / "imports").read_text().split() == [str(zygote_of(parent))]
