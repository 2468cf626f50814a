from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.exits import ExitCode
from supervisor.core.slot import (
    CancelSpawn,
    Exited,
    Hold,
    Hung,
    Joined,
    Overweight,
    Policy,
    Process,
    Ready,
    Recycle,
    Report,
    Restart,
    SendStop,
    Signal,
    Slot,
    SlotEvent,
    Spawn,
    Spawned,
    SpawnFailed,
    Start,
    Stop,
    Tick,
)
from supervisor.core.slot_rules import is_down, step
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode

STATUSES = (0, 1, -9, -11, -15, *ExitCode)

orders = st.one_of(
    st.just(Start()),
    st.builds(Stop, st.sampled_from(End), fast=st.booleans()),
    st.just(Restart()),
    st.just(Hold()),
)
happenings = st.one_of(
    st.just("arrive"),
    st.just("refuse"),
    st.just(Ready()),
    st.just(Joined()),
    st.just(Hung("x")),
    st.just(Recycle("x")),
    st.just(Overweight("x")),
    st.builds(Exited, st.sampled_from(STATUSES), oom=st.booleans()),
    st.floats(0.01, 100.0),
)
lives = st.lists(st.tuples(st.one_of(orders, happenings, happenings, happenings), st.floats(0, 0.999)), max_size=80)
policies = st.builds(Policy, is_static=st.booleans(), never_ready_limit=st.integers(1, 5))


@dataclass
class World:
    """The naive model: what processes really exist, and who wants the slot to run."""

    policy: Policy
    slot: Slot = field(default_factory=Slot)
    now: float = 0.0
    asked: Spawn | None = None
    live: Spawn | None = None
    wanted: bool = False
    started: list[Spawn] = field(default_factory=list)
    deaths: int = 0
    obituaries: int = 0

    def feed(self, event: SlotEvent, chance: float) -> None:
        """Let one event happen and perform its effects, checking each against what is there."""
        self.slot, effects = step(self.policy, self.slot, event, now=self.now, chance=chance)
        for effect in effects:
            match effect:
                case Spawn():
                    assert self.asked is None, "a process is asked for beside one that was asked for"
                    assert self.live is None, "a process is asked for beside a live one"
                    assert effect.mode is Mode.LEAVE or self.wanted, "work was started after a stop"
                    self.asked = effect
                    self.started.append(effect)
                case CancelSpawn():
                    assert self.asked is not None
                    self.asked = None
                case Signal() | SendStop():
                    assert self.live is not None, "a signal to nobody"
                case Report(name="worker.exited"):
                    self.obituaries += 1
                case Report():
                    pass
        self.check()

    def live_through(self, what: SlotEvent | str | float, chance: float) -> None:
        """Let ``what`` happen if it can in this world."""
        match what:
            case "arrive" | "refuse":
                self.answer(chance, fails=what == "refuse")
            case float():
                self.now += what
                self.feed(Tick(), chance)
            case Exited() if self.live is not None:
                self.live = None
                self.deaths += 1
                self.feed(what, chance)
            case Ready() | Joined() | Hung() | Recycle() | Overweight() if self.live is not None:
                self.feed(what, chance)
            case Start() | Restart():
                self.wanted = True
                self.feed(what, chance)
            case Stop():
                self.wanted = False
                self.feed(what, chance)
            case Hold():
                if self.live is None or self.live.mode is Mode.LEAVE:
                    self.wanted = False
                self.feed(what, chance)
            case _:
                pass

    def answer(self, chance: float, *, fails: bool) -> None:
        """Make the process that was asked for, or fail to."""
        if self.asked is None:
            return
        asked, self.asked = self.asked, None
        if fails:
            self.feed(SpawnFailed("EAGAIN"), chance)
        else:
            self.live = asked
            self.feed(Spawned(1), chance)

    def settle(self) -> None:
        """Let every process end well until nothing moves."""
        for _ in range(40):
            self.answer(0.0, fails=False)
            if self.live is not None:
                self.live_through(Exited(0), 0.0)

    def check(self) -> None:
        """Compare the slot with the world."""
        process = Process.LIVE if self.live else Process.ASKED if self.asked else Process.NONE
        if self.slot.process is not process:
            assert self.slot.process is Process.ASKED
            assert process is Process.NONE
        if self.slot.state in (SlotState.STOPPED, SlotState.FATAL, SlotState.BACKOFF):
            assert self.slot.process is Process.NONE
        if self.slot.process is Process.LIVE and self.slot.state is not SlotState.RUNNING:
            assert self.slot.deadline is not None, "nothing waits without a deadline"
        if self.slot.state is SlotState.BACKOFF:
            assert self.slot.deadline is not None


