"""Orders about dead letters over the control socket: a child does them, whatever becomes of it; the child is a fake."""

import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from supervisor.control.answers import DlqJob, DlqLines
from supervisor.control.client import Refused
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Replay, Verb
from supervisor.parent.api import dlq_jobs as module
from supervisor.parent.api.dlq_jobs import DlqJobs, TakenError, TooManyJobsError
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import until
from tests.looping import in_loop
from tests.process.parents import Parent
from tests.unit.test_jsonable import WORKER
from tests.waiting import wait_until

CHILD = """
import json, signal, sys, time
request = json.load(sys.stdin)
def tell(kind, **members):
    print(json.dumps({"type": kind, **members}), flush=True)
match request["one"]:
    case "dies":
        sys.exit(9)
    case "babbles":
        print("no json", flush=True)
        tell("end")
        tell("end", answer={"counts": 5})
    case "silent":
        time.sleep(600)
    case "waits":
        over = []
        signal.signal(signal.SIGTERM, lambda *_: over.append(1))
        while not over:
            tell("progress", counts={"total": 10, "read": 4, "sent": 4})
            time.sleep(0.05)
        tell("end", answer={"counts": {"sent": 4}, "stopped": True})
    case "exports":
        over = []
        signal.signal(signal.SIGTERM, lambda *_: over.append(1))
        for at in range(request["limit"]):
            if not over:
                tell("line", line=f"{at} " + "x" * 100_000)
        tell("end", answer={"counts": {"read": request["limit"]}, "stopped": bool(over)})
    case "large":
        tell("line", line="x" * (17 << 20))
    case _:
        tell("end", answer={"counts": {"sent": request["parent_pid"]}, "reasons": []})
"""


def order(how: str = "") -> DlqRequest:
    return DlqRequest(Verb.REPLAY, WORKER.group, "/state", 0, replay=Replay("default"), one=how)


def exporting(count: int) -> DlqRequest:
    return DlqRequest(Verb.EXPORT, WORKER.group, "/state", 0, one="exports", limit=count)


async def some_lines(some: DlqJobs, number: int, after: int = 0) -> DlqLines:
    """Return the next lines once there are some, or the end."""
    found: list[DlqLines] = []

    def is_there() -> bool:
        got = some.lines(number, after)
        assert got is not None
        found[:] = [got]
        return bool(got.lines) or got.is_end

    await until(is_there, 30)
    return found[0]


def jobs(exits: ExitWatch) -> DlqJobs:
    return DlqJobs(exits, program=(sys.executable, "-c", CHILD))


def told(some: DlqJobs, number: int) -> DlqJob:
    job = some.job(number)
    assert job is not None
    return job


@in_loop
async def test_a_job_is_done_and_its_answer_kept_and_told_once() -> None:
    exits, heard = ExitWatch(), list[DlqAnswer]()
    some = jobs(exits)

    begun = some.begin(order(), heard.append)
    await until(lambda: told(some, begun.number).is_done, 30)

    assert (begun.is_done, begun.verb, begun.group) == (False, "replay", "orders")
    assert told(some, begun.number).answer.counts.sent == os.getpid(), "the child is told whose it is"
    assert heard == [told(some, begun.number).answer]
    assert some.job(99) is None
    await some.stop()
    exits.close()


@in_loop
async def test_how_far_it_is_can_be_asked_and_told_to_stop_it_finishes_what_it_has() -> None:
    exits = ExitWatch()
    some = jobs(exits)
    number = some.begin(order("waits"), lambda _: None).number
    await until(lambda: told(some, number).counts.read == 4, 30)

    assert told(some, number).counts == Counts(total=10, read=4, sent=4)
    some.end(number)
    await until(lambda: told(some, number).is_done, 30)

    assert told(some, number).answer.stopped
    exits.close()


@pytest.mark.parametrize("how", ["dies", "babbles"])
def test_a_child_that_fails_is_an_answer_with_an_error(how: str) -> None:
    @in_loop
    async def run() -> None:
        exits = ExitWatch()
        some = jobs(exits)
        number = some.begin(order(how), lambda _: None).number
        await until(lambda: told(some, number).is_done, 30)

        assert "no answer" in told(some, number).answer.error
        assert told(some, number).answer.killed
        exits.close()

    run()


def test_p8_a_child_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.3)

    @in_loop
    async def run() -> None:
        exits = ExitWatch()
        some = jobs(exits)
        number = some.begin(order("silent"), lambda _: None).number
        await until(lambda: told(some, number).is_done, 30)

        assert "it said nothing" in told(some, number).answer.error
        exits.close()

    run()


