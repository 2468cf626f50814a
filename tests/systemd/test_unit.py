"""The unit that we ship, under a real systemd."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.systemd.machine import Machine
from tests.systemd.unit import DEPLOY, ETC, NAME, InstalledUnit
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(240)


def watched(unit: InstalledUnit, seconds: int) -> None:
    unit.drop_in("watchdog", f"[Service]\nWatchdogSec={seconds}\n")


def test_it_is_started_when_the_supervisor_is_ready_and_shows_its_state(unit: InstalledUnit) -> None:
    unit.start()

    assert unit.show("ActiveState") == "active"
    assert unit.slot()["group"] == "orders"
    unit.show_when("StatusText", "1/1 groups ok, 1/1 workers running")
    assert unit.show("OOMPolicy") == "continue"


def test_a_wrong_configuration_is_refused_and_not_tried_again(unit: InstalledUnit) -> None:
    unit.machine.write(f"{ETC}/supervisor.toml", "[groups.orders]\ntopics = 7\n")

    unit.machine.run("systemctl", "daemon-reload")
    assert unit.systemctl("start", check=False).returncode != 0

    assert unit.show("ExecMainStatus") == "78"
    assert unit.show("ActiveState") == "failed"


def test_a_handler_that_cannot_be_loaded_is_refused_and_not_tried_again(unit: InstalledUnit) -> None:
    unit.machine.write(f"{ETC}/handlers.py", "import nothing_of_that_name\n")

    unit.machine.run("systemctl", "daemon-reload")
    assert unit.systemctl("start", check=False).returncode != 0

    assert unit.show("ExecMainStatus") == "78"
    assert unit.show("ActiveState") == "failed"  # not "activating", which is the way to another start


def test_a_wedged_supervisor_is_killed_by_the_watchdog_and_started_again(unit: InstalledUnit) -> None:
    watched(unit, 3)
    unit.start()
    first = unit.show("MainPID")

    unit.machine.run("kill", "-STOP", first)

    unit.show_when("NRestarts", "1")
    unit.show_when("ActiveState", "active")
    assert unit.show("MainPID") != first
    wait_until(lambda: unit.slot()["state"] == "running", 30, every=0.2)
    assert "Fatal Python error: Aborted" in unit.log()


def test_a_broker_that_is_away_never_withholds_the_watchdog(unit: InstalledUnit) -> None:
    """DESIGN: the watchdog is the parent's own duty; an outage must not restart the host's other groups."""
    watched(unit, 3)
    unit.start()
    begun = int(unit.show("ActiveEnterTimestampMonotonic"))

    wait_until(lambda: int(unit.show("WatchdogTimestampMonotonic")) > begun + 10_000_000, 40, every=0.5)

    assert unit.show("ActiveState") == "active"
    assert unit.show("NRestarts") == "0"


def test_a_worker_that_is_stopped_never_withholds_the_watchdog(unit: InstalledUnit) -> None:
    watched(unit, 3)
    unit.start()
    wait_until(lambda: unit.slot()["state"] == "running", 30, every=0.2)
    unit.machine.run("kill", "-STOP", str(unit.slot()["pid"]))
    begun = int(unit.show("WatchdogTimestampMonotonic"))

    wait_until(lambda: int(unit.show("WatchdogTimestampMonotonic")) > begun + 7_000_000, 40, every=0.5)

    assert unit.show("NRestarts") == "0"


def test_records_are_worked_inside_the_hardening(unit: InstalledUnit, broker: RealBroker, name: str) -> None:
    """librdkafka, ctypes callbacks and psutil under MemoryDenyWriteExecute= and the system call filter."""
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, [b"x"] * 20)
    unit.configure(broker.bootstrap, topic=name, group=name)
    unit.start()

    assert unit.seen_when(20) == [(0, offset) for offset in range(20)]
    wait_until(lambda: unit.slot()["rss_bytes"], 15, every=0.2)


def test_a_restart_repeats_and_loses_nothing(unit: InstalledUnit, broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, [b"sleep 0.01"] * 300)
    unit.configure(broker.bootstrap, topic=name, group=name)
    unit.start()
    unit.seen_when(20)

    unit.systemctl("restart")

    seen = unit.seen_when(300)
    assert seen == [(0, offset) for offset in range(300)]  # not one twice


def test_a_stop_that_takes_longer_than_systemd_would_wait_gets_its_time(
    unit: InstalledUnit, broker: RealBroker, name: str
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, [b"sleep 5"])
    unit.configure(broker.bootstrap, topic=name, group=name)
    unit.drop_in("hasty", "[Service]\nTimeoutStopSec=2\n")
    unit.start()
    unit.seen_when(1)

    unit.systemctl("stop")

    assert unit.show("Result") == "success"
    assert unit.show("ExecMainStatus") == "0"


def test_a_reload_is_over_when_the_new_configuration_is_in_place_and_fails_where_the_old_one_stays(
    unit: InstalledUnit,
) -> None:
    unit.start()
    wait_until(lambda: unit.slot()["state"] == "running", 20, every=0.2)
    main, slot = unit.show("MainPID"), unit.slot()

    unit.configure("127.0.0.1:1", workers=2)
    unit.systemctl("reload")

    assert len(unit.status()["groups"][0]["slots"]) == 2
    assert unit.slot()["pid"] == slot["pid"]
    unit.configure("127.0.0.1:1", workers=-2)
    assert unit.systemctl("reload", check=False).returncode != 0
    unit.show_when("ActiveState", "active")
    assert unit.show("MainPID") == main
    assert len(unit.status()["groups"][0]["slots"]) == 2


def test_a_dynamic_user_will_do(unit: InstalledUnit, broker: RealBroker, name: str) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, [b"x"])
    unit.configure(broker.bootstrap, topic=name, group=name)
    unit.drop_in("user", "[Service]\nUser=\nDynamicUser=yes\n")
    unit.start()

    unit.seen_when(1)
    assert unit.show("DynamicUser") == "yes"
    assert unit.show("UID") not in {"0", "[not set]"}


def test_credentials_are_files_that_the_configuration_refers_to(unit: InstalledUnit) -> None:
    unit.machine.write(f"{ETC}/kafka-password", "secret-word\n")
    unit.machine.run("chmod", "600", f"{ETC}/kafka-password")
    text = unit.machine.run("cat", f"{ETC}/supervisor.toml").stdout
    settings = '"sasl.password" = "file:${CREDENTIALS_DIRECTORY}/kafka-password"\n'
    unit.machine.write(f"{ETC}/supervisor.toml", text.replace("[groups.", f"{settings}\n[groups.", 1))
    unit.drop_in("secret", f"[Service]\nLoadCredential=kafka-password:{ETC}/kafka-password\n")

    unit.start()

    assert "secret-word" not in unit.log()


@contextlib.contextmanager
def memory_limit(machine: Machine, unit: InstalledUnit, pid: int) -> Iterator[None]:
    """Make the kernel kill what grows beyond 150 MB: the unit's own limit, or one of the older cgroups'."""
    controllers = machine.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout.split()
    if "memory" in controllers:
        unit.systemctl("set-property", "--runtime", "MemoryMax=400M", "MemorySwapMax=0", check=False)
        yield
        return
    top = Path("/sys/fs/cgroup/memory")
    if not (top / "memory.limit_in_bytes").exists():
        pytest.skip("neither generation of cgroups limits memory here")
    own = top / f"systemd-test-{secrets.token_hex(4)}"
    own.mkdir()
    try:
        (own / "memory.limit_in_bytes").write_text("150M")
        (own / "cgroup.procs").write_text(str(machine.outside(pid)))
        yield
        assert "oom_kill 0" not in (own / "memory.oom_control").read_text()
    finally:
        wait_until(lambda: not (own / "cgroup.procs").read_text(), 20, otherwise=None)
        with contextlib.suppress(OSError):
            own.rmdir()


def test_a_worker_that_the_kernel_kills_for_its_memory_leaves_the_unit_up(
    unit: InstalledUnit, broker: RealBroker, name: str
) -> None:
    create_topic(broker.bootstrap, name)
    unit.configure(broker.bootstrap, topic=name, group=name)
    unit.start()
    wait_until(lambda: unit.slot()["joined"], 30, every=0.2)
    main, worker = unit.show("MainPID"), int(unit.slot()["pid"])

    with memory_limit(unit.machine, unit, worker):
        produce(broker.bootstrap, name, [b"eat 600"])
        wait_until(lambda: unit.slot()["incarnation"] > 1 and unit.slot()["pid"], 60, every=0.2)

    assert unit.show("ActiveState") == "active"
    assert unit.show("MainPID") == main
    assert "SIGKILL" in unit.log()


@pytest.mark.parametrize("drop_ins", [(), ("limits",)], ids=["unit", "with-limits"])
def test_the_unit_starts_with_and_without_its_drop_in_and_systemd_finds_no_fault(
    unit: InstalledUnit, drop_ins: tuple[str, ...]
) -> None:
    for name in drop_ins:
        unit.drop_in(name, (DEPLOY / f"{NAME}-{name}.conf").read_text())

    done = unit.machine.run("systemd-analyze", "verify", "--man=no", f"{NAME}.service", check=False)

    assert done.stdout + done.stderr == ""
    unit.start()
    wait_until(lambda: unit.slot()["state"] == "running", 30, every=0.2)


EXPOSURE = {"unit": 1.5, "with-limits": 1.6}


@pytest.mark.parametrize("kind", EXPOSURE)
def test_what_the_unit_is_exposed_to(unit: InstalledUnit, kind: str) -> None:
    """``systemd-analyze security``: 0 is nothing, 10 everything."""
    if kind == "with-limits":
        unit.drop_in("limits", (DEPLOY / f"{NAME}-limits.conf").read_text())
    unit.machine.run("systemctl", "daemon-reload")

    done = unit.machine.run("systemd-analyze", "security", "--no-pager", f"{NAME}.service", check=False)

    last = done.stdout.strip().splitlines()[-1]
    assert float(next(word for word in last.split() if word[:1].isdigit())) <= EXPOSURE[kind], last


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_journal_can_be_asked_for_a_group_a_slot_and_a_priority(unit: InstalledUnit, log_format: str) -> None:
    unit.configure(workers=2, log_format=log_format)
    unit.start()
    wait_until(lambda: "worker.ready" in unit.log("GROUP=orders", "SLOT=1"), 30, every=0.2)

    of_slot, events = unit.log("GROUP=orders", "SLOT=1"), unit.log("EVENT=slot.started")
    wait_until(lambda: unit.log("--priority", "warning"), 30, every=0.2)  # the broker is away

    assert "slot=0" not in of_slot.replace('"slot": ', "slot=")
    assert len(events.splitlines()) == 2
    assert "slot.started" not in unit.log("--priority", "warning")
    if log_format == "json":
        assert {json.loads(line)["event"] for line in events.splitlines()} == {"slot.started"}


LIMITS = '\n[groups.orders.limits]\nnice = 7\ncpu_affinity = [0]\nrlimits = { nofile = 300 }\nmemory_max = "300MiB"\n'


def limited(unit: InstalledUnit) -> None:
    text = unit.machine.run("cat", f"{ETC}/supervisor.toml").stdout
    unit.machine.write(f"{ETC}/supervisor.toml", text + LIMITS)


def test_limits_of_workers_hold_with_the_drop_in(unit: InstalledUnit) -> None:
    limited(unit)
    unit.drop_in("limits", (DEPLOY / f"{NAME}-limits.conf").read_text())
    unit.start()
    wait_until(lambda: unit.slot()["state"] == "running", 30, every=0.2)

    worker = psutil.Process(unit.machine.outside(unit.slot()["pid"]))
    assert worker.nice() == 7
    assert worker.cpu_affinity() == [0]
    assert worker.rlimit(psutil.RLIMIT_NOFILE)[0] == 300
    if "memory" in unit.machine.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout.split():
        path = Path(f"/proc/{worker.pid}/cgroup").read_text().rpartition("::")[2].strip()
        assert unit.machine.run("cat", f"/sys/fs/cgroup{path}/memory.max").stdout.strip() == str(300 << 20)


def test_limits_of_workers_without_the_drop_in_are_refused_by_name(unit: InstalledUnit) -> None:
    limited(unit)
    unit.start()

    wait_until(lambda: "slot.fatal" in unit.log() or unit.show("ActiveState") == "failed", 40, every=0.2)

    print(unit.log("--priority", "warning"))
    assert "nice" in unit.log("--priority", "warning")
