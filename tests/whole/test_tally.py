"""The judge of the million: each kind of broken promise is seen, and an order that was kept is none."""

from pathlib import Path

from tests.whole.tally import Verdict, finished, judge
from tests.whole.work import BEAT

START, END = 0, 1


def judged(folder: Path, *files: list[tuple[int, int, int]], end: int, rest: bytes = b"") -> Verdict:
    """Write one ledger per process, of (word, key, offset) in partition 0 with a time each, and judge them."""
    at = 0.0
    for number, words in enumerate(files):
        content = b""
        for word, key, offset in words:
            content += BEAT.pack(word, 0, key, offset, at := at + 1)
        (folder / f"{number}.tally").write_bytes(content + rest)
    return judge(folder, {0: end})


def test_two_keys_in_their_order_and_a_line_cut_off_by_a_kill_are_fine(tmp_path: Path) -> None:
    words = [(START, 7, 0), (START, 8, 1), (END, 8, 1), (END, 7, 0), (START, 7, 2), (END, 7, 2)]

    verdict = judged(tmp_path, words, end=3, rest=b"half")

    assert verdict == Verdict(done=3)
    assert finished(tmp_path) == 3


def test_a_record_that_was_begun_and_never_done_is_lost(tmp_path: Path) -> None:
    verdict = judged(tmp_path, [(START, 7, 0), (END, 7, 0), (START, 7, 1)], end=3)

    assert verdict.lost == ["0@1", "0@2"]


def test_a_key_that_went_on_elsewhere_before_its_record_was_done_was_overtaken(tmp_path: Path) -> None:
    verdict = judged(tmp_path, [(START, 7, 1), (END, 7, 1)], [(START, 7, 0), (END, 7, 0)], end=2)

    assert verdict.overtaken == ["0@1 of key 7 began before 0 was done"]


def test_two_records_of_a_key_at_once_in_one_process_are_seen_though_both_were_done_before(tmp_path: Path) -> None:
    before = [(START, 7, 0), (END, 7, 0), (START, 7, 1), (END, 7, 1)]

    verdict = judged(tmp_path, before, [(START, 7, 0), (START, 7, 1), (END, 7, 0), (END, 7, 1)], end=2)

    assert verdict.side_by_side == ["1.tally: 1 of key 7 began while 0 was in its handler"]
    assert verdict.overtaken == []
    assert verdict.repeats == 2
