"""Lines of the log: one event name each, and nothing in a field that makes it two lines or another event."""

import json
import logging
from typing import Any

import pytest

from supervisor.logs import EventFormatter


def _record(name: str, /, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("supervisor.test", logging.WARNING, "", 0, name, None, None)
    made.created, made.msecs = 1700.25, 250.0
    made.fields = fields
    return made


def test_no_field_takes_the_place_of_the_lines_own_members() -> None:
    record = _record("alert.failed", event="worker.exited", at="handlers.py:12", level="high", logger="mine")

    line = json.loads(EventFormatter("json", {"group": "orders"}).format(record))

    own = {"event": "alert.failed", "at": 1700.25, "level": "warning", "logger": "supervisor.test", "group": "orders"}
    assert line.items() >= own.items()
    fields = {"event_": "worker.exited", "at_": "handlers.py:12", "level_": "high", "logger_": "mine"}
    assert line.items() >= fields.items()


@pytest.mark.parametrize("value", ["a\nlevel=CRITICAL", "a\rb", "\x1b[2J", "a\u2028b", 'a"b', "a=b", "\ud800"])
def test_a_field_of_a_line_of_text_is_one_plain_word_or_is_quoted(value: str) -> None:
    line = EventFormatter("text", {}, stamped=False).format(_record("sink.failed", why=value))

    name, _, shown = line.partition(" why=")
    assert name == "sink.failed"
    assert shown.isascii()
    assert shown.isprintable()
    assert json.loads(shown) == value


def test_words_and_numbers_stand_as_they_are() -> None:
    record = _record("a.b", topic="größe.1", took=0.12345, no="")
    line = EventFormatter("text", {"slot": 1}, stamped=False).format(record)

    assert line == 'a.b slot=1 topic=größe.1 took=0.123 no=""'
