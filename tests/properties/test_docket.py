"""However workers die, only the guilty are convicted, and each after at most ``max_deaths`` and one more deaths."""

from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import given

from supervisor.core.accusations import accuse
from supervisor.core.board import InFlight
from supervisor.core.cases import Case, Evidence, Record, offsets_of, runs_of
from supervisor.core.docket import Docket

GROUP = "orders"
PLACE = ("t", 0)


@dataclass(frozen=True)
class Story:
    """Records, which of them kill, how many are worked at once, and whether deaths tell their thread, in turn."""

    records: int
    guilty: frozenset[int]
    concurrency: int
    max_deaths: int
    tells: tuple[bool, ...]
    kills: tuple[bool, ...]
    """Whether somebody else kills the worker now, which he only does while several records are in flight."""


@st.composite
def stories(draw: st.DrawFn) -> Story:
    records = draw(st.integers(1, 25))
    return Story(
        records,
        frozenset(draw(st.sets(st.integers(0, records - 1), max_size=4))),
        draw(st.integers(1, 8)),
        draw(st.integers(1, 4)),
        tuple(draw(st.lists(st.booleans(), min_size=1, max_size=8))),
        tuple(draw(st.lists(st.booleans(), max_size=12))),
    )


def cell(number: int, offset: int) -> InFlight:
    return InFlight(number, *PLACE, offset, offset, sequence=1, attempt=1, thread=100 + number)


def begin(docket: Docket, left: list[int], concurrency: int) -> list[int]:
    """Return what is worked next: a suspect alone, others together up to the next suspect."""
    cases = docket.of(GROUP, PLACE)
    if left[0] in cases:
        return left[:1]
    free = [at for at, offset in enumerate(left) if offset in cases]
    return left[: min(free[0] if free else len(left), concurrency)]


def live(story: Story) -> tuple[Docket, int, set[int]]:
    """Work all records, whatever that takes; return the docket, the deaths, and who became a dead letter."""
    docket, deaths, letters = Docket(), 0, set[int]()
    left, kills = list(range(story.records)), list(story.kills)
    while left:
        cases = docket.of(GROUP, PLACE)
        letters |= {offset for offset, case in cases.items() if case.convicted}
        left = [offset for offset in left if offset not in letters]
        if not left:
            break
        hand = begin(docket, left, story.concurrency)
        board = [cell(number, offset) for number, offset in enumerate(hand)]
        killers = [at for at, offset in enumerate(hand) if offset in story.guilty]
        is_foreign = len(hand) > 1 and bool(kills) and kills.pop()
        if killers or is_foreign:
            tells = story.tells[deaths % len(story.tells)] and not is_foreign
            known = docket.accused(GROUP, [(*PLACE, offset) for offset in hand])
            thread = board[killers[0]].thread if tells else None
            accusation = accuse(board, crashed=thread, accused=known)
            docket.accuse(GROUP, accusation, Evidence(), max_deaths=story.max_deaths, now=0.0)
            deaths += not is_foreign
            continue
        docket.acquit(GROUP, [(*PLACE, offset) for offset in hand])
        left = left[len(hand) :]
    return docket, deaths, letters


@given(stories())
def test_only_the_guilty_are_convicted_each_after_few_deaths(story: Story) -> None:
    docket, deaths, letters = live(story)

    assert letters == story.guilty
    assert deaths <= (story.max_deaths + 1) * len(story.guilty)
    assert {offset for offset in docket.of(GROUP, PLACE) if offset not in story.guilty} == set()


@given(st.sets(st.integers(0, 200)))
def test_runs_tell_the_offsets(offsets: set[int]) -> None:
    assert offsets_of(runs_of(offsets)) == offsets


RECORD: Record = (*PLACE, 7)


def counted(deaths: int, *, max_deaths: int = 3) -> Docket:
    docket = Docket()
    for _ in range(deaths):
        accusation = accuse((cell(0, 7),), crashed=100)
        docket.accuse(GROUP, accusation, Evidence(-11, "stack", "log"), max_deaths=max_deaths, now=1.0)
    return docket


def test_a_conviction_is_not_acquitted_and_is_buried_once_its_letter_is_confirmed() -> None:
    docket = counted(3)

    assert docket.acquit(GROUP, [RECORD]) == []
    ((_, _, case),) = docket.bury(GROUP, [RECORD])
    assert case is not None
    assert (case.convicted, case.buried, case.evidence.status) == (True, True, -11)


def test_a_suspect_is_not_buried() -> None:
    assert counted(2).bury(GROUP, [RECORD]) == []


def test_a_topic_made_anew_has_no_record_of_the_old_one() -> None:
    docket = counted(3)

    ((_, _, case),) = docket.identify(GROUP, "t", "id-1")
    assert case is not None
    assert case.topic_id == "id-1"
    assert docket.identify(GROUP, "t", "id-1") == []
    docket.identify(GROUP, "t", "id-2")
    assert docket.is_empty


def test_what_is_below_the_committed_offset_is_forgotten() -> None:
    docket = counted(1)

    assert docket.committed(GROUP, PLACE, 7) == []
    assert docket.committed(GROUP, PLACE, 8) == [((GROUP, *PLACE), 7, None)]
    assert docket.count(GROUP) == (0, 0)


def test_suspects_keep_what_counted_against_them() -> None:
    docket = counted(2)
    docket.accuse(GROUP, accuse((cell(0, 7), cell(1, 8))), Evidence(), max_deaths=3, now=2.0)

    assert docket.of(GROUP, PLACE)[7].deaths == 2
    assert docket.of(GROUP, PLACE)[8] == Case(first_at=2.0, last_at=2.0)


DAY = 86400.0


@pytest.mark.parametrize(
    ("deaths", "days", "is_kept"),
    [(0, 6, True), (0, 8, False), (2, 8, False), (3, 8, True), (3, 89, True), (3, 92, False)],
)
def test_a_case_is_forgotten_at_its_age_and_a_conviction_much_later(deaths: int, days: int, *, is_kept: bool) -> None:
    docket = counted(deaths)
    if not deaths:
        docket.accuse(GROUP, accuse((cell(0, 7), cell(1, 8))), Evidence(), max_deaths=3, now=1.0)

    changes = docket.aged(now=1.0 + days * DAY)

    assert docket.is_empty is not is_kept
    assert {(key, case) for key, _, case in changes} == (set() if is_kept else {((GROUP, *PLACE), None)})


def test_a_conviction_that_a_worker_asked_for_is_not_forgotten_early() -> None:
    docket = counted(3)
    assert list(docket.asked(GROUP, PLACE, now=80 * DAY)) == [7]

    assert docket.aged(now=160 * DAY) == []
    assert docket.aged(now=171 * DAY) == [((GROUP, *PLACE), 7, None)]
    assert docket.asked(GROUP, PLACE, now=172 * DAY) == {}
