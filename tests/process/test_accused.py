"""A real parent over workers that die with a record in hand: whom it accuses, what it keeps, when it starts again."""

import sqlite3
from pathlib import Path

from supervisor.core.snapshot import SlotState
from supervisor.parent.deaths.ledger_file import FILE
from tests.process.parents import Parent
from tests.waiting import wait_until


def answers(parent: Parent) -> list[str]:
    return [line.what for line in parent.log("accused")]


def kept(folder: Path) -> list[tuple[int, int, str, int, int]]:
    """Return what is durable: offset, deaths, cause, convicted, buried."""
    connection = sqlite3.connect(f"file:{folder / 'state' / FILE}?mode=ro", uri=True)
    try:
        return connection.execute("SELECT offset, deaths, cause, convicted, buried FROM accused").fetchall()
    finally:
        connection.close()


def convict(parent: Parent) -> None:
    """Let the record kill until it is convicted, and whoever comes next do no harm."""
    parent.behave("crash")
    wait_until(lambda: parent.events("record.convicted"))
    parent.behave("work")
    parent.slot_when(SlotState.RUNNING)


def test_a_record_is_suspect_then_counted_then_convicted_and_each_start_knows_it(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        convict(parent)

        assert (
            answers(parent)[:5]
            == [
                "accused [] convicted []",
                "accused [[812, 812]] convicted []",
                "accused [[812, 812]] convicted []",
                "accused [[812, 812]] convicted []",
                "accused [] convicted [812]",
            ][: len(answers(parent))]
        )
        assert len(answers(parent)) >= 4
        texts = [event.text for event in parent.events("worker.exited")]
        words = ("a suspect", "1 of 3", "2 of 3", "3 of 3")
        assert [text.partition(";")[0] for text in texts[:4]] == [f"SIGSEGV at orders/1@812 ({one})" for one in words]
        assert all("starts again at once" in text for text in texts[:4])
        (event,) = parent.events("record.convicted")
        assert event.fields == {"record": "orders/1@812", "deaths": 3, "disposition": "worker-killed"}


def test_p7_a_conviction_outlives_the_supervisor(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        convict(parent)
    assert kept(tmp_path) == [(812, 3, "worker-killed", 1, 0)]

    second = Parent(tmp_path)
    second.behave("bury")
    with second:
        wait_until(lambda: len(answers(second)) >= 2 and kept(tmp_path)[0][4])

    assert answers(second)[-2:] == ["accused [] convicted [812]"] * 2
    assert kept(tmp_path) == [(812, 3, "worker-killed", 1, 1)]


def test_who_finished_is_acquitted_and_what_counted_is_told(tmp_path: Path) -> None:
    parent = Parent(tmp_path)
    parent.behave("crash")
    with parent:
        wait_until(lambda: any("(1 of 3)" in event.text for event in parent.events("worker.exited")))
        assert kept(tmp_path)
        parent.behave("acquit")
        wait_until(lambda: parent.events("record.acquitted"))
        wait_until(lambda: answers(parent)[-1] == "accused [] convicted []")

        assert "orders/1@812" in parent.events("record.acquitted")[0].text
        wait_until(lambda: not kept(tmp_path))


def test_what_is_committed_is_forgotten(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        convict(parent)
        assert kept(tmp_path)
        parent.behave("commit")
        parent.client.restart("orders")
        wait_until(lambda: answers(parent)[-1] == "accused [] convicted []")

        wait_until(lambda: not kept(tmp_path))


def test_a_ledger_that_cannot_be_written_delays_no_start_for_long(tmp_path: Path) -> None:
    (tmp_path / "state" / FILE).mkdir(parents=True)
    parent = Parent(tmp_path)
    parent.behave("crash")
    with parent:
        wait_until(lambda: any("(2 of 3)" in event.text for event in parent.events("worker.exited")))

        assert parent.events("ledger.unread")
        assert parent.events("ledger.not_durable")
        assert parent.events("ledger.unwritable")
