"""Log files per slot: what a worker logs and prints, rotated while it works."""

import os
import signal
from pathlib import Path

from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program

QUICK = 'orphan_grace = "1s"\nstop_timeout = "3s"'


def logs(program: Program) -> dict[str, str]:
    return {path.name: path.read_text() for path in (program.folder / "logs").iterdir()}


def test_a_slots_file_has_what_its_worker_logs_and_prints_natively_too(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    options = 'workers = 2\nlogs.dir = "logs"'
    program = supervise(broker, options, supervisor=QUICK, handler="Work")
    program.wait(lambda: program.shared_out(2), what="both have a partition")
    produce(broker.bootstrap, name, ["print:from python"], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["native:from C"], partition=lambda _: 1)
    owners = program.owners()
    files = [program.folder / "logs" / f"{name}-{owners[partition].slot}.log" for partition in (0, 1)]
    program.wait(lambda: "from python\n" in files[0].read_text() and "from C\n" in files[1].read_text())
    program.cli("stop")

    assert set(logs(program)) == {f"{name}-0.log", f"{name}-1.log"}
    for slot, text in enumerate((logs(program)[f"{name}-0.log"], logs(program)[f"{name}-1.log"])):
        assert f"group={name} slot={slot} incarnation=1" in text
        assert "worker.ending" in text
    assert not program.logged("worker.ending"), "and it is not in the supervisor's own"
    assert program.logged("worker.exited")
    assert (program.folder / "logs").stat().st_mode & 0o777 == 0o700


def test_files_are_rotated_while_the_worker_writes_and_the_oldest_go(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker, 'logs = { dir = "logs", max_size = "4KiB", keep = 2 }', supervisor=QUICK)
    program.wait(program.running)
    for number in range(4):
        produce(broker.bootstrap, name, [f"native:{number} {'x' * 100}"] * 50)
        program.wait(lambda number=number: len(ledger.lines("done")) == 50 * (number + 1))  # type: ignore[misc]
        program.wait(lambda: (program.folder / "logs" / f"{name}-0.log").stat().st_size < 4096, what="rotated")
    produce(broker.bootstrap, name, ["native:the last"])
    program.wait(lambda: "the last" in logs(program)[f"{name}-0.log"], what="it writes to the new file")

    assert set(logs(program)) == {f"{name}-0.log", f"{name}-0.log.1", f"{name}-0.log.2"}
    assert f"3 {'x' * 100}" in logs(program)[f"{name}-0.log.1"]
    assert f"2 {'x' * 100}" in logs(program)[f"{name}-0.log.2"]


def test_sigusr2_opens_the_file_anew_and_harms_no_worker_without_one(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker, 'logs.dir = "logs"', supervisor=QUICK)
    plain = supervise(broker, supervisor=QUICK, folder="b", called="b")
    program.wait(program.running)
    plain.wait(plain.running)
    before = {program: program.workers()[0], plain: plain.workers()[0]}
    file = program.folder / "logs" / f"{name}-0.log"

    file.rename(moved := Path(f"{file}.moved"))
    for pid in before.values():
        os.kill(pid, signal.SIGUSR2)
    program.wait(file.exists, what="opened anew")
    program.cli("stop")

    assert "worker.ending" in file.read_text()
    assert "worker.ending" not in moved.read_text()
    assert plain.workers()[0] == before[plain]


def test_a_worker_whose_file_cannot_be_opened_works_and_says_so(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name)
    program = supervise(broker, 'logs.dir = "supervisor.toml/logs"', supervisor=QUICK)
    program.wait(program.running)

    (event,) = program.events("log_file.unusable")
    assert "supervisor.toml/logs" in event.text
    assert event.slot == 0
