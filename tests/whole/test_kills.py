"""kill -9 at random moments, of workers, of the parent, of everything; the ledger is held against every offset."""

import random
import time

import pytest

from tests.broker.real import RealBroker
from tests.broker.records import create_topic
from tests.conftest import Scale
from tests.whole.chaos import OPTIONS, PARTITIONS, SlotWatch, all_committed, judge, load, strike_until
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

QUICK = 'orphan_grace = "3s"\nstop_timeout = "5s"'


@pytest.mark.parametrize(("ordering", "concurrency"), [("key", 4), ("partition", 1)])
def test_p1_p2_p3_p4_no_record_is_lost_or_overtaken_when_workers_are_killed_at_random(
    broker: RealBroker,
    name: str,
    supervise: Supervise,
    ledger: Ledger,
    rng: random.Random,
    scale: Scale,
    ordering: str,
    concurrency: int,
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    options = OPTIONS.format(workers=3, ordering=ordering, concurrency=concurrency)
    program = supervise(broker, options, supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="every worker has partitions")
    places = load(broker, name, scale.pick(6_000, 100_000), takes=scale.pick(0.001, 0.0005) * concurrency)
    started = time.monotonic()

    with SlotWatch(program) as watch:
        strikes = strike_until(
            lambda: len(places - ledger.places()),
            lambda: program.kill_worker(rng.randrange(3)),
            rng,
            pause=0.5,
            timeout=scale.pick(30, 900),
        )
    seconds = time.monotonic() - started

    judge(ledger, places, by_key=ordering == "key")
    assert (len(watch.seen), watch.crowds) == (3, [])
    killed = sorted(set(strikes))  # a worker may be struck again before its parent has seen it die
    deaths = sorted(int(str(event.fields["pid"])) for event in program.events("worker.exited"))
    assert deaths == killed, "one event per death (P7)"
    # At most what may be delivered and not committed, on each partition of the killed worker.
    assert ledger.repeats() <= len(strikes) * PARTITIONS * 500
    program.wait(lambda: all_committed(broker, name), what="everything is committed")
    assert program.terminate() == 0
    _tell(f"{ordering}: workers killed", places, ledger, len(killed), seconds, watch)


def test_p1_p2_p3_p4_a_parent_that_is_killed_and_started_again_never_doubles_a_slot(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, rng: random.Random, scale: Scale
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, OPTIONS.format(workers=3, ordering="key", concurrency=4), supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="every worker has partitions")
    places = load(broker, name, scale.pick(4_000, 100_000), takes=scale.pick(0.012, 0.004))
    started = time.monotonic()

    def strike() -> None:
        program.kill()
        program.start()  # beside its workers, which drain for a moment yet
        program.wait(lambda: program.slots() != [], what="the new parent answers")

    with SlotWatch(program) as watch:
        strikes = strike_until(
            lambda: len(places - ledger.places()), strike, rng, pause=2.0, timeout=scale.pick(40, 900)
        )
    seconds = time.monotonic() - started

    assert len(strikes) >= 2
    judge(ledger, places, by_key=True)
    assert (len(watch.seen), watch.crowds) == (3, [])
    program.wait(lambda: all_committed(broker, name), what="everything is committed")
    assert program.terminate() == 0
    _tell("parent killed", places, ledger, len(strikes), seconds, watch)


def test_p1_p2_p3_p4_a_supervisor_killed_together_with_all_its_workers_goes_on_where_it_was(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, rng: random.Random, scale: Scale
) -> None:
    create_topic(broker.bootstrap, name, partitions=PARTITIONS)
    program = supervise(broker, OPTIONS.format(workers=3, ordering="key", concurrency=4), supervisor=QUICK)
    program.wait(lambda: program.shared_out(PARTITIONS), what="every worker has partitions")
    places = load(broker, name, scale.pick(2_500, 100_000), takes=scale.pick(0.012, 0.004))
    started = time.monotonic()

    def strike() -> None:
        program.kill_all(rng)
        program.start()
        program.wait(program.running, what="all slots run again")

    with SlotWatch(program) as watch:
        strikes = strike_until(
            lambda: len(places - ledger.places()), strike, rng, pause=1.0, timeout=scale.pick(40, 900)
        )
    seconds = time.monotonic() - started

    assert len(strikes) >= 2
    judge(ledger, places, by_key=True)
    assert (len(watch.seen), watch.crowds) == (3, [])
    assert ledger.repeats() <= len(strikes) * PARTITIONS * 500
    program.wait(lambda: all_committed(broker, name), what="everything is committed")
    assert program.terminate() == 0
    _tell("everything killed", places, ledger, len(strikes), seconds, watch)


def _tell(
    what: str, places: set[tuple[int, int]], ledger: Ledger, kills: int, seconds: float, watch: SlotWatch
) -> None:
    print(
        f"{what}: {len(places)} records, {kills} kills in {seconds:.1f} s, 0 lost, {ledger.repeats()} done again, "
        f"{watch.looks} looks at the slots"
    )
