"""Dead letters on a real broker: listed, shown, counted, exported, dropped, and sent back."""

import base64
import json
import os
import signal
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from supervisor.core.dlq import DlqAnswer, DlqRequest, Replay, Verb
from supervisor.core.letter_view import view
from supervisor.inspector.letter_sender import KafkaSender, Out
from supervisor.inspector.replaying import Replaying
from supervisor.kafka.letters import KafkaLetters
from supervisor.kafka.producer import ProduceError
from tests.broker.real import RealBroker
from tests.broker.records import Stored, create_topic, end_offsets, read_topic
from tests.conftest import Scale
from tests.kafka.letters import SECRET, Folder, put, story
from tests.unit.test_jsonable import WORKER
from tests.unit.test_letter_view import CONNECT, SPRING
from tests.waiting import wait_until


@pytest.fixture
def folder(broker: RealBroker, name: str, tmp_path: Path) -> Folder:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic, partitions=2)
    return Folder(tmp_path, broker, name)


def sent(broker: RealBroker, topic: str) -> list[Stored]:
    return read_topic(broker.bootstrap, topic)


def fill(broker: RealBroker, name: str, count: int, **changes: Any) -> None:
    letters = [story(name, name, at % 2, at, **changes) for at in range(count)]
    put(broker, f"{name}.dlq", letters, partition=lambda at: at % 2)


