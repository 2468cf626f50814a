from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.crashfile import HEAD, LINES, LONGEST, begin, last_lines, note

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=LONGEST)


def ring() -> memoryview:
    memory = memoryview(bytearray(HEAD))
    begin(memory)
    return memory


@given(st.lists(TEXT, max_size=200))
def test_the_last_lines_are_read_in_their_order_as_many_as_fit(lines: list[str]) -> None:
    memory = ring()
    for line in lines:
        note(memory, line)

    found = last_lines(bytes(memory)).split("\n") if lines else []

    assert found == lines[len(lines) - len(found) :]
    assert len(found) <= LINES
    assert len(found) == min(LINES, len(lines)) or sum(len(line) + 1 for line in lines[-len(found) - 1 :]) > HEAD - 17


def test_a_long_line_is_cut_and_control_characters_are_no_danger_to_a_terminal() -> None:
    memory = ring()
    note(memory, "x" * 5000)
    note(memory, "\x1b[2J\0 é \ud800")

    long, odd = last_lines(bytes(memory)).split("\n")

    assert long == "x" * LONGEST
    assert odd == "?[2J? é ?"


def test_what_is_no_ring_has_no_lines() -> None:
    assert last_lines(b"") == last_lines(bytes(HEAD)) == last_lines(b"x" * HEAD) == ""
