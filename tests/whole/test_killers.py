"""Records that kill their worker: each becomes one dead letter; nobody beside them is lost, reordered or convicted."""

from collections import Counter

import pytest

from supervisor.core.event_query import EventQuery
from supervisor.core.events import Severity
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, end_offsets, produce, read_topic
from tests.conftest import Scale
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger, out_of_order
from tests.whole.program import Program

QUICK = 'orphan_grace = "1s"\nstop_timeout = "3s"'
DEATHS = 3


def deaths(program: Program) -> int:
    entries = program.control.journal(EventQuery(severity=Severity.WARNING, limit=500)).entries
    return sum(one.event.name == "worker.exited" for one in entries)


def all_committed(broker: RealBroker, name: str) -> bool:
    return committed(broker.bootstrap, name, name) == end_offsets(broker.bootstrap, name)


def test_p1_p2_records_that_kill_become_dead_letters_and_all_others_are_processed_in_order(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    good, partitions = scale.pick(3_000, 50_000), 4
    bad = ["segfault", "exit:3", "sigkill", "memory", "hog", "exit:0"] * scale.pick(1, 4)
    step = good // len(bad)
    values = ["good"] * good
    for at, value in enumerate(bad):
        values.insert(at * step + step // 2, value)
    create_topic(broker.bootstrap, name, partitions=partitions)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=partitions)
    produce(broker.bootstrap, name, values, key=lambda at: b"key-%d" % (at % 64))
    program = supervise(
        broker,
        'ordering = "key"\nconcurrency = 8\nhandler_timeout = "2s"\nlimits.rlimits = { as = "16GiB" }',
        supervisor=QUICK,
    )
    patience = scale.pick(180.0, 900.0)
    program.wait(lambda: all_committed(broker, name), timeout=patience, what="all is committed")

    source = read_topic(broker.bootstrap, name)
    found = read_topic(broker.bootstrap, f"{name}.dlq")
    letters = {letter.header["supervisor.dlq.audit-id"]: letter for letter in found}
    expected = {f"{name}/{name}/{one.partition}/{one.offset}": one for one in source if one.value != b"good"}
    assert letters.keys() == expected.keys()
    for audit_id, letter in letters.items():
        assert (letter.key, letter.value) == (expected[audit_id].key, expected[audit_id].value)
        disposition = "timeout" if letter.value == b"hog" else "worker-killed"
        assert letter.header["supervisor.dlq.disposition"] == disposition, letter.value
        assert letter.header["supervisor.dlq.attempts"] == str(DEATHS), letter.value
    stories = {(letter.value or b"").decode(): letter.header for letter in letters.values()}
    assert Counter((letter.value or b"").decode() for letter in letters.values()) == Counter(bad)
    assert stories["segfault"]["supervisor.dlq.signal"] == "SIGSEGV"
    assert "in fall" in stories["segfault"]["supervisor.dlq.stack"]
    assert "shop.last_words" in stories["segfault"]["supervisor.dlq.log-lines"]
    assert stories["exit:3"]["supervisor.dlq.exit-code"] == "3"
    assert stories["sigkill"]["supervisor.dlq.signal"] == "SIGKILL"
    places = {(one.partition, one.offset) for one in source if one.value == b"good"}
    assert len(places) == good
    assert places <= ledger.places("done")
    assert not out_of_order([line for line in ledger.lines() if line.place in places], by_key=True)
    ended = deaths(program)
    twice = len(found) - len(letters)
    print(f"{len(bad)} bad records, {ended} deaths, {twice} letters twice, {ledger.repeats()} good records repeated")
    assert twice <= ended, "a copy of a letter is only possible across a death"
    assert ended <= (DEATHS + 1) * len(bad)


def test_p1_a_slow_good_record_beside_foreign_crashes_is_processed_and_not_convicted(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    crashes = scale.pick(2, 8)
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    produce(broker.bootstrap, name, ["sleep:1.0"] * 3, partition=lambda _: 0)
    produce(broker.bootstrap, name, ["exit:3", "segfault"] * (crashes // 2), partition=lambda _: 1)
    program = supervise(broker, 'ordering = "none"\nconcurrency = 8', supervisor=QUICK)
    program.wait(lambda: all_committed(broker, name), timeout=scale.pick(60.0, 180.0), what="all is committed")

    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert {letter.header["supervisor.dlq.partition"] for letter in letters} == {"1"}
    assert set(ledger.offsets(0)) == {0, 1, 2}
    assert deaths(program) >= DEATHS * crashes


def test_p3_what_is_done_is_not_done_again_with_each_death_of_the_killers_beside_it(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    crashes, good = scale.pick(4, 11), 200
    create_topic(broker.bootstrap, name, partitions=3)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=3)
    produce(broker.bootstrap, name, ["sleep:2.0"], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["good"] * good, partition=lambda _: 2)
    produce(broker.bootstrap, name, ["segfault"] * crashes, partition=lambda _: 1)
    program = supervise(broker, 'ordering = "none"\nconcurrency = 8', supervisor=QUICK)
    program.wait(lambda: all_committed(broker, name), timeout=scale.pick(90.0, 240.0), what="all is committed")

    ended = deaths(program)
    slow = sum(line.partition == 0 for line in ledger.lines("done"))
    print(f"{ended} deaths, the slow record was done {slow} times, {ledger.repeats()} records were repeated")
    assert ended >= DEATHS * crashes
    assert slow <= 3, "once; and once more where a busy broker took more than a second for a commit"
    assert ledger.repeats() <= 2 * good, "the first death may repeat what was done since the last commit"


def test_p1_a_death_in_a_batch_makes_all_of_it_suspect_and_convicts_only_the_culprit(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    produce(broker.bootstrap, name, ["good"] * 7 + ["exit:3"] + ["good"] * 12)
    program = supervise(broker, 'batch.size = 10\nbatch.age = "100ms"', handler="Batch", supervisor=QUICK)
    program.wait(lambda: all_committed(broker, name), timeout=60.0, what="all is committed")

    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert letter.header["supervisor.dlq.offset"] == "7"
    assert ledger.places("done") == {(0, offset) for offset in range(20) if offset != 7}
    assert not out_of_order([line for line in ledger.lines() if line.offset != 7], by_key=False)  # that never ends
    assert deaths(program) == DEATHS + 1


@pytest.mark.parametrize(
    "options",
    [
        'delivery = "exactly-once"\nconcurrency = 4\nordering = "key"',
        'ordering = "none"\nconcurrency = 8\ncommit.metadata = true',
        'ordering = "partition"',
    ],
)
def test_p1_killers_become_dead_letters_once_however_records_are_delivered(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, options: str
) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    values = ["good"] * 20 + ["exit:3"] + ["good"] * 20 + ["segfault"] + ["good"] * 20
    produce(broker.bootstrap, name, values, key=lambda at: b"key-%d" % (at % 7))
    program = supervise(broker, options, supervisor=QUICK)
    program.wait(lambda: committed(broker.bootstrap, name, name).get(0, 0) >= 62, timeout=60.0, what="all is committed")

    letters = read_topic(broker.bootstrap, f"{name}.dlq")
    assert sorted(letter.header["supervisor.dlq.offset"] for letter in letters) == ["20", "41"]
    assert {letter.header["supervisor.dlq.disposition"] for letter in letters} == {"worker-killed"}
    assert ledger.places("done") == {(0, offset) for offset in range(62)} - {(0, 20), (0, 41)}
    assert deaths(program) <= 2 * (DEATHS + 1)


def test_p1_p2_records_that_kill_within_a_coroutine_are_convicted_and_those_beside_them_are_processed(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    good = scale.pick(1_000, 20_000)
    bad = ["segfault", "exit:3", "sigkill"] * scale.pick(1, 4)
    values = ["good"] * good
    for at, value in enumerate(bad):
        values.insert((at * 2 + 1) * good // (2 * len(bad)), value)
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    produce(broker.bootstrap, name, values, key=lambda at: b"key-%d" % (at % 64))
    program = supervise(broker, 'ordering = "key"\nconcurrency = 8', handler="Async", supervisor=QUICK)
    program.wait(lambda: all_committed(broker, name), timeout=scale.pick(120.0, 600.0), what="all is committed")

    letters = {one.header["supervisor.dlq.audit-id"]: one for one in read_topic(broker.bootstrap, f"{name}.dlq")}
    assert Counter((letter.value or b"").decode() for letter in letters.values()) == Counter(bad)
    assert {one.header["supervisor.dlq.disposition"] for one in letters.values()} == {"worker-killed"}
    assert {one.header["supervisor.dlq.attempts"] for one in letters.values()} == {str(DEATHS)}
    places = {(one.partition, one.offset) for one in read_topic(broker.bootstrap, name) if one.value == b"good"}
    assert places <= ledger.places("done")
    assert not out_of_order([line for line in ledger.lines() if line.place in places], by_key=True)
    assert DEATHS * len(bad) <= deaths(program) <= (DEATHS + 1) * len(bad)


def test_p1_the_case_of_a_killer_follows_its_partition_to_another_slot_and_the_count_goes_on_there(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    program = supervise(broker, "workers = 2", supervisor=QUICK)
    program.wait(lambda: program.shared_out(2), what="both have a partition")
    partition = next(partition for partition, slot in program.owners().items() if slot.slot == 1)
    produce(broker.bootstrap, name, ["good", "fuse:bomb", "good"], partition=lambda _: partition)

    def begun(slot: int) -> int:
        return sum((line.slot, line.place) == (slot, (partition, 1)) for line in ledger.lines("start"))

    def kill(slot: int, *, times: int) -> None:
        for _ in range(times):
            before = begun(slot)
            ledger.open_gate("bomb")
            program.wait(lambda: begun(slot) > before, what="it is begun again")  # noqa: B023 - waited for in here

    program.wait(lambda: begun(1), what="slot 1 has it in hand")
    kill(1, times=2)
    assert program.cli("scale", f"{name}=1").returncode == 0
    program.wait(lambda: begun(0), timeout=40.0, what="slot 0 has it in hand")
    kill(0, times=1)
    ledger.open_gate("bomb")
    program.wait(lambda: all_committed(broker, name), timeout=40.0, what="all is committed")

    words = ["a suspect", "1 of 3", "2 of 3", "3 of 3"]
    told = [
        (event.slot, word) for event in program.events("worker.exited") for word in words if f"({word})" in event.text
    ]
    assert told == [(1, "a suspect"), (1, "1 of 3"), (0, "2 of 3"), (0, "3 of 3")]
    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert (letter.header["supervisor.dlq.attempts"], letter.header["supervisor.dlq.offset"]) == (str(DEATHS), "1")
    assert ledger.places("done") == {(partition, 0), (partition, 2)}


def test_p7_a_handler_over_its_time_shows_its_stack_lets_the_others_finish_and_ends_as_a_timeout(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name, partitions=2)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=2)
    produce(broker.bootstrap, name, ["ignore:600"], partition=lambda _: 0)
    produce(broker.bootstrap, name, ["sleep:0.7"] * 6, partition=lambda _: 1)
    program = supervise(broker, 'concurrency = 4\nhandler_timeout = "1s"', supervisor=QUICK)
    program.wait(lambda: all_committed(broker, name), timeout=60.0, what="all is committed")

    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert letter.header["supervisor.dlq.disposition"] == "timeout"
    assert "in do" in letter.header["supervisor.dlq.stack"]
    hung = program.events("worker.hung")
    assert [event.text.partition(" is ")[0] for event in hung] == [f"{name}/0@0"] * DEATHS
    assert "in do" in program.events("worker.hung")[-1].attachments["stack"]
    assert deaths(program) == DEATHS
    starts = [line.offset for line in ledger.lines("start") if line.partition == 1]
    assert starts == list(range(6)), "what ran beside it finished and was committed each time"