def test_letters_go_back_to_their_partitions_with_their_bytes_and_own_headers(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    fill(broker, name, 6)

    answer = folder.answer("replay")

    assert (answer["counts"]["sent"], answer["error"]) == (6, "")
    records = sent(broker, name)
    assert [(one.partition, one.key, one.value) for one in records] == [
        (at % 2, b"key-%d" % at, f"{SECRET} {at}".encode()) for at in (0, 2, 4, 1, 3, 5)
    ]
    assert records[0].headers == (
        ("trace", b"t-0"),
        ("supervisor.dlq.replay-count", b"1"),
        ("supervisor.dlq.replay-of", f"{name}/{name}/0/0".encode()),
        ("supervisor.dlq.replay-name", b"default"),
        ("supervisor.dlq.replay-timestamp", b"1000.000"),
    )


def test_done_again_it_sends_only_what_has_come_since_and_anew_all_of_it(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    fill(broker, name, 4)

    first, second = folder.answer("replay"), folder.answer("replay")
    put(broker, f"{name}.dlq", [story(name, name, 0, 9)])
    third = folder.answer("replay")
    pending = folder.answer("stats", "--pending")
    anew = folder.answer("replay", "--restart")

    assert [one["counts"]["sent"] for one in (first, second, third, anew)] == [4, 0, 1, 5]
    assert [one["resumed"] for one in (first, second, third, anew)] == [False, True, True, False]
    assert pending["counts"]["read"] == 0
    assert not any("supervisor.dlq.replay-again" in one.header for one in sent(broker, name))


@pytest.mark.parametrize("victim", ["the child", "the command"])
def test_p1_a_replay_that_was_killed_goes_on_and_what_it_may_repeat_is_marked(
    broker: RealBroker, name: str, folder: Folder, scale: Scale, victim: str
) -> None:
    count = scale.pick(1000, 10_000)
    fill(broker, name, count)
    command = folder.begin("replay", "--rate", f"{count // 4}/s")
    child = folder.child(command)
    wait_until(lambda: sum(end_offsets(broker.bootstrap, name).values()) > count // 5, 60, every=0.05)

    os.kill(child.pid if victim == "the child" else command.pid, signal.SIGKILL)
    code = command.wait(30)
    wait_until(lambda: not child.is_running(), 30)
    before = len(sent(broker, name))
    answer = folder.answer("replay")

    assert 0 < before < count
    assert code == (1 if victim == "the child" else -signal.SIGKILL)
    assert answer["resumed"]
    copies: dict[str, list[Stored]] = {}
    for one in sent(broker, name):
        copies.setdefault(one.header["supervisor.dlq.replay-of"], []).append(one)
    assert copies.keys() == {f"{name}/{name}/{at % 2}/{at}" for at in range(count)}
    doubled = [some for some in copies.values() if len(some) > 1]
    print(f"{count} letters, killed after {before}: {len(doubled)} twice, {answer['counts']['again']} marked")
    for some in doubled:
        assert [one.header.get("supervisor.dlq.replay-again") for one in some] == [None, "1"]
    assert len(doubled) <= answer["counts"]["again"] <= 500
    started, ended = folder.events("dlq.replay_started"), folder.events("dlq.replayed")
    assert len(started) == 2
    assert ended[-1].fields["ended"] == "done"
    assert started[0].fields["uid"] == os.getuid()


class Killed(BaseException):
    """What the kernel does to a process, for a thread."""


class Dying(KafkaSender):
    """Sends half of its second chunk and is no more."""

    chunks = 0

    def send_each(self, outs: Sequence[Out]) -> list[ProduceError | None]:
        self.chunks += 1
        if self.chunks == 2:
            super().send_each(outs[: len(outs) // 2])
            raise Killed
        return super().send_each(outs)


def test_p1_what_was_sent_when_it_died_in_the_middle_of_a_chunk_is_sent_again_and_all_of_it_is_marked(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    fill(broker, name, 40)
    group = replace(WORKER.group, name=name, topics=(name,), kafka={"bootstrap.servers": broker.bootstrap})

    def run(sender: KafkaSender) -> DlqAnswer:
        asked = DlqRequest(Verb.REPLAY, group, "", 0, replay=Replay("default", rate=20.0))
        source = KafkaLetters(group, [f"{name}.dlq"], replay="default", is_ours=True)
        try:
            return Replaying(asked, source, sender, tell=lambda _: None, stop=Event()).run()
        finally:
            source.close()
            sender.close()

    with pytest.raises(Killed):
        run(Dying(group))
    answer = run(KafkaSender(group))

    copies: dict[str, list[str | None]] = {}
    for one in sent(broker, name):
        mark = one.header.get("supervisor.dlq.replay-again")
        copies.setdefault(one.header["supervisor.dlq.replay-of"], []).append(mark)
    assert len(copies) == 40
    assert Counter(map(tuple, copies.values())) == {(None,): 30, (None, "1"): 5, ("1",): 5}
    assert (answer.counts.sent, answer.counts.again, answer.resumed) == (30, 10, True)


def test_told_to_stop_it_finishes_what_it_has_in_hand_and_repeats_nothing(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    fill(broker, name, 200)
    command = folder.begin("replay", "--rate", "50/s")
    wait_until(lambda: sum(end_offsets(broker.bootstrap, name).values()) > 20, 60, every=0.05)

    command.send_signal(signal.SIGTERM)
    code = command.wait(30)
    answer = folder.answer("replay")

    assert code == 1
    assert 0 < answer["counts"]["sent"] < 200
    assert answer["counts"]["again"] == 0
    counted = Counter(one.header["supervisor.dlq.replay-of"] for one in sent(broker, name))
    assert len(counted) == counted.total() == 200
    (stopped, done) = folder.events("dlq.replayed")
    assert (stopped.fields["ended"], done.fields["ended"]) == ("stopped", "done")


def test_a_letter_that_comes_back_too_often_is_parked(broker: RealBroker, name: str, folder: Folder) -> None:
    tired = (*story(name, name, 0, 7), ("supervisor.dlq.replay-count", b"3"))
    put(broker, f"{name}.dlq", [story(name, name, 0, 6), tired])

    dry = folder.answer("replay", "--dry-run")
    answer = folder.answer("replay")

    assert (dry["counts"]["sent"], dry["counts"]["parked"]) == (1, 1)
    assert (answer["counts"]["sent"], answer["counts"]["parked"]) == (1, 1)
    (parked,) = sent(broker, f"{name}.parked")
    assert (parked.key, parked.value) == (b"key-1", f"{SECRET} 1".encode())
    assert parked.header["supervisor.dlq.disposition"] == "error"
    assert len(sent(broker, name)) == 1
    assert len(end_offsets(broker.bootstrap, f"{name}.parked")) == 2, "as many partitions as the dead letters have"
    out = folder.answer("replay", "--topic", f"{name}.parked", "--max-replays", "9")
    assert out["counts"]["sent"] == 1
    assert sent(broker, name)[-1].header["supervisor.dlq.replay-count"] == "4"


def test_a_dry_run_counts_by_reason_and_sends_nothing(broker: RealBroker, name: str, folder: Folder) -> None:
    letters = [
        story(name, name, 0, 0),
        story(name, name, 0, 1, disposition="timeout", error=TimeoutError()),
        story(name, name, 0, 2, disposition="timeout", error=TimeoutError()),
        (("unknown", b"x"),),
    ]
    put(broker, f"{name}.dlq", letters)

    shown = folder.run("replay", "--dry-run").stdout
    answer = folder.answer("replay", "--dry-run")

    assert answer["reasons"] == [
        {"exception": "builtins.TimeoutError", "disposition": "timeout", "count": 2},
        {"exception": "builtins.ValueError", "disposition": "error", "count": 1},
    ]
    assert (answer["counts"]["sent"], answer["counts"]["homeless"]) == (3, 1)
    assert "3 would be sent, 1 without an origin" in shown
    assert sent(broker, name) == []
    assert folder.answer("replay")["counts"]["sent"] == 3, "a dry run leaves no trace"


def test_a_filter_has_a_replay_of_its_own_and_a_name_means_one_filter_only(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    fill(broker, name, 4)
    put(broker, f"{name}.dlq", [story(name, name, 0, 9, disposition="timeout")])

    timeouts = folder.answer("replay", "--disposition", "timeout")
    by_class = folder.answer("replay", "--exception", "ValueError", "--origin", f"{name}/1", "--name", "mine")
    refused = folder.run("replay", "--name", "mine", code=1)

    assert (timeouts["counts"]["sent"], timeouts["counts"]["passed"]) == (1, 4)
    assert (by_class["counts"]["sent"], by_class["counts"]["passed"]) == (2, 3)
    assert "begun with another filter" in refused.stderr
    assert folder.events("dlq.replay_started")[0].fields["filter"] == "disposition=timeout"


def test_letters_can_go_to_another_topic(broker: RealBroker, name: str, folder: Folder) -> None:
    fill(broker, name, 4)
    other = create_topic(broker.bootstrap, f"{name}.fixed")

    answer = folder.answer("replay", "--to", other, "--most", "3")

    assert answer["counts"]["sent"] == 3
    assert len(sent(broker, other)) == 3
    assert folder.answer("replay", "--to", other)["counts"]["sent"] == 1


def test_a_topic_that_is_not_there_stops_the_replay_before_its_letter(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    put(broker, f"{name}.dlq", [story(name, f"{name}-gone", 0, 1)])

    failed = folder.run("replay", code=1)
    create_topic(broker.bootstrap, f"{name}-gone")
    answer = folder.answer("replay")

    assert f"{name}.dlq/0@0 to {name}-gone" in failed.stderr
    assert answer["counts"]["sent"] == 1
    assert len(sent(broker, f"{name}-gone")) == 1


@pytest.mark.parametrize(("headers", "place"), [(SPRING, 1), (CONNECT, 0)], ids=["spring", "connect"])
def test_letters_of_other_frameworks_go_back_where_those_say_they_came_from(
    broker: RealBroker, name: str, folder: Folder, headers: tuple[tuple[str, bytes | None], ...], place: int
) -> None:
    origins = {
        "kafka_dlt-original-topic": name.encode(),
        "kafka_dlt-original-partition": b"\x00\x00\x00\x01",
        "__connect.errors.topic": name.encode(),
        "__connect.errors.partition": b"0",
    }
    made = [("trace", b"abc"), *((one, origins.get(one, value)) for one, value in headers if one != "trace")]
    create_topic(broker.bootstrap, f"{name}-dlt")
    put(broker, f"{name}-dlt", [made])

    (listed,) = folder.answer("list", "--topic", f"{name}-dlt")["letters"]
    answer = folder.answer("replay", "--topic", f"{name}-dlt")

    assert listed["view"]["topic"] == name
    assert answer["counts"]["sent"] == 1
    (record,) = sent(broker, name)
    assert (record.partition, record.key, record.value) == (place, b"key-0", f"{SECRET} 0".encode())
    assert record.header.keys() <= {
        "trace",
        *(f"supervisor.dlq.replay-{x}" for x in ("count", "of", "name", "timestamp")),
    }
    assert record.header["supervisor.dlq.replay-of"] == view(made).audit_id


def test_p10_what_records_hold_is_shown_only_when_asked_for(broker: RealBroker, name: str, folder: Folder) -> None:
    fill(broker, name, 3)

    listed = folder.run("list")
    stats = folder.run("stats")
    by_id = folder.run("show", f"{name}.dlq/0@1")
    by_audit = folder.run("show", f"{name}/{name}/0/2", "--value")

    assert f"{name}/1@1" in listed.stdout
    for told in (listed, stats, by_id):
        assert SECRET not in told.stdout + told.stderr
    assert "supervisor.dlq.exception-stack" in by_id.stdout
    assert f"{SECRET} 2" in by_audit.stdout
    missing = folder.run("show", f"{name}.dlq/0@99", code=1)
    assert "no dead letter" in missing.stderr


def test_letters_are_exported_and_replayed_from_the_file(broker: RealBroker, name: str, folder: Folder) -> None:
    fill(broker, name, 3)

    folder.run("export", "--output", "letters.jsonl")
    file = folder.folder / "letters.jsonl"
    answer = folder.answer("replay", "--file", str(file))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {base64.b64decode(line["value"]) for line in lines} == {f"{SECRET} {at}".encode() for at in range(3)}
    assert answer["counts"]["sent"] == 3
    assert {one.value for one in sent(broker, name)} == {f"{SECRET} {at}".encode() for at in range(3)}
    assert folder.answer("replay", "--file", str(file))["counts"]["sent"] == 0
    assert len(folder.events("dlq.exported")) == 1
    assert "File exists" in folder.run("export", "--output", "letters.jsonl", code=1).stderr


def test_from_a_topic_only_beginnings_are_dropped_and_what_stays_is_said(
    broker: RealBroker, name: str, folder: Folder
) -> None:
    letters = [story(name, name, 0, at, disposition="timeout" if at == 2 else "error") for at in range(5)]
    put(broker, f"{name}.dlq", letters)

    dry = folder.answer("drop", "--disposition", "error", "--dry-run")
    refused = folder.run("drop", "--disposition", "error", code=1)
    done = folder.run("drop", "--disposition", "error", "--yes", code=1)

    assert (dry["counts"]["dropped"], len(dry["kept"])) == (2, 1)
    assert "Aborted" in refused.stderr
    assert f"kept: {name}.dlq/0: 2 behind {name}.dlq/0@2" in done.stdout
    left = folder.answer("list")["letters"]
    assert [one["view"]["offset"] for one in left] == [2, 3, 4]
    assert folder.events("dlq.dropped")[0].fields["dropped"] == 2
    assert folder.answer("drop", "--yes")["counts"]["dropped"] == 3
    assert folder.answer("list")["letters"] == []


def test_dead_letter_topics_of_a_pattern_are_those_that_exist(broker: RealBroker, name: str, tmp_path: Path) -> None:
    for topic in (f"{name}.a", f"{name}.b", f"dlq.{name}.a"):
        create_topic(broker.bootstrap, topic)
    folder = Folder(
        tmp_path, broker, name, topics=json.dumps(f"^{name}\\..*"), more='dead_letters.topic = "dlq.{topic}"'
    )
    put(broker, f"dlq.{name}.a", [story(name, f"{name}.a", 0, 3)])

    assert folder.answer("replay")["counts"]["sent"] == 1
    assert len(sent(broker, f"{name}.a")) == 1


def test_without_any_dead_letter_topic_it_says_so(broker: RealBroker, name: str, tmp_path: Path) -> None:
    create_topic(broker.bootstrap, name)

    failed = Folder(tmp_path, broker, name).run("list", code=1)

    assert f"group {name} has no dead letters yet: topic {name}.dlq does not exist" in failed.stderr
