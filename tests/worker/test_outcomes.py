"""What becomes of records, one outcome each, on a real broker (P1, P2, P6, P8)."""

from itertools import pairwise
from random import Random

import pytest
from confluent_kafka import Producer

from supervisor.core.backoff import Backoff
from supervisor.core.spec import BatchSpec, CommitSpec, DeadLetterSpec, Ordering, PluginSpec, RetrySpec
from supervisor.plugin import Disposition
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import group_spec


def _topics(broker: RealBroker, name: str, partitions: int = 1) -> None:
    create_topic(broker.bootstrap, name, partitions=partitions)
    create_topic(broker.bootstrap, f"{name}.dlq", partitions=partitions)


@pytest.mark.parametrize(
    ("word", "attempts", "disposition"),
    [
        ("raise", 3, Disposition.ERROR),
        ("undecodable", 3, Disposition.ERROR),
        ("exit", 3, Disposition.ERROR),
        ("interrupt", 3, Disposition.ERROR),
        ("return", 1, Disposition.PLUGIN_ERROR),
    ],
)
def test_p1_p2_a_bad_record_becomes_a_dead_letter_and_its_partition_waits_for_it(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, word: str, attempts: int, disposition: Disposition
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good", word, "good"], key=lambda _: b"k", headers=[("trace", b"1")])

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:by_value"))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3})

    starts = [(line[3], line[5]) for line in ledger.of("start")]
    assert starts == [(0, 1), *((1, attempt) for attempt in range(1, attempts + 1)), (2, 1)]
    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert (letter.key, letter.value) == (b"k", word.encode())
    assert letter.header["trace"] == "1"
    assert letter.header["supervisor.dlq.audit-id"] == f"{name}/{name}/0/1"
    assert letter.header["supervisor.dlq.disposition"] == disposition
    assert letter.header["supervisor.dlq.attempts"] == str(attempts)
    assert worker.events("record.dead_lettered")


def test_p2_a_retry_blocks_its_own_key_and_no_other(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name)
    words = ["raise-once", "a", "b", "a", "b"]
    produce(broker.bootstrap, name, words, key=lambda at: b"x" if at in (0, 3) else b"%d" % at)
    retry = RetrySpec(attempts=3, backoff=Backoff(1.0, 1.0, 1.0, 0.0))

    worker = start(
        group_spec(
            broker.bootstrap, name, (name,), "handlers:by_value", ordering=Ordering.KEY, concurrency=4, retry=retry
        )
    )
    worker.wait(lambda: len(ledger.of()) == 5)

    done = ledger.offsets(0)
    assert done[-2:] == [0, 3], "the key of the failed record waits for it"
    assert set(done[:3]) == {1, 2, 4}, "other keys went on meanwhile"


def test_p1_no_offset_moves_before_the_dead_letter_is_confirmed(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise", "good"])

    worker = start(
        group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:by_value",
            dead_letters=DeadLetterSpec("dlq_kafka", "", "{topic}.dlq", 2.0),
        )
    )
    worker.wait(lambda: worker.events("dead_letter.unwritten"))
    worker.wait(lambda: worker.board and worker.board.wait.name in ("SINK", "RETRY"))
    assert committed(broker.bootstrap, name, name) == {0: 0}
    assert ledger.offsets(0) == []

    create_topic(broker.bootstrap, f"{name}.dlq")
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 2}, timeout=40)
    assert ledger.offsets(0) == [1]
    assert len(worker.events("dead_letter.unwritten")) == 1, "one alert for one trouble"
    audit_ids = {letter.header["supervisor.dlq.audit-id"] for letter in read_topic(broker.bootstrap, f"{name}.dlq")}
    assert audit_ids == {f"{name}/{name}/0/0"}


def test_a_fallback_sink_takes_the_letter_that_kafka_does_not(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise", "good"])

    worker = start(
        group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:by_value",
            sinks=("dlq_kafka", "dlq_file"),
            dead_letters=DeadLetterSpec("dlq_kafka", "dlq_file", "{topic}.dlq", 2.0),
        )
    )
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 2}, timeout=30)

    files = list((ledger.folder.parent / "a" / "state").rglob("*.jsonl"))
    assert [len(file.read_text().splitlines()) for file in files] == [1]
    assert not worker.events("dead_letter.unwritten")


