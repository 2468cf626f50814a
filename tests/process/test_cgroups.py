"""Cgroups of slots: a tree of plain files for the rules, the machine's own cgroup2 for what only a kernel does."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.core.spec import LimitsSpec, Mode, WorkerSpec
from supervisor.parent.processes.delegation import Delegation, delegation, own_cgroup
from supervisor.parent.slots import cgroups
from supervisor.parent.slots.cgroups import TRIES, Cgroups
from tests.process.parent_program import worker_spec
from tests.waiting import is_alive, wait_until

LIMITED = LimitsSpec(memory_max=1 << 30, cpu_quota=1.5)


class Tree:
    """A folder that looks like a delegated cgroup; whoever makes a cgroup in it finds the kernel's files there."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.told: list[str] = []
        self.cgroups = Cgroups(self.told.append, look=lambda: Delegation(base))
        for name, text in (("cgroup.procs", ""), ("cgroup.subtree_control", ""), ("cgroup.controllers", "cpu memory")):
            (base / name).write_text(text)
        for group in ("supervisor", "orders-0"):
            (base / group).mkdir()
            for name in ("cgroup.procs", "cgroup.kill", "memory.max", "cpu.max"):
                (base / group / name).touch()

    def read(self, name: str) -> str:
        return (self.base / name).read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def spec(tmp_path: Path, limits: LimitsSpec, mode: Mode = Mode.WORK) -> WorkerSpec:
    return replace(worker_spec(tmp_path, "orders", {}, 0, 1, mode), limits=limits)


def test_a_limited_worker_gets_a_cgroup_with_its_limits_and_is_told_where(tree: Tree) -> None:
    placed = tree.cgroups.placed(spec(tree.base, LIMITED))

    assert placed.limits.cgroup == str(tree.base / "orders-0")
    assert tree.read("orders-0/memory.max") == str(1 << 30)
    assert tree.read("orders-0/cpu.max") == "150000 100000"
    assert tree.read("cgroup.subtree_control") == "+cpu +memory"
    assert tree.told == []


def test_who_is_in_the_cgroup_moves_to_a_leaf_first(tree: Tree) -> None:
    (tree.base / "cgroup.procs").write_text(f"{os.getpid()}\n")

    tree.cgroups.placed(spec(tree.base, LIMITED))

    assert tree.read("supervisor/cgroup.procs").startswith(str(os.getpid()))


@pytest.mark.parametrize(("limits", "mode"), [(LimitsSpec(nice=5), Mode.WORK), (LIMITED, Mode.LEAVE)])
def test_nothing_is_touched_for_workers_that_need_none(tree: Tree, limits: LimitsSpec, mode: Mode) -> None:
    plain = spec(tree.base, limits, mode)

    assert tree.cgroups.placed(plain) == plain
    assert tree.read("cgroup.subtree_control") == ""


def test_what_is_not_delegated_is_told_once_and_the_worker_runs_without(tmp_path: Path) -> None:
    told: list[str] = []
    cgroups = Cgroups(told.append, look=lambda: Delegation(None, "cgroup /x is not ours to write"))

    for _ in range(3):
        assert cgroups.placed(spec(tmp_path, LIMITED)).limits.cgroup == ""

    (text,) = told
    assert text == (
        "memory_max and cpu_quota are not in force: cgroup /x is not ours to write;"
        " help: write Delegate=cpu memory in the unit, and ProtectControlGroups=no"
    )


def test_a_controller_that_is_missing_is_named_and_the_other_limit_holds(tree: Tree) -> None:
    (tree.base / "orders-0" / "memory.max").unlink()

    placed = tree.cgroups.placed(spec(tree.base, LIMITED))

    assert placed.limits.cgroup
    assert tree.read("orders-0/cpu.max") == "150000 100000"
    (text,) = tree.told
    assert "cannot set memory.max (memory controller): there is no such controller here" in text


@pytest.mark.parametrize(
    ("code", "failures", "tries", "is_divided"),
    [(errno.EBUSY, TRIES - 1, TRIES, True), (errno.EBUSY, TRIES, TRIES, False), (errno.EACCES, 1, 1, False)],
)
def test_children_born_meanwhile_are_moved_after_but_not_for_ever(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, *, code: int, failures: int, tries: int, is_divided: bool
) -> None:
    asked = 0

    def busy(path: Path, text: str) -> None:
        nonlocal asked
        if path.name == "cgroup.subtree_control":
            asked += 1
            if asked <= failures:
                raise OSError(code, os.strerror(code))
        path.write_text(text)

    monkeypatch.setattr(cgroups, "_write", busy)

    placed = tree.cgroups.placed(spec(tree.base, LIMITED))

    assert asked == tries
    assert bool(placed.limits.cgroup) is is_divided
    refused = f"cannot divide cgroup {tree.base}: {os.strerror(code)}"
    assert [refused in text for text in tree.told] == ([] if is_divided else [True])


def test_what_a_dead_worker_left_is_killed_by_its_cgroup(tree: Tree) -> None:
    tree.cgroups.placed(spec(tree.base, LIMITED))

    tree.cgroups.empty("orders", 0)
    tree.cgroups.empty("orders", 1)

    assert tree.read("orders-0/cgroup.kill") == "1"


