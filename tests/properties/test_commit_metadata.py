"""What a commit says is settled above its offset is settled, however it was cut, damaged or interrupted (P1)."""

from itertools import pairwise
from random import Random

import hypothesis.strategies as st
from hypothesis import example, given

from supervisor.core.commit_metadata import LIMIT, PREFIX, Runs, above, decode, encode, holds, joined
from supervisor.core.offsets import PartitionOffsets

offsets_ = st.one_of(st.integers(0, 300), st.integers(0, 1 << 60))
limits = st.one_of(st.integers(0, 120), st.just(LIMIT))


@st.composite
def runs(draw: st.DrawFn) -> tuple[int, Runs]:
    base = draw(offsets_)
    lengths = draw(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 400)), max_size=60))
    found, at = [], base
    for gap, length in lengths:
        found.append((at + gap, at + gap + length))
        at += gap + length
    return base, found


def _offsets(some: Runs) -> set[int]:
    return {offset for first, end in some for offset in range(first, end)}


@given(runs())
@example((0, [(at, at + 1) for at in range(1, 10_000, 2)]))
@example((1 << 62, [(at, at + 1) for at in range((1 << 62) + 7, (1 << 62) + 10_000, 50)]))
def test_what_fits_comes_back_as_it_was(given_: tuple[int, Runs]) -> None:
    base, settled = given_

    note = encode(base, settled)

    assert len(note.text) <= LIMIT
    assert note.fill <= 1
    assert decode(note.text + "\0", base) == settled if settled else note.text == ""


@given(runs(), limits)
def test_a_cut_never_claims_what_is_not_settled_and_leaves_out_only_the_end(
    given_: tuple[int, Runs], limit: int
) -> None:
    base, settled = given_

    note = encode(base, settled, limit=limit)

    assert len(note.text) <= limit
    claimed = _offsets(decode(note.text, base) or [])
    assert claimed <= _offsets(settled)
    assert claimed == {offset for offset in _offsets(settled) if offset <= max(claimed, default=-1)}
    assert (claimed == _offsets(settled)) == (note.fill <= 1)


@given(runs(), st.integers(0, 40))
def test_a_note_of_another_offset_claims_nothing(given_: tuple[int, Runs], distance: int) -> None:
    base, settled = given_
    text = encode(base, settled).text

    assert decode(text, base + distance + 1) is None


@given(st.one_of(st.text(), st.binary().map(lambda raw: PREFIX + raw.decode("latin-1"))), offsets_)
@example("", 0)
@example(PREFIX, 0)
@example(PREFIX + "00", 0)
def test_what_others_wrote_is_ignored(text: str, base: int) -> None:
    assert decode(text, base) is None


@given(runs(), st.integers(0, 4000), st.characters(min_codepoint=33, max_codepoint=126))
@example((0, [(15, 147)]), 15, "3")
def test_a_damaged_note_claims_nothing(given_: tuple[int, Runs], at: int, other: str) -> None:
    base, settled = given_
    text = encode(base, settled).text
    if not text:
        return
    at %= len(text)
    damaged = text[:at] + other + text[at + 1 :]

    assert damaged == text or decode(damaged, base) is None
    assert decode(text[:-1], base) is None


@given(runs(), offsets_)
def test_above_and_holds_agree_with_the_offsets_themselves(given_: tuple[int, Runs], position: int) -> None:
    _, settled = given_
    offsets = _offsets(settled)

    assert _offsets(above(settled, position)) == {offset for offset in offsets if offset >= position}
    for first, end in settled[:5]:
        assert [holds(settled, at) for at in (first - 1, first, end - 1, end)] == [
            first - 1 in offsets,
            True,
            True,
            end in offsets,
        ]
    assert joined(settled) == settled or any(a[1] == b[0] for a, b in pairwise(settled))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.randoms(use_true_random=False), limits)
def test_p1_p3_a_crash_at_any_moment_repeats_only_what_was_not_noted(
    holes: list[int], chance: Random, limit: int
) -> None:
    """Lives of one partition: deliver, settle in any order, commit now and then, crash, restore from the commit.

    Compaction may take records away between two lives.
    """
    log = [sum(holes[: at + 1]) for at in range(len(holes))]
    settled: set[int] = set()
    worked: dict[int, int] = {}
    committed, text = 0, ""
    for _ in range(4):
        claims = decode(text, committed) or []
        promised = settled & _offsets(claims)
        known = set(promised)
        assert _offsets(claims) & set(log) <= settled, "a note claimed what nobody had settled"
        tracker = PartitionOffsets()
        to_deliver = [offset for offset in log if offset >= committed]
        open_: list[int] = []
        while to_deliver or open_:
            if chance.random() < 0.1:
                break  # kill -9
            if to_deliver and (not open_ or chance.random() < 0.5):
                offset = to_deliver.pop(0)
                tracker.deliver([offset], now=0.0)
                if holds(claims, offset):
                    tracker.settle(offset)
                else:
                    assert offset not in promised
                    open_.append(offset)
                    worked[offset] = worked.get(offset, 0) + 1
            else:
                offset = open_.pop(chance.randrange(len(open_)))
                tracker.settle(offset)
                settled.add(offset)
                known.add(offset)
            if chance.random() < 0.5:
                base = tracker.committable()
                if base is not None:
                    rest = joined([*tracker.settled_runs(), *above(claims, max(base, tracker.position or 0))])
                    committed, text = base, encode(base, rest, limit=limit).text
                    assert all(offset in settled for offset in log if offset < committed), "P1"
                    if limit == LIMIT:
                        noted = _offsets(decode(text, base) or [])
                        assert {offset for offset in known if offset > base} <= noted
        log = [offset for offset in log if chance.random() < 0.95]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(0, 1 << 30))
def test_p1_stretches_and_open_records_side_by_side_claim_only_what_is_settled(holes: list[int], seed: int) -> None:
    chance = Random(seed)
    to_deliver = [sum(holes[: at + 1]) for at in range(len(holes))]
    tracker = PartitionOffsets()
    stretch: list[int] = []
    opened: list[int] = []
    settled: set[int] = set()
    delivered: set[int] = set()
    while to_deliver or stretch or opened:
        match chance.choice(["stretch", "open", "shorten", "take out", "settle", "settle"]):
            case "stretch" | "open" as how if to_deliver:
                size = chance.randrange(1, 8)
                batch, to_deliver = to_deliver[:size], to_deliver[size:]
                delivered |= set(batch)
                if how == "open":
                    tracker.deliver(batch, now=0.0)
                    opened += batch
                else:
                    tracker.stretch(batch[0], batch[-1], len(batch), now=0.0)
                    stretch += batch
            case "shorten" if stretch:
                size = chance.randrange(1, len(stretch) + 1)
                settled |= set(stretch[:size])
                stretch = stretch[size:]
                tracker.shorten(size, stretch[0] if stretch else None)
            case "take out" if stretch:
                size = chance.randrange(1, len(stretch) + 1)
                taken, stretch = stretch[:size], stretch[size:]
                tracker.take_out(taken, stretch[0] if stretch else None)
                opened += taken
            case "settle" if opened:
                offset = opened.pop(chance.randrange(len(opened)))
                tracker.settle(offset)
                settled.add(offset)

        base = tracker.committable()
        runs_ = tracker.settled_runs()
        claimed = _offsets(runs_)
        assert claimed & delivered <= settled, "P1"
        assert not runs_ or base is not None
        if base is not None:
            assert all(offset >= base for offset in claimed)
            assert all(first[1] <= second[0] for first, second in pairwise(runs_))
            if not stretch:
                assert {offset for offset in settled if offset > base} <= claimed