@given(policies, lives)
def test_no_history_ever_runs_two_processes_in_one_slot_or_starts_work_after_a_stop(
    policy: Policy, life: list[tuple[SlotEvent | str | float, float]]
) -> None:
    world = World(policy)

    for what, chance in life:
        world.live_through(what, chance)

    incarnations = [spawn.incarnation for spawn in world.started]
    assert incarnations == sorted(set(incarnations))


@given(policies, lives)
def test_every_death_has_exactly_one_event(policy: Policy, life: list[tuple[SlotEvent | str | float, float]]) -> None:
    world = World(policy)

    for what, chance in life:
        world.live_through(what, chance)

    assert world.obituaries == world.deaths


@given(policies, lives, st.sampled_from(End), st.booleans())
def test_a_stop_always_ends_in_rest(
    policy: Policy, life: list[tuple[SlotEvent | str | float, float]], end: End, fast: bool
) -> None:
    world = World(policy)
    for what, chance in life:
        world.live_through(what, chance)

    world.live_through(Stop(end, fast=fast), 0.0)
    world.settle()

    assert is_down(world.slot)


@given(policies, lives, st.sampled_from(End), st.booleans())
def test_a_stop_ends_in_rest_though_every_process_must_be_killed(
    policy: Policy, life: list[tuple[SlotEvent | str | float, float]], end: End, fast: bool
) -> None:
    world = World(policy)
    for what, chance in life:
        world.live_through(what, chance)

    world.live_through(Stop(end, fast=fast), 0.0)
    begun = world.now
    while not is_down(world.slot) and world.now - begun < 1000:
        world.answer(0.0, fails=False)
        if world.live is not None and world.slot.rung.name == "KILL":
            world.live_through(Exited(-9), 0.0)
        else:
            world.live_through(1.0, 0.0)

    assert is_down(world.slot)
    assert world.now - begun < 200


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0, 0.999), st.booleans()), min_size=1, max_size=400),
    st.booleans(),
)
def test_restarts_in_ten_minutes_of_quick_deaths_are_bounded(
    deaths: list[tuple[float, float, bool]], is_static: bool
) -> None:
    world = World(Policy(is_static=is_static))
    world.live_through(Start(), 0.0)
    world.answer(0.0, fails=False)
    world.live_through(Ready(), 0.0)

    for lived, chance, becomes_ready in deaths:
        if becomes_ready:
            world.live_through(Ready(), chance)
        world.now += lived
        world.live_through(Exited(-9), chance)
        while world.live is None or world.live.mode is Mode.LEAVE:
            world.answer(chance, fails=False)
            if world.live is None:
                world.live_through(0.5, chance)
            elif world.live.mode is Mode.LEAVE:
                world.live_through(Exited(0), chance)
        if world.now > 600:
            break

    starts = [spawn for spawn in world.started if spawn.mode is Mode.WORK]
    assert len(starts) <= 7 + world.now / 30 + 2


@given(st.floats(0.0, 200.0), st.integers(1, 10))
def test_failures_are_forgotten_after_sustained_health_and_not_before(healthy: float, failures: int) -> None:
    policy = Policy(is_static=False)
    world = World(policy)
    world.live_through(Start(), 0.0)
    world.answer(0.0, fails=False)
    for _ in range(failures):
        world.live_through(Ready(), 0.0)
        world.live_through(Exited(-9), 0.0)
        world.live_through(policy.backoff.max, 0.0)
        world.answer(0.0, fails=False)
    world.live_through(Ready(), 0.0)
    needed = max(policy.healthy_after, 2 * world.slot.last_delay)

    world.live_through(max(healthy, 0.01), 0.0)

    assert (world.slot.failures == 0) is (max(healthy, 0.01) >= needed)


@given(st.lists(st.sampled_from(["recycle", "restart"]), max_size=60), st.floats(0, 0.999))
def test_replacements_that_were_asked_for_never_delay_a_start(asked: list[str], chance: float) -> None:
    world = World(Policy())
    world.live_through(Start(), chance)
    world.answer(chance, fails=False)

    for what in asked:
        world.live_through(Ready(), chance)
        world.live_through(Recycle("x") if what == "recycle" else Restart(), chance)
        world.live_through(Exited(0), chance)
        assert world.asked is not None, "the next process is asked for at once"
        world.answer(chance, fails=False)

    assert world.slot.failures == 0
    assert len(world.started) == len(asked) + 1
