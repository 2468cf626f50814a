"""What is known of a death: its stack and its last log lines are in the journal (P7), no record's content is (P10)."""

import contextlib
import json
import os
import re
import signal

from supervisor.control.answers import EventEntry
from supervisor.control.client import ControlError
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event
from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.program import Program

QUICK = 'orphan_grace = "1s"\nstop_timeout = "3s"'
RETRIES = 'restart.initial = "60s"'


def deaths(program: Program) -> list[Event]:
    entries: tuple[EventEntry, ...] = ()
    with contextlib.suppress(ControlError):  # not up yet
        entries = program.control.journal(EventQuery(limit=500)).entries
    return [entry.event for entry in entries if entry.event.name == "worker.exited"]


def test_p7_p10_a_segfaults_stack_and_last_log_lines_are_in_the_journal_and_no_value_is(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["segfault:s3cret-value"], key=lambda _: b"s3cret-key")
    program = supervise(broker, RETRIES, supervisor=QUICK)
    program.wait(lambda: deaths(program), what="it died")

    death = deaths(program)[0]
    assert (death.fields["class"], death.fields["in_flight"]) == ("signal", f"{name}/0@0")
    assert re.search(r"Fatal Python error: Segmentation fault", death.attachments["stack"])
    assert re.search(r'File ".*work.py", line \d+ in fall', death.attachments["stack"])
    assert "shop.last_words" in death.attachments["log"].splitlines()[-1]

    shown = program.cli("events", "--severity", "warning", "--stacks").stdout
    assert "SIGSEGV" in shown
    assert "in fall" in shown
    assert "shop.last_words" in shown
    lines = [json.loads(line) for line in program.cli("events", "--json").stdout.splitlines()]
    assert next(line for line in lines if line["attachments"])["attachments"] == death.attachments
    program.cli("stop")
    kept = b"".join(file.read_bytes() for file in (program.folder / "state").iterdir())
    assert b"in fall" in kept
    for content in (kept, program.log.read_bytes(), shown.encode()):
        assert b"s3cret" not in content


def test_p7_a_hung_workers_stacks_and_a_killed_ones_last_lines_come_with_their_deaths(
    broker: RealBroker, name: str, supervise: Supervise
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    program = supervise(broker, 'workers = 2\nhandler_timeout = "1s"', supervisor=QUICK)
    program.wait(lambda: program.shared_out(2), what="both have a partition")
    produce(broker.bootstrap, name, ["gil:60"], partition=lambda _: 1)
    locked = program.owners()[1].pid
    other = program.owners()[0].pid
    os.kill(other or 0, signal.SIGKILL)
    program.wait(lambda: {locked, other} <= {event.fields["pid"] for event in deaths(program)}, what="both died")

    by_pid = {event.fields["pid"]: event for event in deaths(program)}
    assert by_pid[locked].fields["class"] == "hung"
    assert re.search(r'File ".*work.py", line \d+ in do', by_pid[locked].attachments["stack"])
    assert "stack" not in by_pid[other].attachments
    assert by_pid[other].attachments["log"], "what it logged last outlives SIGKILL"
