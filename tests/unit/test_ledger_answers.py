"""What a worker is told of accused records fits into frames, however many they are and whatever they left behind."""

from typing import Any

from supervisor.core.accused_frames import accused_frames
from supervisor.core.cases import Case, Evidence, offsets_of
from supervisor.core.frames import MAX_FRAME, encode
from supervisor.parent.deaths.ledger import MOST_LOG, MOST_STACK
from supervisor.parent.processes.channel import MAX_UNSENT

LEFT = Evidence(-11, "x" * MOST_STACK, "\u00e9" * MOST_LOG)
Frames = list[dict[str, Any]]
TOPIC = "t" * 249
PLACE = (TOPIC, 0)


def answer(cases: dict[int, Case], *, room: int = MAX_UNSENT) -> tuple[Frames, int]:
    frames, left_out = accused_frames(7, [(PLACE, cases)], room=room)
    assert all(len(encode("accused", **frame)) < MAX_FRAME for frame in frames)
    assert [frame["ask"] for frame in frames] == [0] * (len(frames) - 1) + [7]
    return frames, left_out


def convicted(frames: Frames) -> dict[int, dict[str, Any]]:
    return {offset: case for frame in frames for _, _, offset, case in frame["convicted"]}


def suspects(frames: Frames) -> set[int]:
    return {offset for frame in frames for _, _, runs, _ in frame["suspects"] for offset in offsets_of(runs)}


def test_many_convictions_are_all_told_though_not_all_of_their_evidence_has_room() -> None:
    frames, left_out = answer(dict.fromkeys(range(100), Case(deaths=3, convicted=True, evidence=LEFT)))

    told = convicted(frames)
    assert not left_out
    assert list(told) == list(range(100))
    assert ["stack" in case["evidence"] for case in told.values()].count(True) > 5
    assert {case["evidence"]["status"] for case in told.values()} == {-11}


def test_thousands_of_cases_are_told_in_several_frames_of_which_each_knows_the_ids_of_its_topics() -> None:
    guilty = {offset: Case(deaths=3, convicted=True, topic_id="id") for offset in range(3_000)}
    frames, left_out = answer(guilty | {offset: Case(topic_id="id") for offset in range(10_000, 50_000, 2)})

    assert not left_out
    assert len(frames) > 3
    assert set(convicted(frames)) == set(range(3_000))
    assert suspects(frames) == set(range(10_000, 50_000, 2))
    assert all([ids for _, _, _, ids in frame["suspects"]] == [["id"]] for frame in frames)


def test_p6_what_is_more_than_a_channel_takes_is_left_out_and_counted_the_suspects_first() -> None:
    cases = {offset: Case() for offset in range(0, 60_000, 2)}
    cases |= {offset: Case(deaths=3, convicted=True) for offset in range(1, 2_000, 2)}
    frames, left_out = answer(cases, room=600_000)

    assert set(convicted(frames)) == set(range(1, 2_000, 2))
    assert left_out == 30_000 - len(suspects(frames)) > 0
    assert sum(len(encode("accused", **frame)) for frame in frames) < 700_000


def test_who_asks_where_nobody_is_accused_is_answered() -> None:
    assert accused_frames(7, [], room=MAX_UNSENT) == ([{"ask": 7, "suspects": [], "convicted": []}], 0)