class TestDelegation:
    def test_a_cgroup_that_is_ours_alone_is_delegated(self, tree: Tree) -> None:
        (tree.base / "cgroup.procs").write_text(f"{os.getpid()}\n")

        assert delegation(tree.base).base == tree.base

    def test_in_a_leaf_of_that_name_the_one_above_is_ours(self, tree: Tree) -> None:
        assert delegation(tree.base / "supervisor").base == tree.base

    def test_a_cgroup_with_strangers_in_it_is_not(self, tree: Tree) -> None:
        (tree.base / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")

        assert "other processes share cgroup" in delegation(tree.base).reason

    def test_a_cgroup_without_its_files_is_not(self, tmp_path: Path) -> None:
        assert "is not ours to write" in delegation(tmp_path / "nothing").reason

    def test_root_under_systemd_believes_only_the_mark_of_delegation(
        self, tree: Tree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("INVOCATION_ID", "x")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "getxattr", lambda *_: b"0")
        assert "systemd has not delegated" in delegation(tree.base).reason

        monkeypatch.setattr(os, "getxattr", lambda *_: b"1")
        assert delegation(tree.base).base == tree.base

    @pytest.mark.parametrize(
        ("cgroup", "mount", "expected"),
        [
            ("0::/system.slice/x.service", "/ /sys/fs/cgroup", "/sys/fs/cgroup/system.slice/x.service"),
            ("1:cpu:/\n0::/", "/ /sys/fs/cgroup/unified", "/sys/fs/cgroup/unified"),
            ("0::/a/b", "/a /mnt", "/mnt/b"),
            ("0::/b", "/a /mnt", None),
            ("1:cpu:/", "/ /sys/fs/cgroup", None),
        ],
    )
    def test_our_cgroup_is_found_where_it_is_mounted(
        self, tmp_path: Path, cgroup: str, mount: str, expected: str | None
    ) -> None:
        (tmp_path / "cgroup").write_text(cgroup)
        (tmp_path / "mountinfo").write_text(
            f"30 24 0:26 / /proc rw - proc proc rw\n31 24 0:27 {mount} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
        )

        found = own_cgroup(tmp_path)

        assert found == (None if expected is None else Path(expected))


@pytest.fixture
def real() -> Iterator[Path]:
    """Return a new cgroup of the machine's own, ours as long as the test runs."""
    above = own_cgroup()
    if above is None or not os.access(above, os.W_OK):
        pytest.skip("no cgroup v2 that may be written here; needs root or a delegated cgroup")
    base = above / f"supervisor-test-{os.getpid()}"
    base.mkdir()
    yield base
    for folder in (*base.glob("*/"), base):
        if (folder / "cgroup.kill").exists():
            (folder / "cgroup.kill").write_text("1")
    for folder in (*base.glob("*/"), base):
        wait_until(lambda folder=folder: not (folder / "cgroup.procs").read_text())  # type: ignore[misc]
        folder.rmdir()


JOINER = """
import os, subprocess, sys
from supervisor.core.spec import LimitsSpec
from supervisor.worker.limits import set_limits
assert set_limits(LimitsSpec(cgroup=sys.argv[1])) == ""
child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_a_worker_joins_its_cgroup_and_what_it_leaves_dies_with_it_though_in_a_session_of_its_own(real: Path) -> None:
    told: list[str] = []
    cgroups = Cgroups(told.append, look=lambda: Delegation(real))
    placed = cgroups.placed(spec(real, LIMITED))

    worker = subprocess.Popen(
        (sys.executable, "-c", JOINER, placed.limits.cgroup), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    grandchild = int(worker.stdout.readline())
    procs = Path(placed.limits.cgroup) / "cgroup.procs"
    assert procs.read_text().split() == [str(worker.pid), str(grandchild)]
    worker.kill()
    worker.communicate(timeout=10)
    assert is_alive(grandchild)

    cgroups.empty("orders", 0)

    wait_until(lambda: not is_alive(grandchild))
    wait_until(lambda: not procs.read_text())
    cgroups.close()
    assert not procs.parent.exists()


def test_the_kernel_kills_a_worker_over_its_memory_max_and_says_so(real: Path) -> None:
    if "memory" not in (real / "cgroup.controllers").read_text().split():
        pytest.skip("cgroup v2 has no memory controller here: the machine keeps it in a v1 hierarchy")
    told: list[str] = []
    cgroups = Cgroups(told.append, look=lambda: Delegation(real))
    placed = cgroups.placed(spec(real, LimitsSpec(memory_max=64 << 20)))
    program = f"open({str(Path(placed.limits.cgroup) / 'cgroup.procs')!r}, 'w').write('0'); x = b'x' * (256 << 20)"

    done = subprocess.run((sys.executable, "-c", program), check=False, timeout=60)

    assert told == []
    assert done.returncode == -signal.SIGKILL
    assert "oom_kill 1" in (Path(placed.limits.cgroup) / "memory.events").read_text()
