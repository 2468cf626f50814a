"""Orders about dead letters over the control socket: a child does them, whatever becomes of it; the child is a fake."""

import json
import os
import sys
from pathlib import Path

import pytest

from supervisor.control.answers import DlqJob
from supervisor.control.client import Refused
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Replay, Verb
from supervisor.parent import dlq_jobs as module
from supervisor.parent.dlq_jobs import DlqJobs, TooManyJobsError
from supervisor.parent.exits import ExitWatch
from supervisor.parent.keeper import until
from tests.looping import in_loop
from tests.process.parents import Parent
from tests.unit.test_jsonable import WORKER

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
    case _:
        tell("end", answer={"counts": {"sent": request["parent_pid"]}, "reasons": []})
"""


def order(how: str = "") -> DlqRequest:
    return DlqRequest(Verb.REPLAY, WORKER.group, "/state", 0, replay=Replay("default"), one=how)


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

        assert "SIGKILL" in told(some, number).answer.error
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


def test_the_control_socket_refuses_what_it_does_not_understand(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        for how, text in (
            ({"verb": "replay", "group": "nobody"}, "no group"),
            ({"verb": "explode", "group": "orders"}, "verb"),
            ({"verb": "list", "group": "orders", "origins": ["a/b"]}, "no origin"),
            ({"verb": "list", "group": "orders", "headers": ["=x"]}, "no header"),
            ({"verb": "show", "group": "orders"}, "letter"),
            ({"verb": "list", "group": "orders", "files": ["/etc/passwd"]}, "files"),
        ):
            with pytest.raises(Refused, match=text):
                parent.client.dlq(**how)
        with pytest.raises(Refused, match="no job"):
            parent.client.dlq_job(7)


def test_p5_p7_the_supervisor_has_letters_of_files_listed_and_dropped_and_tells_who_asked(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "dead-letters" / "orders"
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    line = {"v": 1, "audit_id": "orders/orders/1/2", "topic": "orders.dlq", "key": None, "value": "eA==", "headers": []}
    more = {"source": {"topic": "orders", "partition": 1, "offset": 2}, "disposition": "error", "written_at": 5.0}
    (folder / "0.jsonl").write_text(json.dumps(line | more) + "\n")
    with Parent(tmp_path) as parent:
        listed = parent.client.dlq("list", "orders", source="file")
        parent.snapshot_when(lambda _: parent.client.dlq_job(listed.number).is_done, 30)
        answer = parent.client.dlq_job(listed.number).answer
        dropped = parent.client.dlq("drop", "orders", source="file")
        parent.snapshot_when(lambda _: parent.client.dlq_job(dropped.number).is_done, 30)

        assert [(one.id, one.view.audit_id, one.value) for one in answer.letters] == [
            ("0.jsonl@0", "orders/orders/1/2", None)
        ]
        assert parent.client.dlq_job(dropped.number).answer.counts.dropped == 1
        (event,) = parent.events("dlq.dropped")
        assert (event.fields["uid"], event.fields["dropped"], event.fields["ended"]) == (os.getuid(), 1, "done")
        assert len(parent.events("dlq.drop_started")) == 1
    assert not (folder / "0.jsonl").exists()
