"""Lines for the journal, against a socket that reads them as journald does."""

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.journald import LONGEST, JournalHandler, PriorityFormatter, is_journal
from supervisor.logs import EventFormatter


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "socket"))
    listener.settimeout(5)
    yield listener
    listener.close()


@pytest.fixture
def handler(tmp_path: Path, journal: socket.socket) -> Iterator[JournalHandler]:
    identity = {"group": "orders", "slot": 1, "incarnation": 7}
    made = JournalHandler(identity, str(tmp_path / "socket"))
    made.setFormatter(EventFormatter("text", identity, stamped=False))
    yield made
    made.close()


def record(event: str, level: int = logging.WARNING, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("supervisor.test", level, __file__, 1, event, None, None)
    made.__dict__["fields"] = fields
    return made


def entry(journal: socket.socket) -> dict[str, str]:
    data, found = journal.recv(1 << 20), {}
    while data:
        name, _, rest = data.partition(b"\n")
        (size,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + size].decode()
        assert rest[8 + size : 9 + size] == b"\n"
        data = rest[9 + size :]
    return found


def test_a_line_has_a_priority_and_fields_to_look_for(handler: JournalHandler, journal: socket.socket) -> None:
    handler.emit(record("record.dead_lettered", record="orders/3@812", why="x"))

    assert entry(journal) == {
        "MESSAGE": "record.dead_lettered group=orders slot=1 incarnation=7 record=orders/3@812 why=x",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "supervisor",
        "EVENT": "record.dead_lettered",
        "LOGGER": "supervisor.test",
        "GROUP": "orders",
        "SLOT": "1",
        "INCARNATION": "7",
        "TOPIC": "orders",
        "PARTITION": "3",
        "OFFSET": "812",
    }


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3"), (logging.CRITICAL, "2")],
)
def test_levels_become_priorities(handler: JournalHandler, journal: socket.socket, level: int, priority: str) -> None:
    handler.emit(record("x.y", level))

    assert entry(journal)["PRIORITY"] == priority


def test_line_ends_and_equal_signs_in_a_value_make_no_fields(handler: JournalHandler, journal: socket.socket) -> None:
    handler.emit(record("x.y", topic="a\nPRIORITY=0\n"))

    found = entry(journal)
    assert found["TOPIC"] == "a\nPRIORITY=0\n"
    assert found["PRIORITY"] == "4"


def test_a_journal_that_does_not_keep_up_costs_lines_which_are_counted_and_never_time(
    handler: JournalHandler, journal: socket.socket
) -> None:
    for number in range(100_000):
        handler.emit(record("x.y", number=number))
        if handler.dropped == 3:
            break
    while "number=0" not in entry(journal)["MESSAGE"]:
        pass
    journal.recv(1 << 20)

    handler.emit(record("at.last"))

    assert handler.dropped == 0
    while "at.last" not in (message := entry(journal)["MESSAGE"]):
        pass
    assert message.endswith("(lines lost before this: 3)")


def test_a_line_of_any_length_is_sent(handler: JournalHandler, journal: socket.socket) -> None:
    handler.emit(record("x.y", text="x" * 10_000_000))

    assert len(entry(journal)["MESSAGE"]) == LONGEST


def test_every_line_of_a_text_has_its_priority() -> None:
    error = ValueError("no\nfurther")
    made = logging.LogRecord("a", logging.ERROR, __file__, 1, "x.y", None, (ValueError, error, None))

    text = PriorityFormatter(EventFormatter("text", {}, stamped=False)).format(made)

    assert len(text.split("\n")) >= 2
    assert all(line.startswith("<3>") for line in text.split("\n"))


def test_only_the_stream_that_systemd_made_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        found = os.fstat(file.fileno())

        assert is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(file.fileno(), {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(file.fileno(), {})
        assert not is_journal(9999, {"JOURNAL_STREAM": ""})


def test_nobody_who_listens_is_an_error_that_the_caller_can_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        JournalHandler({}, str(tmp_path / "nobody"))
