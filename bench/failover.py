"""How long a killed worker's partitions stand still, and whether the other workers notice.

One of three workers gets SIGKILL; its slot is started again by the supervisor: forked, and in a second supervisor
exec'd. Beside them, in turns, one of three static members without a supervisor is killed and started again by the
benchmark: no new interpreter can be quicker.
"""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.groups import SLOTS, ByHand, Group, Supervised, settle
from bench.peers.deployments import DEPLOYMENTS, Deployment
from bench.peers.kills import figures as kill_members
from bench.stage import Figures, Stage, progress, wait_for
from bench.stream import producing
from tests.broker.records import create_topic

PARTITIONS = 6
RATE = 20
"""Records per second and partition."""
WATCHED = 1.5
"""Seconds after a recovery in which the others' callbacks count: a rebalance reaches them with a heartbeat (1 s)."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One kill: seconds until the slot delivered one of its partitions, and until it delivered all of them."""

    first: float
    last: float


@dataclass(slots=True)
class Side:
    """All kills of one side. ``disturbed`` counts callbacks in slots that were not killed."""

    recoveries: list[Recovery] = field(default_factory=list)
    disturbed: int = 0
    steps: dict[str, list[float]] = field(default_factory=dict)


def run(stage: Stage) -> Figures:
    """Kill each of the three slots once per cycle: a second death in a row waits by design."""
    ours = measure(stage, cycles=2 if stage.quick else 6, slots=range(SLOTS))
    return ours | peers(stage, DEPLOYMENTS, kills=1 if stage.quick else 3) if stage.peers else ours


def measure(stage: Stage, *, cycles: int, slots: Sequence[int]) -> Figures:
    """Kill members of all sides in turns; each cycle has groups of its own."""
    chance = random.Random(1)
    topic = create_topic(stage.bootstrap, "failover", partitions=PARTITIONS)
    ours, execd, raw = Side(), Side(), Side()
    with producing(stage.bootstrap, topic, PARTITIONS, rate=RATE):
        for cycle in range(cycles):
            with (
                Supervised(stage, f"failover-{cycle}", topic) as supervised,
                Supervised(stage, f"failover-exec-{cycle}", topic, start_method="exec") as by_exec,
                ByHand(stage, supervised, f"failover-raw-{cycle}", topic) as by_hand,
            ):
                for group in (supervised, by_exec, by_hand):
                    settle(group)
                for slot in slots:
                    time.sleep(chance.random() * 0.5)  # not in step with heartbeats and commits
                    _ours(supervised, slot, ours)
                    _ours(by_exec, slot, execd)
                    _kill(by_hand, slot, raw)
                    last, new, by = ours.recoveries[-1], execd.recoveries[-1], raw.recoveries[-1]
                    steps = ", ".join(f"{step} {times[-1]:.3f}" for step, times in ours.steps.items())
                    text = f"{last.first:.3f} s ({steps}), exec {new.first:.3f} s, by hand {by.first:.3f} s"
                    progress(f"cycle {cycle + 1}/{cycles}, slot {slot}: {text}")
    return _figures(ours, execd, raw)


def peers(stage: Stage, deployments: Sequence[Deployment], *, kills: int, topic: str = "failover-peers") -> Figures:
    """Kill members under other supervisors, which work a topic of the same size at the same rate."""
    create_topic(stage.bootstrap, topic, partitions=PARTITIONS)
    with producing(stage.bootstrap, topic, PARTITIONS, rate=RATE):
        return kill_members(stage, deployments, topic=topic, partitions=PARTITIONS, kills=kills)


def _ours(group: Supervised, slot: int, side: Side) -> None:
    """Kill a worker, and note when the steps of its way back were."""
    number = group.newest(slot).number
    at = _kill(group, slot, side) + time.time() - time.monotonic()
    for step, logged in group.steps(slot, number + 1).items():
        side.steps.setdefault(step, []).append(logged - at)


def _kill(group: Group, slot: int, side: Side) -> float:
    """Kill one slot's process, watch its way back, and the others; return when it was killed."""
    others = [other for other in range(SLOTS) if other != slot]
    processes = [group.newest(other).pid for other in others]
    before = sum(map(group.callbacks, others))
    old = group.newest(slot)
    at = group.kill(slot)

    def is_back() -> bool:
        new = group.newest(slot)
        return new.number > old.number and new.first.keys() >= old.owned

    wait_for(is_back, "the killed slot does not deliver its partitions again", timeout=60)
    times = group.newest(slot).first.values()
    side.recoveries.append(Recovery(min(times) - at, max(times) - at))
    time.sleep(WATCHED)
    restarted = sum(group.newest(other).pid != pid for other, pid in zip(others, processes, strict=True))
    side.disturbed += sum(map(group.callbacks, others)) - before + restarted
    return at


def _figures(ours: Side, execd: Side, raw: Side) -> Figures:
    median = statistics.median(recovery.first for recovery in ours.recoveries)
    raw_median = statistics.median(recovery.first for recovery in raw.recoveries)
    return {
        "median_s": round(median, 3),
        "max_s": round(max(recovery.first for recovery in ours.recoveries), 3),
        "all_partitions_median_s": round(statistics.median(recovery.last for recovery in ours.recoveries), 3),
        "exec_median_s": round(statistics.median(recovery.first for recovery in execd.recoveries), 3),
        "exec_max_s": round(max(recovery.first for recovery in execd.recoveries), 3),
        "others_disturbed": ours.disturbed + execd.disturbed,
        "runs": len(ours.recoveries),
        "raw_median_s": round(raw_median, 3),
        "raw_max_s": round(max(recovery.first for recovery in raw.recoveries), 3),
        "raw_all_partitions_median_s": round(statistics.median(recovery.last for recovery in raw.recoveries), 3),
        "raw_others_disturbed": raw.disturbed,
        "ratio": round(median / raw_median, 2),
        "steps_median_s": {step: round(statistics.median(times), 3) for step, times in ours.steps.items()},
        "exec_steps_median_s": {step: round(statistics.median(times), 3) for step, times in execd.steps.items()},
    }
