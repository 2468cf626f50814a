"""A spool that a broken dead-letter topic left is drained by the running supervisor, and by hand without one."""

import json
from pathlib import Path

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program

OPTIONS = """
workers = 1
retry.attempts = 1
dead_letters = { fallback = "dlq_file", timeout = "1s", create = false }
"""


def spools(program: Program) -> list[Path]:
    return list((program.folder / "state" / "dead-letters").rglob("*.jsonl"))


def test_p1_p7_spools_are_drained_once_the_topic_is_there_also_those_of_slots_that_are_gone(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["good", "raise", "raise"])
    program = supervise(broker, OPTIONS)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, what="all is committed")
    (spool,) = spools(program)
    spool.rename(spool.with_name("7.jsonl"))

    create_topic(broker.bootstrap, f"{name}.dlq")
    program.wait(lambda: not spools(program), 60, what="the spool is empty")
    produce(broker.bootstrap, name, ["raise"])
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 4}, what="all is committed")

    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    ids = [letter.header["supervisor.dlq.audit-id"] for letter in letters]
    assert set(ids) == {f"{name}/{name}/0/{at}" for at in (1, 2, 3)}
    program.wait(lambda: program.events("spool.drained"), what="the event is told")
    assert program.events("spool.drained")[-1].fields["files"] == 1
    assert program.terminate() == 0


def test_a_spool_is_drained_by_hand_when_no_supervisor_runs(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise"])
    program = supervise(broker, OPTIONS)
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1}, what="all is committed")
    assert program.terminate() == 0

    failed = program.cli("dlq", "drain", name, timeout=60)
    listed = program.cli("dlq", "list", name, "--source", "file", "--json", timeout=60)
    create_topic(broker.bootstrap, f"{name}.dlq")
    done = program.cli("dlq", "drain", name, "--json", timeout=60)

    assert failed.returncode == 1
    assert "UNKNOWN_TOPIC" in failed.stderr
    assert json.loads(listed.stdout)["letters"][0]["view"]["offset"] == 0
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["sent"] == 1
    assert spools(program) == []
    assert len(read_topic(broker.bootstrap, f"{name}.dlq")) == 1
