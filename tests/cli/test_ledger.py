from dataclasses import replace
from pathlib import Path

from supervisor.cli.demo.ledger import Entry, Kill, Letter, Proof, prove, read_ledger

A, B = 11, 12
KILL = Kill(pid=A, partition=0, committed=3, resumed_at=3, seconds=3.5)
LETTER = Letter(0, 0, {"supervisor.dlq.partition": "0", "supervisor.dlq.offset": "5"})


def proof(
    entries: list[Entry], *, letters: tuple[Letter, ...] = (LETTER,), committed: int = 6, kill: Kill = KILL
) -> Proof:
    return prove({0: 6}, entries, letters=letters, committed={0: committed}, kill=kill, poison=(0, 5))


def worked(pid: int, *offsets: int) -> list[Entry]:
    return [Entry(0, offset, pid) for offset in offsets]


def test_the_proof_holds_when_every_record_was_worked_or_is_a_dead_letter() -> None:
    made = proof(worked(A, 0, 1, 2, 3) + worked(B, 3, 4))

    assert made.holds
    assert (made.produced, made.processed, made.dead_lettered, made.duplicates) == (6, 5, 1, 1)
    assert made.dead_letter == LETTER


def test_a_lost_record_breaks_the_proof_and_is_named() -> None:
    made = proof(worked(A, 0, 1, 2) + worked(B, 4))

    assert not made.holds
    assert made.lost == ("0@3",)


def test_resuming_anywhere_but_at_the_committed_offset_breaks_the_proof() -> None:
    assert not proof(worked(A, 0, 1, 2, 3, 4), kill=replace(KILL, resumed_at=4)).holds


def test_an_uncommitted_end_breaks_the_proof() -> None:
    assert not proof(worked(A, 0, 1, 2, 3, 4), committed=5).holds


def test_a_dead_letter_of_another_record_breaks_the_proof() -> None:
    other = Letter(0, 1, {"supervisor.dlq.partition": "0", "supervisor.dlq.offset": "4"})

    assert not proof(worked(A, 0, 1, 2, 3, 4), letters=(LETTER, other)).holds


def test_a_line_that_is_still_being_written_is_left_for_the_next_reading(tmp_path: Path) -> None:
    whole = '{"topic": "orders", "partition": 0, "offset": 7, "pid": 11}\n'
    (tmp_path / "11.jsonl").write_text(whole + '{"topic": "ord')

    assert read_ledger(tmp_path) == [Entry(0, 7, 11)]
