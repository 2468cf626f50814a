"""What a worker sets for itself: tried in processes of their own, which cannot take it back."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, os, resource, sys
from supervisor.core.jsonable import from_json
from supervisor.core.spec import LimitsSpec
from supervisor.worker.limits import LimitsError, set_limits
if len(sys.argv) > 2:
    os.setgid(65534)
    os.setuid(65534)
try:
    outside = set_limits(from_json(LimitsSpec, json.loads(sys.argv[1])))
except LimitsError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "outside": outside,
        "nice": os.nice(0),
        "cpus": sorted(os.sched_getaffinity(0)),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }))
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights to see what others may do")


def in_a_process(limits: dict[str, Any], *more: str) -> dict[str, Any]:
    done = subprocess.run(
        (sys.executable, "-c", PROGRAM, json.dumps(limits), *more),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_niceness_is_added_and_rlimits_are_set_soft_and_hard() -> None:
    found = in_a_process({"nice": 3, "rlimits": {"nofile": 123, "core": 0}})

    assert found["nice"] == os.nice(0) + 3
    assert found["nofile"] == [123, 123]
    assert found["core"] == [0, 0]


def test_nothing_is_changed_where_nothing_is_said() -> None:
    found = in_a_process({})

    assert found["nice"] == os.nice(0)
    assert found["cpus"] == sorted(os.sched_getaffinity(0))
    assert tuple(found["nofile"]) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_slots_take_processors_in_turn_and_begin_again_after_the_last() -> None:
    allowed = sorted(os.sched_getaffinity(0))

    taken = [in_a_process({"spread": place})["cpus"] for place in range(len(allowed) + 1)]

    assert taken == [[cpu] for cpu in (*allowed, allowed[0])]


def test_a_worker_keeps_to_the_processors_it_was_given() -> None:
    last = max(os.sched_getaffinity(0))

    assert in_a_process({"cpus": [last]})["cpus"] == [last]


def test_a_processor_that_is_not_there_is_named() -> None:
    error = in_a_process({"cpus": [4095]})["error"]

    assert error.startswith("limits.cpu_affinity = [4095]: ")
    assert "help: allowed here are " in error


@needs_root
def test_a_limit_beyond_the_hard_one_names_both() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    error = in_a_process({"rlimits": {"nofile": hard + 1}}, "as nobody")["error"]

    assert error == (
        f"limits.rlimits.nofile = {hard + 1}: above the hard limit ({hard});"
        " help: lower it, or raise LimitNOFILE= in the unit"
    )


@needs_root
def test_a_niceness_below_zero_without_the_right_to_it_says_what_gives_it() -> None:
    error = in_a_process({"nice": -5}, "as nobody")["error"]

    assert error.startswith("limits.nice = -5: ")
    assert "LimitNICE=" in error


def test_a_cgroup_that_is_gone_stops_no_worker(tmp_path: Path) -> None:
    found = in_a_process({"cgroup": str(tmp_path / "gone"), "nice": 1})

    assert found["outside"] == f"cannot join cgroup {tmp_path / 'gone'}: No such file or directory"
    assert found["nice"] == os.nice(0) + 1
