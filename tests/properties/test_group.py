"""Whatever happens to the slots of a group: the canary's rule, and bounds on starts, under a fake clock."""

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core.exits import ExitCode
from supervisor.core.group_rules import Phase
from supervisor.core.slot import Exited, Policy, Process, Ready, Release, Start, Stop
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End, Mode
from tests.unit.troop import Troop

SLOTS = 5

happenings = st.one_of(
    st.tuples(st.just("die"), st.integers(0, SLOTS - 1), st.sampled_from([0, 1, -9, -11, ExitCode.RECYCLE])),
    st.tuples(st.just("die"), st.integers(0, SLOTS - 1), st.sampled_from([1, -9])),
    st.tuples(st.just("ready"), st.integers(0, SLOTS - 1), st.just(0)),
    st.tuples(st.just("start"), st.integers(0, SLOTS - 1), st.just(0)),
    st.tuples(st.just("stop"), st.integers(0, SLOTS - 1), st.just(0)),
    st.tuples(st.just("all die"), st.just(0), st.sampled_from([1, -9])),
    st.tuples(st.just("wait"), st.integers(1, 70), st.just(0)),
)
histories = st.lists(happenings, max_size=40)
policies = st.builds(Policy, is_static=st.booleans(), group_failures=st.integers(0, 6), canary_healthy=st.floats(1, 20))


def live_through(troop: Troop, what: str, number: int, status: int) -> None:
    match what:
        case "die":
            troop.crash(number, status=status)
        case "all die":
            troop.crash(*troop.slots, status=status)
        case "ready" if troop.slots[number].process is Process.LIVE:
            troop.happen(number, Ready())
        case "start":
            troop.happen(number, Start())
            troop.arrive()
        case "stop":
            troop.happen(number, Stop(End.KEEP))
        case "wait":
            troop.wait(float(number))
        case _:
            pass


@given(policies, histories)
def test_the_rules_of_a_group_always_come_to_rest_and_keep_their_word(
    policy: Policy, history: list[tuple[str, int, int]]
) -> None:
    troop = Troop(SLOTS, policy).start()

    for what, number, status in history:
        live_through(troop, what, number, status)

        wanted = [slot for slot in troop.slots.values() if slot.wanted]
        if troop.phase() is Phase.WHOLE:
            assert not any(slot.parked for slot in wanted), "nobody would release it"
        if troop.phase() is Phase.HALF_OPEN:
            assert troop.group.canary is not None
            assert not troop.slots[troop.group.canary].parked
        balance = troop.told.count("group.half_open") - troop.told.count("group.recovered")
        assert troop.phase() is Phase.WHOLE or balance >= 1
        assert SlotState.FATAL not in troop.states()


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=20, max_size=120), st.booleans())
def test_while_a_group_is_half_open_nobody_starts_after_a_failure_but_the_canary(
    deaths: list[tuple[int, bool]], is_static: bool
) -> None:
    troop = Troop(SLOTS, Policy(is_static=is_static)).start()
    troop.fail_as_a_whole()
    canary = troop.group.canary

    for seconds, is_ready in deaths:
        troop.crash(*troop.slots)
        before, failures = len(troop.spawns), {n: slot.failures for n, slot in troop.slots.items()}
        troop.wait(float(min(seconds, 9)), ready=is_ready)
        if troop.phase() is not Phase.HALF_OPEN:
            return
        started = {number for number, mode in troop.spawns[before:] if mode is Mode.WORK}
        assert started <= {canary}
        assert all(failures[number] for number in started)


@given(st.lists(st.integers(1, 20), min_size=60, max_size=120), st.floats(0, 0.999))
def test_starts_of_a_group_that_fails_as_a_whole_are_bounded_in_any_window(lives: list[int], chance: float) -> None:
    troop = Troop(SLOTS, Policy(is_static=False), chance=chance).start()
    starts: list[float] = []

    for seconds in lives:
        before = len(troop.spawns)
        troop.crash(*troop.slots)
        troop.wait(float(min(seconds, 9)))
        starts += [troop.now] * (len(troop.spawns) - before)

    # The first minute has each slot's own quick restarts; then the canary's, every 30 s or more with full chance.
    late = [at for at in starts if at > 1000.0 + 240.0]
    for begin in late:
        assert sum(begin <= at < begin + 300.0 for at in late) <= 300 / 30 + 2


@settings(max_examples=settings().max_examples // 4)
@given(policies, histories)
def test_from_whatever_it_went_through_a_group_that_works_again_recovers_whole(
    policy: Policy, history: list[tuple[str, int, int]]
) -> None:
    troop = Troop(SLOTS, policy).start()
    for what, number, status in history:
        live_through(troop, what, number, status)

    for number, slot in troop.slots.items():
        if not slot.wanted:
            troop.happen(number, Start())
    troop.wait(300.0, ready=True)

    assert troop.phase() is Phase.WHOLE
    assert troop.live() == list(troop.slots)
    assert not any(slot.parked for slot in troop.slots.values())


@given(st.integers(1, 40), st.integers(1, 8))
def test_a_release_never_makes_two_processes_of_one_slot(waits: int, slots: int) -> None:
    troop = Troop(slots, Policy(is_static=True)).start()
    troop.fail_as_a_whole()

    for number in troop.slots:
        troop.wait(float(waits % 3))
        before = troop.slots[number].process
        asked = len(troop.spawns)
        troop.happen(number, Release(), Release())
        assert len(troop.spawns) - asked <= (before is Process.NONE)
        troop.crash(number)
        troop.happen(number, Exited(0)) if troop.slots[number].mode is Mode.LEAVE else None