@in_loop
async def test_p6_only_so_many_run_at_once_and_a_stop_ends_them() -> None:
    exits = ExitWatch()
    some = jobs(exits)
    numbers = [some.begin(order("waits"), lambda _: None).number for _ in range(module.MOST_AT_ONCE)]

    with pytest.raises(TooManyJobsError):
        some.begin(order(), lambda _: None)
    await until(lambda: all(told(some, one).counts.read for one in numbers), 30)
    await some.stop()

    assert all(told(some, one).answer.stopped for one in numbers)
    exits.close()


@in_loop
async def test_p6_an_export_is_handed_out_in_pieces_and_no_more_is_held_than_one_of_them() -> None:
    exits, heard = ExitWatch(), list[DlqAnswer]()
    some = jobs(exits)
    number = some.begin(exporting(120), heard.append).number

    await until(lambda: len(some.lines(number, 0).lines) >= 10, 30)  # type: ignore[union-attr]
    held = some.lines(number, 0)
    assert held is not None
    assert not told(some, number).is_done
    taken: list[str] = []
    sizes: list[int] = []
    while not (piece := await some_lines(some, number, len(taken))).is_end:
        assert piece.first == len(taken)
        assert some.lines(number, len(taken)) == piece, "asked for again, because its answer was lost"
        taken += piece.lines
        sizes.append(sum(map(len, piece.lines)))

    assert held.lines[:3] == tuple(taken[:3])
    assert [int(line.split()[0]) for line in taken] == list(range(120))
    assert max(sizes) <= module.HELD_BYTES + module.READ + 100_000
    await until(lambda: told(some, number).is_done, 30)
    assert [(one.counts.read, one.error) for one in heard] == [(120, "")]
    for wrong in (-1, len(taken) - 1, len(taken) + 1):
        with pytest.raises(TakenError):
            some.lines(number, wrong)
    exits.close()


def test_p8_an_export_that_nobody_takes_is_ended_and_no_end_of_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 1.0)

    @in_loop
    async def run() -> None:
        exits = ExitWatch()
        some = jobs(exits)
        numbers = [some.begin(exporting(count), lambda _: None).number for count in (120, 3)]

        await until(lambda: all("nobody took" in told(some, one).answer.error for one in numbers), 30)

        for number in numbers:
            with pytest.raises(TakenError):
                some.lines(number, 0)
        exits.close()

    run()


@in_loop
async def test_an_export_that_waits_to_be_taken_ends_when_it_is_told_to() -> None:
    exits = ExitWatch()
    some = jobs(exits)
    number = some.begin(exporting(120), lambda _: None).number
    await until(lambda: len(some.lines(number, 0).lines) >= 10, 30)  # type: ignore[union-attr]

    some.end(number)
    await until(lambda: told(some, number).is_done, 10)

    assert (told(some, number).answer.stopped, told(some, number).answer.error) == (True, "")
    exits.close()


@in_loop
async def test_p6_a_letter_that_is_too_large_for_the_socket_is_no_end_of_the_supervisor() -> None:
    exits = ExitWatch()
    some = jobs(exits)
    number = some.begin(order("large"), lambda _: None).number

    await until(lambda: told(some, number).is_done, 30)

    assert "`supervisor dlq` itself" in told(some, number).answer.error
    exits.close()


