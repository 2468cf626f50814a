"""Ending on purpose, under load: nothing that was settled is worked again, nothing is left, deadlines hold."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program

PARTITIONS = 4


def by_command(program: Program) -> int:
    """Stop it with ``supervisor stop``."""
    stopped = program.cli("stop")
    assert stopped.returncode == 0, stopped.stderr
    return program.ended(1.0)


def by_signal(program: Program) -> int:
    """Stop it with SIGTERM."""
    return program.terminate()


@pytest.mark.parametrize("stop", [by_command, by_signal])
def test_p1_p8_a_stop_under_load_finishes_what_is_in_hand_and_commits_exactly_that(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, stop: Callable[[Program], int]
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, "workers = 2\nconcurrency = 2")
    program.wait(lambda: program.shared_out(PARTITIONS), what="both have partitions")
    produce(broker.bootstrap, name, ["sleep:0.005"] * 8000, partition=lambda at: at % PARTITIONS)
    program.wait(lambda: len(ledger.places()) > 300, what="it works")

    code = stop(program)

    assert code == 0
    done = len(ledger.places())
    assert done < 8000, "it was stopped under load"
    at_end = committed(broker.bootstrap, name, name)
    assert ledger.places() == {(p, offset) for p, end in at_end.items() for offset in range(end)}
    assert len(ledger.lines("start")) == len(ledger.lines("done")), "nothing was cut off"
    program.start()
    program.wait(lambda: len(ledger.places()) >= done + 500, what="it goes on")
    assert program.terminate() == 0
    assert ledger.repeats() == 0
    assert [event for event in program.logged("worker.exited") if "class=requested" not in event] == []


def test_p8_a_second_interrupt_does_not_wait_for_handlers(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["sleep:60"])
    program = supervise(broker)
    program.wait(lambda: ledger.lines("start"), what="the handler sleeps")

    program.signal(signal.SIGINT)
    program.wait(lambda: program.logged("supervisor.stopping"), what="it stops")
    program.signal(signal.SIGINT)
    asked = time.monotonic()

    assert program.ended(10.0) == 0
    assert time.monotonic() - asked < 5.0
    assert committed(broker.bootstrap, name, name) in ({}, {0: 0}), "the record it was in comes again"


@pytest.mark.parametrize(("handler", "value"), [("Work", "sleep:300"), ("Deaf", "gil:300"), ("Work", "ignore:300")])
def test_p1_p8_a_handler_that_hears_nothing_is_ended_on_the_deadline(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, handler: str, value: str
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    produce(broker.bootstrap, name, ["good", value], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["good"] * 5, partition=lambda _: 1)
    program = supervise(broker, "concurrency = 2", handler=handler, supervisor='stop_timeout = "1s"')
    program.wait(lambda: ledger.offsets(0, "start")[-1:] == [1], what="the handler does not come back")

    asked = time.monotonic()
    code = program.terminate()

    assert time.monotonic() - asked < 15.0
    assert code == 0
    assert committed(broker.bootstrap, name, name).get(0, 0) <= 1, "the record is not settled"
