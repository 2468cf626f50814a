import mmap
from collections.abc import Iterator

import pytest

from supervisor.core import board
from supervisor.core.board import BoardWriter, InFlight, Wait, cell_base, read_board, until_of, until_word

CELLS = 4


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, board.size(CELLS)) as made:
        yield made


@pytest.fixture
def writer(memory: mmap.mmap) -> Iterator[BoardWriter]:
    made = BoardWriter(memory, cells=CELLS, pid=42, incarnation=3, now_ns=1000)
    yield made
    made.words.release()


def enter(writer: BoardWriter, cell: int, topic: str, partition: int, offset: int) -> None:
    base = cell_base(cell)
    writer.words[base + board.C_TOPIC] = writer.topic_index(topic)
    writer.words[base + board.C_PARTITION] = partition
    writer.words[base + board.C_SEQUENCE] += 1
    writer.words[base + board.C_THREAD] = 77
    writer.words[base + board.C_ATTEMPT] = 1
    writer.words[base + board.C_OFFSET] = offset


def test_a_fresh_board_names_its_writer_and_holds_no_record(memory: mmap.mmap, writer: BoardWriter) -> None:
    found = read_board(memory)

    assert found is not None
    assert (found.pid, found.incarnation, found.tick_ns, found.started_ns) == (42, 3, 1000, 1000)
    assert found.wait is Wait.STARTING
    assert found.in_flight == ()


def test_a_record_in_its_handler_is_on_the_board_with_its_coordinates(memory: mmap.mmap, writer: BoardWriter) -> None:
    enter(writer, 2, "orders", 5, 812)

    found = read_board(memory)

    assert found is not None
    assert found.in_flight == (
        InFlight(cell=2, topic="orders", partition=5, offset=812, last_offset=812, sequence=1, attempt=1, thread=77),
    )


def test_a_batch_shows_its_first_and_its_last_record(memory: mmap.mmap, writer: BoardWriter) -> None:
    writer.words[cell_base(0) + board.C_LAST_OFFSET] = 99
    enter(writer, 0, "orders", 0, 50)

    found = read_board(memory)

    assert found is not None
    assert (found.in_flight[0].offset, found.in_flight[0].last_offset) == (50, 99)


def test_the_last_offset_of_an_earlier_batch_does_not_count_for_a_later_record(
    memory: mmap.mmap, writer: BoardWriter
) -> None:
    writer.words[cell_base(0) + board.C_LAST_OFFSET] = 99
    enter(writer, 0, "orders", 0, 200)

    found = read_board(memory)

    assert found is not None
    assert found.in_flight[0].last_offset == 200


def test_a_record_that_left_its_handler_is_not_in_flight(memory: mmap.mmap, writer: BoardWriter) -> None:
    enter(writer, 0, "orders", 0, 1)
    writer.words[cell_base(0) + board.C_OFFSET] = board.IDLE

    found = read_board(memory)

    assert found is not None
    assert found.in_flight == ()


def test_topics_keep_their_index_and_any_name(memory: mmap.mmap, writer: BoardWriter) -> None:
    names = ["orders", "a" * 249, "größe"]
    for cell, name in enumerate(names):
        enter(writer, cell, name, 0, cell)

    found = read_board(memory)

    assert [writer.topic_index(name) for name in names] == [0, 1, 2]
    assert found is not None
    assert [record.topic for record in found.in_flight] == names


def test_a_full_table_of_topics_gives_a_record_without_a_name_and_no_error(
    memory: mmap.mmap, writer: BoardWriter
) -> None:
    for number in range(board.TOPIC_BYTES // 202 + 1):
        writer.topic_index(f"{number:0200}")
    one_too_many = "x" * 200
    enter(writer, 0, one_too_many, 3, 9)

    found = read_board(memory)

    assert writer.topic_index(one_too_many) == -1
    assert found is not None
    assert (found.in_flight[0].topic, found.in_flight[0].partition, found.in_flight[0].offset) == ("?", 3, 9)


def test_the_next_incarnation_starts_with_an_empty_board(memory: mmap.mmap, writer: BoardWriter) -> None:
    enter(writer, 1, "orders", 0, 812)
    writer.words[board.H_SETTLED] = 5
    writer.words[board.H_CANCELS] = 1
    before = read_board(memory)
    assert before is not None
    assert before.cancels

    following = BoardWriter(memory, cells=CELLS, pid=43, incarnation=4, now_ns=2000)
    following.words.release()

    found = read_board(memory)
    assert found is not None
    assert (found.pid, found.incarnation, found.settled, found.in_flight) == (43, 4, 0, ())
    assert not found.cancels


@pytest.mark.parametrize("length", [0, 7, 8, 100, board.size(CELLS)])
def test_what_nobody_wrote_whole_is_no_board(length: int) -> None:
    assert read_board(bytes(length)) is None


def test_a_file_cut_short_is_no_board(memory: mmap.mmap, writer: BoardWriter) -> None:
    assert read_board(bytes(memory[:-1])) is None


def test_a_board_that_claims_more_cells_than_it_has_is_no_board(memory: mmap.mmap, writer: BoardWriter) -> None:
    writer.words[board.H_CELLS] = 10**12

    assert read_board(memory) is None


def test_a_reason_to_wait_of_a_newer_version_reads_as_none(memory: mmap.mmap, writer: BoardWriter) -> None:
    writer.words[board.H_WAIT] = 999

    found = read_board(memory)

    assert found is not None
    assert found.wait is Wait.NONE


def test_what_could_be_worked_and_what_was_begun_can_be_read(memory: mmap.mmap, writer: BoardWriter) -> None:
    writer.words[board.H_RUNNABLE] = 3
    writer.words[board.cell_base(0) + board.C_SEQUENCE] = 5
    writer.words[board.cell_base(1) + board.C_SEQUENCE] = 6

    found = read_board(memory)

    assert found is not None
    assert (found.runnable, found.begun) == (3, 11)


def test_a_count_of_topics_beyond_the_table_is_survived(memory: mmap.mmap, writer: BoardWriter) -> None:
    enter(writer, 0, "orders", 0, 1)
    writer.words[board.H_TOPICS] = 1 << 62

    found = read_board(memory)

    assert found is not None
    assert found.in_flight[0].topic == "orders"


@pytest.mark.parametrize("sequence", [0, 7, (1 << 20) - 1, 1 << 20, (1 << 40) + 5])
def test_a_time_a_record_asked_for_holds_for_its_own_run_only(sequence: int) -> None:
    word = until_word(86_400_000.25, sequence)

    assert until_of(word, sequence) == 86_400_000.25
    assert until_of(word, sequence + 1) == 0.0
    assert -(1 << 63) <= word < 1 << 63
