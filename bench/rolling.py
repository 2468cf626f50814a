"""A rolling restart of 16 workers under load: how long each slot's partitions stand still, and who else notices.

Every worker of one ``supervisor run`` owns its partitions and works a steady stream. ``restart --rolling`` gives each
a new process under the same static id. A slot's gap is from the last record that its old process worked to the
first of the new one; a callback in any other slot is a disturbance.
"""

import statistics
import time
from dataclasses import dataclass

from bench.groups import Supervised
from bench.stage import BenchError, Figures, Stage, progress, wait_for
from bench.stream import producing
from supervisor.control.client import ControlClient
from tests.broker.records import create_topic

SLOTS = 16
RATE = 50
"""Records per second and partition."""
QUIET = 2.5
"""Seconds without a callback after which the group has come to rest: some heartbeats."""
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Gap:
    """What one slot's restart cost: seconds without a record, and callbacks in other slots."""

    slot: int
    seconds: float


def run(stage: Stage) -> Figures:
    """Roll the group, several times unless quick."""
    return measure(stage, rounds=1 if stage.quick else 5, slots=SLOTS)


def measure(stage: Stage, *, rounds: int, slots: int) -> Figures:
    """Roll ``slots`` workers ``rounds`` times under load; each has one partition."""
    topic = create_topic(stage.bootstrap, "rolling", partitions=slots)
    gaps: list[Gap] = []
    took: list[float] = []
    disturbed = 0
    with (
        producing(stage.bootstrap, topic, slots, rate=RATE),
        Supervised(stage, "rolling", topic, workers=slots) as group,
    ):
        client = ControlClient(group.socket)
        _settle(group, slots)
        for number in range(rounds):
            before = [group.newest(slot) for slot in range(slots)]
            callbacks = [group.callbacks(slot) for slot in range(slots)]
            since = time.monotonic()
            _roll(client)
            took.append(time.monotonic() - since)
            wait_for(
                lambda: all(group.newest(slot).number > old.number for slot, old in enumerate(before)),  # noqa: B023 - within this round
                "a slot works nothing after its restart",
            )
            _settle(group, slots)
            for slot, old in enumerate(before):
                was, now = group.incarnation(slot, old.number), group.incarnation(slot, old.number + 1)
                gaps.append(Gap(slot, min(now.first.values()) - max(was.newest.values())))
                # The slot's own: the old process gave up what it had, the new one was assigned it.
                disturbed += abs(group.callbacks(slot) - callbacks[slot] - 2)
            last = max(gap.seconds for gap in gaps[-slots:])
            progress(f"round {number + 1}/{rounds}: {took[-1]:.1f} s, longest gap {last:.3f} s, {disturbed} disturbed")
    seconds = [gap.seconds for gap in gaps]
    return {
        "workers": slots,
        "max_gap_s": round(max(seconds), 3),
        "median_gap_s": round(statistics.median(seconds), 3),
        "others_disturbed": disturbed,
        "roll_s": round(statistics.median(took), 2),
        "restarts": len(gaps),
    }


def _roll(client: ControlClient) -> None:
    begun = client.restart_rolling()
    wait_for(lambda: client.operation(begun.number).state != "running", "the roll is not over", timeout=PATIENCE)
    over = client.operation(begun.number)
    if over.error:
        raise BenchError(over.error)


def _settle(group: Supervised, slots: int) -> None:
    """Wait until every slot works its partition and no callback comes any more."""
    everyone = range(slots)
    wait_for(lambda: all(len(group.newest(slot).owned) == 1 for slot in everyone), "not every slot works", timeout=60)
    seen: list[int] = []
    since = time.monotonic()

    def is_quiet() -> bool:
        nonlocal seen, since
        now = [group.callbacks(slot) for slot in everyone]
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > QUIET

    wait_for(is_quiet, "the group does not come to rest", timeout=60, every=0.2)