def test_the_control_socket_refuses_what_it_does_not_understand(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        for how, text in (
            ({"verb": "replay", "group": "nobody"}, "no group"),
            ({"verb": "explode", "group": "orders"}, "verb"),
            ({"verb": "list", "group": "orders", "origins": ["a/b"]}, "no origin"),
            ({"verb": "list", "group": "orders", "headers": ["=x"]}, "no header"),
            ({"verb": "show", "group": "orders"}, "letter"),
            ({"verb": "list", "group": "orders", "files": ["/etc/passwd"]}, "files"),
            ({"verb": "export", "group": "orders", "output": "/etc/passwd"}, "output"),
            ({"verb": "export", "group": "orders", "dry_run": True}, "dry_run"),
            ({"verb": "drain", "group": "orders", "dry_run": True}, "dry_run"),
            (
                {"verb": "drain", "group": "orders", "exceptions": ["A"], "since": 5.0},
                "exceptions, since: not of drain",
            ),
            ({"verb": "drain", "group": "orders"}, "no spool"),
        ):
            with pytest.raises(Refused, match=text):
                parent.client.dlq(**how)
        with pytest.raises(Refused, match="no job"):
            parent.client.dlq_job(7)
        with pytest.raises(Refused, match="no job"):
            parent.client.dlq_lines(7)


LINE = {
    "v": 1,
    "audit_id": "orders/orders/1/2",
    "topic": "orders.dlq",
    "key": None,
    "value": "eA==",
    "headers": [],
    "source": {"topic": "orders", "partition": 1, "offset": 2},
    "disposition": "error",
    "written_at": 5.0,
}


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Return the file of the group's one slot, with one letter."""
    folder = tmp_path / "state" / "dead-letters" / "orders"
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    (folder / "0.jsonl").write_text(json.dumps(LINE) + "\n")
    return folder / "0.jsonl"


def answered(parent: Parent, verb: str, **how: object) -> DlqAnswer:
    number = parent.client.dlq(verb, "orders", **how).number
    parent.snapshot_when(lambda _: parent.client.dlq_job(number).is_done, 30)
    return parent.client.dlq_job(number).answer


def test_p5_p7_the_supervisor_has_letters_of_files_listed_and_dropped_and_tells_who_asked(
    tmp_path: Path, letters: Path
) -> None:
    with Parent(tmp_path) as parent:
        listed = answered(parent, "list", source="file")
        dropped = answered(parent, "drop", source="file")

        assert [(one.id, one.view.audit_id, one.value) for one in listed.letters] == [
            ("0.jsonl@0", "orders/orders/1/2", None)
        ]
        assert dropped.counts.dropped == 1
        (event,) = parent.events("dlq.dropped")
        assert (event.fields["uid"], event.fields["dropped"], event.fields["ended"]) == (os.getuid(), 1, "done")
        assert len(parent.events("dlq.drop_started")) == 1
    assert not letters.exists()


def test_p7_p10_an_export_goes_to_who_asked_and_it_is_told_before_a_letter_is_handed_out(
    tmp_path: Path, letters: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with Parent(tmp_path) as parent:
        number = parent.client.dlq("export", "orders", source="file", exceptions=["Other"]).number
        wait_until(lambda: parent.client.dlq_lines(number).is_end, 30)
        number = parent.client.dlq("export", "orders", source="file").number
        wait_until(lambda: parent.client.dlq_lines(number).lines, 30)
        (line,) = parent.client.dlq_lines(number).lines
        wait_until(lambda: parent.client.dlq_lines(number, after=1).is_end, 30)
        end = parent.client.dlq_lines(number, after=1)

        assert (json.loads(line)["audit_id"], json.loads(line)["value"]) == ("orders/orders/1/2", "eA==")
        assert (end.lines, end.is_end) == ((), True)
        _, event = parent.events("dlq.exported")
        assert (event.fields["uid"], event.fields["source"], event.fields["filter"]) == (os.getuid(), "file", "all")
        with pytest.raises(Refused, match="what comes next"):
            parent.client.dlq_lines(number)
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert not [path for path in made if b"eA==" in path.read_bytes()], "the supervisor writes what it exports nowhere"


def test_p7_a_spool_is_drained_for_who_asks_over_the_socket(tmp_path: Path, letters: Path) -> None:
    with Parent(tmp_path, spooled=True) as parent:
        answer = answered(parent, "drain", rate=100.0)
        wait_until(lambda: not letters.exists(), 30)  # the supervisor may have been quicker than we were

        assert not answer.error or "being drained" in answer.error
        assert len(answered(parent, "list", source="sqlite").letters) == 1
        (event,) = parent.events("dlq.drained")
        assert (event.fields["uid"], event.fields["source"]) == (os.getuid(), "file")


def test_p7_a_child_that_was_killed_is_told_as_the_command_tells_it(tmp_path: Path, letters: Path) -> None:
    with Parent(tmp_path) as parent:
        number = parent.client.dlq("replay", "orders", source="file").number
        found = [one for one in psutil.Process(parent.pid).children() if "supervisor.inspector.dlq" in one.cmdline()]
        found[0].kill()
        parent.snapshot_when(lambda _: parent.client.dlq_job(number).is_done, 30)

        (event,) = parent.events("dlq.replayed")
        assert event.fields["ended"] == "killed"
        assert event.text.startswith("replay default: how much was done is not known; it ended with SIGKILL")
        assert parent.client.dlq_job(number).answer.killed
        assert "sent" not in event.fields
    assert letters.exists()
