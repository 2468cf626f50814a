"""A whole worker process sets its limits before it loads the handler; no broker is needed for that."""

import resource

import psutil

from supervisor.core.exits import ExitCode
from supervisor.core.spec import LimitsSpec, Mode
from tests.worker.conftest import Start
from tests.worker.direct import group_spec

NOWHERE = "127.0.0.1:1"


def test_a_worker_has_its_limits_when_it_is_ready(start: Start) -> None:
    limits = LimitsSpec(nice=2, spread=0, rlimits={"core": 0, "nofile": 200})

    worker = start(group_spec(NOWHERE, "g", ("t",), "handlers:ok"), limits=limits)
    worker.wait(lambda: worker.of_type("ready"))

    process = psutil.Process(worker.process.pid)
    assert process.nice() == psutil.Process().nice() + 2
    assert len(process.cpu_affinity()) == 1
    assert process.rlimit(resource.RLIMIT_NOFILE) == (200, 200)
    assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)


def test_a_limit_that_cannot_be_set_is_a_wrong_configuration_told_with_its_name(start: Start) -> None:
    worker = start(group_spec(NOWHERE, "g", ("t",), "handlers:ok"), limits=LimitsSpec(rlimits={"nofile": 1 << 40}))

    assert worker.process.wait(20) == ExitCode.CONFIG
    (bye,) = worker.of_type("bye")
    assert bye["code"] == ExitCode.CONFIG
    assert bye["reason"].startswith(f"limits.rlimits.nofile = {1 << 40}: above the hard limit")
    assert not worker.of_type("ready")


def test_a_cgroup_that_is_gone_is_one_event_and_the_worker_works(start: Start) -> None:
    worker = start(group_spec(NOWHERE, "g", ("t",), "handlers:ok"), limits=LimitsSpec(cgroup="/nowhere"))

    worker.wait(lambda: worker.of_type("ready"))

    (event,) = worker.events("limits.no_cgroup")
    assert event["text"] == "cannot join cgroup /nowhere: No such file or directory"


def test_a_process_that_only_leaves_is_not_kept_from_it_by_a_limit(start: Start) -> None:
    limits = LimitsSpec(rlimits={"nofile": 1 << 40})

    worker = start(group_spec(NOWHERE, "g", ("t",), "handlers:ok"), mode=Mode.LEAVE, limits=limits)
    worker.wait(lambda: worker.of_type("hello"))
    worker.send("stop", end="leave", timeout=1.0)

    assert worker.process.wait(30) == ExitCode.FAILURE
    (bye,) = worker.of_type("bye")
    assert bye["reason"].startswith("could not leave group g")