def test_p3_a_long_retry_lets_the_others_run_ahead_by_max_gap_and_no_further(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["raise", *["good"] * 6000], key=lambda at: b"%d" % at)
    retry = RetrySpec(attempts=50, backoff=Backoff(30.0, 1.0, 30.0, 0.0))

    worker = start(
        group_spec(
            broker.bootstrap,
            name,
            (name,),
            "handlers:ok_or_raise",
            ordering=Ordering.KEY,
            concurrency=2,
            retry=retry,
            max_gap=3000,
            queue_records=500,
        )
    )
    worker.wait(lambda: worker.stats.get("waits") == "retry" and worker.stats["settled"] > 1000)
    settled: list[int] = []

    def stands_still() -> bool:
        settled.append(worker.stats["settled"])
        return len(settled) > 150 and settled[-1] == settled[-150]

    worker.wait(stands_still)
    assert worker.stats["partitions"][0]["gap"] <= 3000
    assert 1000 < settled[-1] <= 3000
    assert committed(broker.bootstrap, name, name) == {0: 0}


def test_p6_a_handler_slower_than_max_poll_interval_keeps_its_membership(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:9", "good", "good"], partition=lambda _: 0)
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        revoke_timeout=15.0,
        kafka={"max.poll.interval.ms": 6500, "session.timeout.ms": 6000},
    )

    first = start(group)
    first.wait(lambda: ledger.of("start"))
    second = start(group, slot=1)
    second.wait(lambda: len(second.owned) == 1, timeout=30)
    first.wait(lambda: sum(committed(broker.bootstrap, name, name).values()) == 3, timeout=30)

    assert ledger.offsets(0) == [0, 1, 2], "once each, in order"
    assert not first.events("worker.poll_exceeded")
    assert "partitions.lost" not in first.log_tail(1000)


@pytest.mark.parametrize("mode", ["manual", "automatic"])
def test_p1_both_commit_modes_resume_behind_what_was_settled(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, mode: str
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["good"] * 50 + ["sleep:60"] + ["good"] * 5)
    group = group_spec(broker.bootstrap, name, (name,), "handlers:by_value", commit=CommitSpec(mode, 10, 0.2))

    worker = start(group)
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 50})
    worker.kill()
    start(group, incarnation=2).wait(lambda: len(ledger.of("start")) == 52)

    assert [line[3] for line in ledger.of("start")][-2:] == [50, 50], "from the record that was in its handler"
    assert committed(broker.bootstrap, name, name) == {0: 50}


def test_a_graceful_stop_finishes_what_runs_gives_back_what_waits_and_repeats_nothing(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name, partitions=2)
    produce(broker.bootstrap, name, ["sleep:0.3"] * 20, partition=lambda at: at % 2)
    group = group_spec(
        broker.bootstrap, name, (name,), "handlers:by_value", concurrency=2, commit=CommitSpec("manual", 10**6, 60.0)
    )

    worker = start(group)
    worker.wait(lambda: len(ledger.of()) >= 4)
    assert worker.stop("keep") == 0
    assert ledger.places() == ledger.places("start"), "what had begun was finished"
    assert sum(committed(broker.bootstrap, name, name).values()) == len(ledger.of())

    start(group, incarnation=2).wait(lambda: len(ledger.of()) == 20, timeout=30)
    assert len(ledger.places()) == 20
    for partition in (0, 1):
        assert all(a < b for a, b in pairwise(ledger.offsets(partition)))


def test_a_worker_whose_parent_is_gone_drains_and_ends(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name)
    produce(broker.bootstrap, name, ["sleep:1", "sleep:1", "sleep:1"])

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:by_value"))
    worker.wait(lambda: ledger.of("start"))
    worker.hang_up()

    assert worker.process.wait(10) == 0
    assert committed(broker.bootstrap, name, name) == {0: len(ledger.of())}


