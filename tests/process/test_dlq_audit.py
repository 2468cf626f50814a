"""Who did what with dead letters is in the journal, with and without a running supervisor."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from supervisor.control.client import Refused
from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event, Severity
from supervisor.parent.store.journal_file import append, journal_file, read_file
from tests.process.parents import Parent


def event(text: str) -> Event:
    return Event("dlq.replayed", Severity.INFO, time.time(), group="orders", text=text, fields={"sent": 3})


def test_p7_a_running_supervisor_tells_it_with_who_asked(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.client.note_dlq("replayed", "orders", text="3 sent", fields={"sent": 3, "filter": "all", "uid": 7})

        (told,) = parent.events("dlq.replayed")

    assert (told.group, told.text) == ("orders", "3 sent")
    assert told.fields == {"sent": 3, "filter": "all", "uid": os.getuid(), "pid": os.getpid()}


def test_only_what_is_done_with_dead_letters_can_be_told(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent, pytest.raises(Refused, match="name"):
        parent.client.note_dlq("worker.exited", "orders", text="", fields={})


def test_p7_without_a_supervisor_the_journal_is_written_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    file = journal_file(tmp_path / "state")

    append(file, event("first"))
    append(file, event("second"))
    page = read_file(file, EventQuery())
    with Parent(tmp_path) as parent:
        parent.client.note_dlq("replayed", "orders", text="third", fields={})
        entries = parent.client.journal(EventQuery()).entries

    assert [(entry.seq, entry.event.text) for entry in page.entries] == [(1, "first"), (2, "second")]
    told = [entry for entry in entries if entry.event.name == "dlq.replayed"]
    assert [entry.event.text for entry in told] == ["first", "second", "third"]
    assert told[2].seq > 2


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(sqlite3.NotSupportedError):
        append(file, event("x"))
