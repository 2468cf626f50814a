import logging

import pytest

from supervisor.kafka.logs import BURST, WINDOW, Quieter


def _line(text: str) -> logging.LogRecord:
    return logging.LogRecord("librdkafka", logging.ERROR, "", 0, text, None, None)


def test_a_flood_of_one_kind_is_cut_and_counted_and_other_kinds_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("supervisor.kafka.logs.time.monotonic", lambda: clock[0])
    quieter = Quieter()

    through = [quieter.filter(_line(f"FAIL [thrd:{at}] refused")) for at in range(20)]
    assert through == [True] * BURST + [False] * (20 - BURST)
    assert quieter.filter(_line("CONFWARN something else"))

    clock[0] += WINDOW
    next_one = _line("FAIL again")
    assert quieter.filter(next_one)
    assert next_one.__dict__["fields"] == {"text": "again", "left_out": 20 - BURST}


def test_a_line_has_a_constant_event_name_and_its_words_in_a_field() -> None:
    line = _line("FAIL [thrd:broker]: connect to 100% of hosts failed")

    assert Quieter().filter(line)
    assert line.getMessage() == "librdkafka.fail"
    assert line.__dict__["fields"] == {"text": "[thrd:broker]: connect to 100% of hosts failed"}
