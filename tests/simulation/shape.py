"""What chance decides before a simulated life begins: the group, its settings, its records, and what befalls it."""

import random
from dataclasses import dataclass, replace

from supervisor.core.spec import FloodAction, FloodSpec, Ordering, RetryTier
from tests.simulation.broker import SOURCE, Place

OFF = FloodSpec()
KINDS = (
    "quick",
    "slow",
    "pause",
    "stuck",
    "fails once",
    "fails twice",
    "poison",
    "drop",
    "returns",
    "exits",
    "kills",
    "killer",
    "fails often",
    "far",
)
MOSTLY = (60, 8, 4, 1, 5, 2, 3, 1, 1, 1, 1, 0.7, 1, 1)
FAR = b"far"
"""Fails, and has a policy send it to the last tier at once."""
HARMLESS = ("quick", "slow", "fails once", "poison")
FAULTS = (
    "kill",
    "kill",
    "kill",
    "freeze",
    "away",
    "refuse",
    "refuse",
    "sinks",
    "down",
    "down",
    "join",
    "leave",
    "keep",
    "kick",
    "twin",
    "spoil",
    "resume",
)
GENTLE = ("kill", "kill", "join", "leave", "keep")

# One of each answer of core.commits, and the ways in which they come.
CODES = (
    "REBALANCE_IN_PROGRESS",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "_TIMED_OUT",
    "!REQUEST_TIMED_OUT",
    "STALE_MEMBER_EPOCH",
    "UNKNOWN_MEMBER_ID",
    "ILLEGAL_GENERATION",
    "_ASSIGNMENT_LOST",
    "a code nobody knows",
)
ENDINGS = ("FENCED_INSTANCE_ID", "_FATAL", "GROUP_AUTHORIZATION_FAILED")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that befalls the group: when, what, and for how long where that means something."""

    at: float
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Retries:
    """The group's retry topics, if it has any, and how often something goes wrong with them (0 to 1)."""

    tiers: tuple[RetryTier, ...] = ()
    must_be_made: bool = False
    """Whether they are not there yet when the first worker starts."""
    are_shared: bool = False
    """Whether others put records into them, too: people by hand, another group its copies."""
    trouble: float = 0.0
    """Of copies: not written, or not said to be. Of looks at the topics: no answer."""
    kills: float = 0.0
    """Of copies: their process dies as they arrive, or as it hears that they did."""
    seeks_refused: float = 0.0
    skews: tuple[float, ...] = (0.0,)
    """Seconds by which the clocks of hosts are fast."""


@dataclass(frozen=True, slots=True)
class Shape:
    """All of it; the same seed draws the same."""

    seed: int
    protocol: str
    is_static: bool
    workers: int
    partitions: int
    records: int
    ordering: Ordering
    concurrency: int
    in_batches: bool
    patient: bool
    revoke_timeout: float
    max_gap: int
    queue_records: int
    commit_mode: str
    commit_count: int
    commit_interval: float
    attempts: int
    batch_size: int
    batch_age: float
    preempt: float
    stall: float
    longest_stall: float
    most: int
    latency: float
    beat: float
    session: float
    faults: tuple[Fault, ...]
    faults_end: float
    starting: float
    """Seconds in which the first workers start."""
    is_gentle: bool
    """Whether nothing is in the way of commits, so that P3's bound is exact."""
    max_deaths: int = 0
    """How often a record may kill its worker; 0: nobody looks, and what would kill for ever does no harm."""
    retries: Retries = Retries()
    flood: FloodSpec = OFF

    @property
    def places(self) -> list[Place]:
        return [(SOURCE, number) for number in range(self.partitions)]

    @property
    def retry_topics(self) -> list[str]:
        return [f"{SOURCE}.retry.{tier.label}" for tier in self.retries.tiers]

    @property
    def retry_places(self) -> list[Place]:
        return [(topic, number) for topic in self.retry_topics for number in range(self.partitions)]


