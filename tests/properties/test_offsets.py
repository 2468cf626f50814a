"""P1: whatever order records settle in, the committable offset never passes an unsettled one."""

from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from supervisor.core.offsets import OutOfOrderError, PartitionOffsets

# What a compacted or transactional partition delivers: offsets that grow, with holes.
steps = st.lists(st.integers(1, 5), min_size=1, max_size=40)


@given(steps, st.randoms(use_true_random=False), st.integers(1, 7))
def test_the_committable_offset_never_passes_an_unsettled_record(holes: list[int], chance: Random, chunk: int) -> None:
    offsets = [sum(holes[: at + 1]) for at in range(len(holes))]
    tracker = PartitionOffsets()
    unsettled: list[int] = []
    to_deliver = list(offsets)
    while to_deliver or unsettled:
        if to_deliver and (not unsettled or chance.random() < 0.4):
            batch, to_deliver = to_deliver[:chunk], to_deliver[chunk:]
            tracker.deliver(batch, now=0.0)
            unsettled += batch
        else:
            tracker.settle(unsettled.pop(chance.randrange(len(unsettled))))

        expected = min(unsettled) if unsettled else (offsets[len(offsets) - len(to_deliver) - 1] + 1)
        assert tracker.committable() == expected
        assert tracker.gap == len([o for o in offsets if expected <= o < (tracker.position or 0)])

    assert tracker.committable() == offsets[-1] + 1
    assert tracker.gap == 0


@given(steps, st.integers(0, 2**32), st.integers(1, 7))
def test_p1_stretches_and_open_records_side_by_side_never_let_a_commit_pass_an_unsettled_one(
    holes: list[int], seed: int, chunk: int
) -> None:
    """P1: against a model that only knows which offsets are settled."""
    chance = Random(seed)
    to_deliver = [sum(holes[: at + 1]) for at in range(len(holes))]
    tracker = PartitionOffsets()
    delivered: list[int] = []
    stretch: list[int] = []
    opened: list[int] = []
    while to_deliver or stretch or opened:
        match chance.randrange(5):
            case 0 if to_deliver:
                batch, to_deliver = to_deliver[:chunk], to_deliver[chunk:]
                delivered += batch
                if chance.random() < 0.3:
                    tracker.deliver(batch, now=0.0)
                    opened += batch
                else:
                    tracker.stretch(batch[0], batch[-1], len(batch), now=0.0)
                    stretch += batch
            case 1 if stretch:
                done = chance.randint(1, len(stretch))
                stretch = stretch[done:]
                tracker.shorten(done, stretch[0] if stretch else None)
            case 2 if stretch:
                out = sorted(chance.sample(stretch, chance.randint(1, len(stretch))))
                stretch = [offset for offset in stretch if offset not in out]
                tracker.take_out(out, stretch[0] if stretch else None)
                opened += out
            case 3 | 4 if opened:
                tracker.settle(opened.pop(chance.randrange(len(opened))))

        unsettled = stretch + opened
        if delivered:
            expected = min(unsettled) if unsettled else delivered[-1] + 1
            assert tracker.committable() == expected
            repeated = sum(offset >= expected for offset in delivered)
            assert repeated <= tracker.gap
            assert tracker.gap <= repeated + chunk
    assert tracker.gap == 0


def test_a_stretch_that_does_not_add_up_is_refused() -> None:
    tracker = PartitionOffsets()
    tracker.stretch(4, 9, 3, now=0.0)

    with pytest.raises(OutOfOrderError, match="0 records are left of a stretch that goes on at 9"):
        tracker.shorten(3, 9)


def test_the_oldest_unsettled_record_has_the_age_of_its_chunk() -> None:
    tracker = PartitionOffsets()
    tracker.deliver([1, 2, 3], now=10.0)
    tracker.deliver([7, 8], now=20.0)

    assert tracker.oldest(now=25.0) == 15.0
    for offset in (1, 2, 3):
        tracker.settle(offset)
    assert tracker.oldest(now=25.0) == 5.0
    for offset in (7, 8):
        tracker.settle(offset)
    assert tracker.oldest(now=25.0) == 0.0


def test_an_end_of_partition_passes_control_records_but_not_unsettled_ones() -> None:
    tracker = PartitionOffsets()
    tracker.deliver([4], now=0.0)

    tracker.advance(6)
    assert tracker.committable() == 4
    tracker.settle(4)
    assert tracker.committable() == 6


def test_a_record_delivered_again_is_refused() -> None:
    tracker = PartitionOffsets()
    tracker.deliver([4, 5], now=0.0)

    with pytest.raises(OutOfOrderError, match="offset 5 was delivered after position 6"):
        tracker.deliver([5], now=0.0)


def test_nothing_is_committable_before_the_first_record() -> None:
    assert PartitionOffsets().committable() is None