def test_p8_a_start_without_a_broker_is_a_state_and_not_a_failure(
    own_broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(own_broker, name)
    produce(own_broker.bootstrap, name, ["good"] * 10)
    own_broker.stop()

    worker = start(group_spec(own_broker.bootstrap, name, (name,), "handlers:by_value"))
    worker.wait(lambda: worker.of_type("ready"))
    worker.wait(lambda: worker.stats.get("waits") == "broker")
    own_broker.start()

    worker.wait(lambda: len(ledger.of()) == 10, timeout=30)
    worker.wait(lambda: worker.stats.get("waits") == "eof")


def test_a_broker_that_goes_away_and_comes_back_costs_no_record(
    own_broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(own_broker, name)
    produce(own_broker.bootstrap, name, ["good"] * 10)
    worker = start(group_spec(own_broker.bootstrap, name, (name,), "handlers:by_value"))
    worker.wait(lambda: committed(own_broker.bootstrap, name, name) == {0: 10})

    own_broker.kill()
    worker.wait(lambda: worker.stats.get("waits") == "broker")
    own_broker.start()
    produce(own_broker.bootstrap, name, ["good"] * 10)

    worker.wait(lambda: committed(own_broker.bootstrap, name, name) == {0: 20}, timeout=60)
    assert ledger.offsets(0) == list(range(20))


def test_a_batch_handler_settles_each_record_by_its_own_outcome(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    _topics(broker, name)
    words = ["good"] * 30
    words[7], words[20] = "raise", "raise-once"
    produce(broker.bootstrap, name, words)

    worker = start(
        group_spec(
            broker.bootstrap, name, (name,), "", plugins=(PluginSpec("handlers:Batches"),), batch=BatchSpec(10, 0.5)
        )
    )
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 30})

    assert ledger.places() == {(0, at) for at in range(30) if at != 7}
    assert [letter.value for letter in read_topic(broker.bootstrap, f"{name}.dlq")] == [b"raise"]
    assert max(line[4] for line in ledger.of("batch")) == "10"


def test_a_record_as_large_as_a_topic_takes_becomes_a_dead_letter_without_its_story(
    broker: RealBroker, name: str, start: Start, ledger: Ledger, rng: Random
) -> None:
    create_topic(broker.bootstrap, name, config={"max.message.bytes": "1300000"})
    create_topic(broker.bootstrap, f"{name}.dlq", config={"max.message.bytes": "1200000"})
    value = b"raise" + rng.randbytes(1_198_995)
    big = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 2_000_000, "log_level": 0})
    big.produce(name, value)
    assert big.flush(10) == 0

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:raise_on_large"))
    worker.wait(lambda: committed(broker.bootstrap, name, name) == {0: 1})

    (letter,) = read_topic(broker.bootstrap, f"{name}.dlq")
    assert letter.value == value
    assert letter.header["supervisor.dlq.exception-type"] == "builtins.ValueError"
    assert "supervisor.dlq.exception-stack" not in letter.header


def test_settings_that_librdkafka_refuses_are_a_config_exit_and_name_the_key(
    name: str, start: Start, ledger: Ledger
) -> None:
    group = group_spec("127.0.0.1:1", name, (name,), "handlers:ok", kafka={"no.such.key": 1})

    worker = start(group)

    worker.wait(lambda: worker.process.poll() is not None)
    assert worker.process.returncode == 78
    assert "no.such.key" in worker.of_type("bye")[-1]["reason"]
    assert ledger.of() == []


def test_an_empty_partition_that_was_read_to_its_end_has_no_lag(broker: RealBroker, name: str, start: Start) -> None:
    _topics(broker, name)

    worker = start(group_spec(broker.bootstrap, name, (name,), "handlers:ok"))

    worker.wait(lambda: worker.stats.get("waits") == "eof")
    worker.wait(lambda: worker.stats["lag"] == 0)


def test_a_record_whose_sink_hangs_is_on_the_board_so_that_its_time_is_measured(
    broker: RealBroker, name: str, start: Start, ledger: Ledger
) -> None:
    create_topic(broker.bootstrap, name)
    produce(broker.bootstrap, name, ["raise"])
    group = group_spec(
        broker.bootstrap,
        name,
        (name,),
        "handlers:by_value",
        sinks=("leaky:HangingSink",),
        dead_letters=DeadLetterSpec("leaky:HangingSink", "", "{topic}.dlq", 2.0),
        retry=RetrySpec(attempts=1, backoff=Backoff(0.1, 1.0, 0.1, 0.0)),
    )

    worker = start(group)
    worker.wait((ledger.folder / "asked").exists)

    assert worker.board is not None
    assert [(record.topic, record.offset) for record in worker.board.in_flight] == [(name, 0)]