def draw(seed: int) -> Shape:
    """Return a small group with its faults."""
    dice = random.Random(seed)
    protocol, is_static = dice.choice([("classic", True)] * 5 + [("classic", False)] * 2 + [("consumer", False)] * 3)
    patient, is_gentle = dice.random() < 0.7, dice.random() < 0.2
    faults_end = dice.choice([0.3, 1.0, 2.5])
    kinds = GENTLE if is_gentle else FAULTS
    faults = [
        Fault(dice.random() * faults_end, dice.choice(kinds), dice.choice([0.02, 0.2, 0.6, 1.8]) * dice.random())
        for _ in range(dice.randrange(9))
    ]
    shape = Shape(
        seed=seed,
        protocol=protocol,
        is_static=is_static,
        workers=dice.choice([1, 2, 2, 3, 4]),
        partitions=dice.choice([1, 2, 3, 6]),
        records=dice.randrange(20, 160),
        ordering=dice.choice(list(Ordering)),
        concurrency=dice.choice([1, 2, 4]),
        in_batches=dice.random() < 0.2,
        patient=patient,
        revoke_timeout=4.0 if patient else dice.choice([0.02, 0.2]),
        max_gap=dice.choice([4, 20, 10_000]),
        queue_records=dice.choice([8, 10_000]),
        commit_mode="automatic" if dice.random() < 0.2 else "manual",
        commit_count=dice.choice([1, 10, 1000]),
        commit_interval=dice.choice([0.02, 0.1, 0.5]),
        attempts=dice.choice([1, 2, 3]),
        batch_size=dice.choice([1, 5, 50]),
        batch_age=dice.choice([0.0, 0.01]),
        preempt=dice.choice([0.03, 0.2, 0.6]),
        stall=0.0 if is_gentle else dice.choice([0.0, 0.0, 0.02]),
        longest_stall=dice.choice([0.001, 0.03]),
        most=dice.choice([1, 7, 1000]),
        latency=dice.choice([0.001, 0.01]),
        beat=dice.choice([0.03, 0.1]),
        session=0.8,
        faults=tuple(sorted(faults, key=lambda one: one.at)),
        faults_end=faults_end,
        starting=0.3,
        is_gentle=is_gentle,
        max_deaths=dice.choice([0, 2, 3]),
    )
    # Where there is an order, they are allowed by ``retry.reorder``.
    has_retry_topics = dice.random() < (0.6 if shape.ordering is Ordering.NONE else 0.3)
    retries = _draw_retries(dice, is_gentle=is_gentle) if has_retry_topics else Retries()
    return replace(shape, retries=retries, flood=_draw_flood(dice) if dice.random() < 0.3 else OFF)


def _draw_flood(dice: random.Random) -> FloodSpec:
    limit = dice.choice(
        [FloodSpec(ratio=0.3), FloodSpec(consecutive=3), FloodSpec(consecutive=6), FloodSpec(rate_count=5)]
    )
    return replace(
        limit,
        min_records=dice.choice([5, 20]),
        window=dice.choice([0.5, 2.0]),
        rate_seconds=dice.choice([0.1, 1.0]),
        action=dice.choice([FloodAction.PAUSE] * 3 + [FloodAction.STOP, FloodAction.SHED]),
        resume_after=dice.choice([0.1, 0.5, None]),
    )


def _draw_retries(dice: random.Random, *, is_gentle: bool) -> Retries:
    delays = sorted(dice.sample([0.003, 0.02, 0.05, 0.2, 0.6], dice.choice([1, 2, 2, 3])))
    return Retries(
        tiers=tuple(RetryTier(f"{delay * 1000:g}ms", delay) for delay in delays),
        must_be_made=dice.random() < 0.3,
        are_shared=dice.random() < 0.3,
        trouble=0.0 if is_gentle else dice.choice([0.0, 0.1, 0.5]),
        kills=dice.choice([0.0, 0.0, 0.05]),
        seeks_refused=dice.choice([0.0, 0.0, 0.3]),
        skews=dice.choice([(0.0,), (0.0,), (0.0, 0.03, -0.3)]),
    )


def at_scale(seed: int, *, workers: int, partitions: int, per_partition: int = 5) -> Shape:
    """Return a large group in which one worker in twenty-five comes to harm."""
    dice = random.Random(seed)
    kinds = ("kill", "kill", "kill", "freeze", "keep", "leave", "kick", "join")
    count = max(6, workers // 25)
    faults = [Fault(2.0 + dice.random() * 8.0, dice.choice(kinds), dice.random() * 3.0) for _ in range(count)]
    return replace(
        draw(seed),
        protocol="classic",
        is_static=True,
        workers=workers,
        partitions=partitions,
        records=per_partition * partitions,
        ordering=Ordering.KEY,
        concurrency=4,
        in_batches=False,
        patient=True,
        revoke_timeout=4.0,
        max_gap=10_000,
        queue_records=10_000,
        commit_mode="manual",
        commit_count=1000,
        commit_interval=1.0,
        attempts=2,
        preempt=0.1,
        stall=0.0,
        most=1000,
        latency=0.005,
        beat=1.0,
        session=2.5,
        faults=tuple(sorted(faults, key=lambda one: one.at)),
        faults_end=12.0,
        starting=2.0,
        is_gentle=False,
        max_deaths=3,
        retries=Retries(),
        flood=OFF,
    )
