from dataclasses import replace

import pytest

from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.slot import (
    CancelSpawn,
    Effects,
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
    Rung,
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

SIGKILL, SIGSEGV = -9, -11


class Life:
    """A slot and its clock; processes that are asked for exist at once."""

    def __init__(self, policy: Policy | None = None, *, chance: float = 0.0) -> None:
        self.policy = policy or Policy(supervisor="web-1")
        self.slot = Slot()
        self.now = 100.0
        self.chance = chance
        self.effects: Effects = ()

    def happen(self, *events: SlotEvent) -> Effects:
        """Let ``events`` happen; return all effects of them."""
        effects: Effects = ()
        for event in events:
            self.slot, more = step(self.policy, self.slot, event, now=self.now, chance=self.chance)
            effects += more
            if any(isinstance(effect, Spawn) for effect in more):
                self.slot, more = step(self.policy, self.slot, Spawned(1), now=self.now, chance=self.chance)
                effects += more
        return effects

    def wait(self, seconds: float) -> Effects:
        """Let time pass in one piece."""
        self.now += seconds
        return self.happen(Tick())

    def state(self) -> SlotState:
        """Return the slot's state; a call, because mypy believes that an attribute stays as it was compared."""
        return self.slot.state

    def crash(self, status: int = SIGKILL) -> Effects:
        """Become ready and die."""
        return self.happen(Ready(), Exited(status))


def running(policy: Policy | None = None) -> Life:
    life = Life(policy)
    life.happen(Start(), Ready(), Joined())
    return life


def obituary(effects: Effects) -> Report:
    (one,) = [effect for effect in effects if isinstance(effect, Report) and effect.name == "worker.exited"]
    return one


def reports(effects: Effects) -> list[str]:
    return [effect.name for effect in effects if isinstance(effect, Report)]


def spawns(effects: Effects) -> list[Spawn]:
    return [effect for effect in effects if isinstance(effect, Spawn)]


def signals(effects: Effects) -> list[Rung]:
    return [effect.rung for effect in effects if isinstance(effect, Signal)]


def test_a_slot_starts_becomes_ready_and_joins() -> None:
    life = Life()

    assert spawns(life.happen(Start())) == [Spawn(1, Mode.WORK)]
    assert life.state() is SlotState.STARTING
    assert reports(life.happen(Ready())) == ["worker.ready"]
    assert life.state() is SlotState.RUNNING
    assert reports(life.happen(Joined(), Joined())) == ["worker.joined"]


def test_the_first_death_is_followed_by_a_start_at_once() -> None:
    life = running()

    effects = life.happen(Exited(SIGKILL, "at orders/1@812"))

    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    assert reports(effects)[0] == "worker.exited"
    assert life.slot.restarts == 1
    assert "SIGKILL at orders/1@812; starts again at once" in [e.text for e in effects if isinstance(e, Report)]


def test_further_deaths_wait_one_two_four_seconds_up_to_the_maximum() -> None:
    life = running(Policy(is_static=False))
    delays = []

    for _ in range(9):
        life.crash()
        delays.append(life.slot.start_at - life.now)
        life.wait(delays[-1])

    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60]


def test_chance_shortens_a_delay_by_the_jitter_at_most() -> None:
    life = Life(Policy(is_static=False), chance=0.999)
    life.happen(Start())
    life.crash()

    life.crash()

    assert 0.5 <= life.slot.start_at - life.now < 0.51


def test_a_minute_of_health_forgets_the_failures() -> None:
    life = running()
    life.crash()
    life.happen(Ready())

    life.wait(59)
    assert life.slot.failures == 1
    life.wait(1)
    assert life.slot.failures == 0


def test_health_must_last_twice_the_last_delay() -> None:
    life = running(Policy(is_static=False))
    life.slot = replace(life.slot, failures=7, last_delay=50.0)
    life.wait(0)

    life.wait(99)
    assert life.slot.failures == 7
    life.wait(1)
    assert life.slot.failures == 0


def test_a_look_that_is_not_healthy_begins_the_count_of_health_anew() -> None:
    life = running()
    life.crash()
    life.happen(Ready())
    life.wait(59)

    life.happen(Tick(healthy=False))
    life.wait(30)
    life.wait(31)

    assert life.slot.failures == 1


def test_starts_that_never_became_ready_are_counted_for_the_group_to_judge() -> None:
    life = Life()
    life.happen(Start())

    for _ in range(7):
        life.happen(Exited(1))
        life.wait(60)

    assert life.slot.never_ready == 7
    assert life.state() is SlotState.STARTING


def test_a_slot_that_was_ready_once_is_never_given_up() -> None:
    life = running(Policy(is_static=False))

    for _ in range(50):
        life.happen(Exited(1))
        life.wait(60)

    assert life.state() is SlotState.STARTING


def test_being_ready_in_between_breaks_the_row() -> None:
    life = Life()
    life.happen(Start())
    for _ in range(4):
        life.happen(Exited(1))
        life.wait(60)

    life.happen(Ready())

    assert life.slot.never_ready == 0


def test_a_config_exit_gives_up_at_once() -> None:
    life = Life()
    life.happen(Start())

    life.happen(Exited(ExitCode.CONFIG, "(unknown topic)"))

    assert life.state() is SlotState.FATAL
    assert life.slot.reason == "wrong configuration: unknown topic"


def test_a_start_brings_a_given_up_slot_back_with_a_clean_record() -> None:
    life = Life()
    life.happen(Start(), Exited(ExitCode.CONFIG))

    effects = life.happen(Start())

    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    assert life.slot.failures == 0


def test_a_fenced_slot_waits_longer_than_a_session_and_does_not_leave() -> None:
    life = running()

    effects = life.happen(Exited(ExitCode.FENCED))

    assert life.state() is SlotState.BACKOFF
    assert life.slot.start_at - life.now >= 45
    assert spawns(effects) == []
    assert "worker.fenced" in reports(effects)


def test_the_second_fencing_gives_up_and_says_why() -> None:
    life = running()
    life.happen(Exited(ExitCode.FENCED))
    life.wait(45)

    effects = life.happen(Ready(), Exited(ExitCode.FENCED, "(client x on y)"))

    assert life.state() is SlotState.FATAL
    assert life.slot.reason == "two supervisors are named 'web-1' (client x on y)"
    assert reports(effects).count("slot.fatal") == 1


def test_a_fencing_long_ago_is_forgotten() -> None:
    life = running()
    life.happen(Exited(ExitCode.FENCED))
    life.wait(45)
    life.happen(Ready())
    life.wait(700)

    life.happen(Exited(ExitCode.FENCED))

    assert life.state() is SlotState.BACKOFF


def test_a_recycled_worker_is_no_failure() -> None:
    life = running()

    effects = life.happen(Exited(ExitCode.RECYCLE))

    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    assert life.slot.failures == 0
    assert next(e.severity for e in effects if isinstance(e, Report)) is Severity.INFO


def test_a_slot_whose_lock_was_taken_waits_and_is_not_given_up() -> None:
    life = Life()
    life.happen(Start())

    for _ in range(8):
        life.happen(Exited(ExitCode.RECYCLE))
        life.wait(60)

    assert life.state() is SlotState.STARTING
    assert life.slot.failures == 8


class TestFailover:
    def test_a_static_member_that_stays_down_long_leaves_and_comes_back(self) -> None:
        life = running()
        life.slot = replace(life.slot, failures=5)

        effects = life.happen(Exited(SIGSEGV))

        assert spawns(effects) == [Spawn(2, Mode.LEAVE)]
        assert life.state() is SlotState.LEAVING

        life.now += 1
        effects = life.happen(Exited(0))
        assert "slot.left" in reports(effects)
        assert life.state() is SlotState.BACKOFF

        assert spawns(life.wait(15)) == [Spawn(3, Mode.WORK)]

    def test_a_short_wait_keeps_the_membership(self) -> None:
        life = running()
        life.slot = replace(life.slot, failures=3)

        life.happen(Exited(SIGSEGV))

        assert life.slot.start_at - life.now == 4
        assert life.state() is SlotState.BACKOFF

    def test_a_dynamic_member_has_nothing_to_leave(self) -> None:
        life = running(Policy(is_static=False))
        life.slot = replace(life.slot, failures=6)

        life.happen(Exited(SIGSEGV))

        assert life.state() is SlotState.BACKOFF

    def test_a_slot_that_never_joined_has_nothing_to_leave(self) -> None:
        life = Life()
        life.happen(Start(), Exited(ExitCode.CONFIG))

        assert is_down(life.slot)

    def test_a_given_up_member_leaves_first(self) -> None:
        life = running()

        effects = life.happen(Exited(ExitCode.CONFIG))

        assert spawns(effects) == [Spawn(2, Mode.LEAVE)]
        life.happen(Exited(0))
        assert life.state() is SlotState.FATAL

    def test_leaving_that_fails_is_tried_once_more(self) -> None:
        life = running()
        life.slot = replace(life.slot, failures=6)
        life.happen(Exited(SIGSEGV))

        assert spawns(life.happen(Exited(1))) == [Spawn(3, Mode.LEAVE)]
        assert spawns(life.happen(Exited(1))) == []
        assert life.state() is SlotState.BACKOFF

    def test_a_member_that_says_it_could_not_leave_was_asked_to_and_is_no_crash(self) -> None:
        life = running()
        life.happen(Stop(), Exited(0, left=False))
        could_not = Exited(ExitCode.FAILURE, "(could not leave group g: _TRANSPORT)", left=False)

        told = [obituary(life.happen(could_not)) for _ in range(2)]

        assert [(one.severity, one.fields["class"]) for one in told] == [(Severity.INFO, "requested")] * 2
        said = "exit code 1 (could not leave group g: _TRANSPORT); stays down"
        assert [one.text for one in told] == [
            f"{said}; leaving is tried once more",
            f"{said}; its partitions wait until its session times out",
        ]
        assert life.slot.member
        assert is_down(life.slot)

    @pytest.mark.parametrize(
        ("end", "kind"),
        [
            (Exited(SIGSEGV), "signal"),
            (Exited(ExitCode.ENGINE, left=False), "crash"),
            (Exited(ExitCode.FAILURE), "crash"),
            (Exited(ExitCode.CONFIG, left=False), "config"),
            (Exited(ExitCode.FAILURE, left=False, oom=True), "oom"),
        ],
    )
    def test_a_death_while_leaving_is_what_it_is(self, end: Exited, kind: str) -> None:
        life = running()
        life.happen(Stop(), Exited(0, left=False))

        told = obituary(life.happen(end))

        assert (told.severity, told.fields["class"]) == (Severity.WARNING, kind)

    def test_a_member_that_could_not_leave_and_is_taken_over_waits_for_nobody(self) -> None:
        life = running()
        life.happen(Stop(), Exited(0, left=False), Start())

        told = obituary(life.happen(Exited(ExitCode.FAILURE, "(could not)", left=False)))

        assert told.text == "exit code 1 (could not); starts again at once"
        assert (life.slot.mode, life.slot.member) == (Mode.WORK, True)

    def test_leaving_that_takes_longer_than_the_backoff_is_followed_by_the_start(self) -> None:
        life = running()
        life.slot = replace(life.slot, failures=4)
        life.happen(Exited(SIGSEGV))
        life.now += 9

        assert spawns(life.happen(Exited(0))) == [Spawn(3, Mode.WORK)]


class TestStop:
    def test_a_running_worker_is_asked_then_terminated_aborted_and_killed(self) -> None:
        life = running()
        policy = life.policy

        assert life.happen(Stop()) == (SendStop(End.LEAVE, policy.stop_timeout),)
        assert life.state() is SlotState.DRAINING
        assert signals(life.wait(policy.stop_timeout)) == []
        assert signals(life.wait(policy.close_timeout)) == [Rung.TERM]
        assert signals(life.wait(policy.term_timeout)) == [Rung.ABORT]
        assert signals(life.wait(policy.abort_timeout)) == [Rung.KILL]
        assert signals(life.wait(policy.kill_timeout)) == [Rung.KILL]

    def test_a_worker_that_left_as_it_was_told_is_stopped(self) -> None:
        life = running()
        life.happen(Stop())

        effects = life.happen(Exited(0))

        assert is_down(life.slot)
        assert reports(effects) == ["worker.exited"]

    def test_a_worker_that_was_killed_while_it_drained_leaves_in_a_process_of_its_own(self) -> None:
        life = running()
        life.happen(Stop())

        assert spawns(life.happen(Exited(SIGKILL))) == [Spawn(2, Mode.LEAVE)]
        life.happen(Exited(0))
        assert life.state() is SlotState.STOPPED

    def test_a_worker_that_was_told_by_signal_or_says_it_did_not_leave_is_followed_by_one_that_leaves(self) -> None:
        life = running()
        life.happen(Stop())
        life.wait(100)
        assert life.slot.rung is Rung.TERM
        assert spawns(life.happen(Exited(0))) == [Spawn(2, Mode.LEAVE)]

        life = running()
        life.happen(Stop())
        assert spawns(life.happen(Exited(0, left=False))) == [Spawn(2, Mode.LEAVE)]

    def test_keep_leaves_nobody(self) -> None:
        life = running()
        life.happen(Stop(End.KEEP))

        life.happen(Exited(SIGKILL))

        assert is_down(life.slot)

    def test_a_stop_after_a_kept_stop_leaves(self) -> None:
        life = running()
        life.happen(Stop(End.KEEP), Exited(0))

        assert spawns(life.happen(Stop())) == [Spawn(2, Mode.LEAVE)]

    def test_a_stop_in_backoff_leaves_and_never_starts_again(self) -> None:
        life = running()
        life.crash()
        life.crash()
        assert life.state() is SlotState.BACKOFF

        assert spawns(life.happen(Stop())) == [Spawn(3, Mode.LEAVE)]
        life.happen(Exited(0))
        assert spawns(life.wait(100)) == []
        assert is_down(life.slot)

    def test_a_stop_takes_back_a_process_that_was_only_asked_for(self) -> None:
        slot, _ = step(Policy(), Slot(), Start(), now=0, chance=0)

        slot, effects = step(Policy(), slot, Stop(), now=0, chance=0)

        assert effects == (CancelSpawn(),)
        assert is_down(slot)

    def test_a_repeated_stop_changes_nothing(self) -> None:
        life = running()
        life.happen(Stop())
        before = life.slot
        life.now += 5

        assert life.happen(Stop()) == ()
        assert life.slot == before

    def test_a_fast_stop_kills_after_two_seconds_and_leaves_nobody(self) -> None:
        life = running()
        life.happen(Stop())
        life.now += 1

        assert life.happen(Stop(fast=True)) == (SendStop(End.LEAVE, 2.0),)
        assert signals(life.wait(2)) == [Rung.KILL]
        assert spawns(life.happen(Exited(SIGKILL))) == []
        assert is_down(life.slot)

    def test_a_worker_that_is_not_ready_gets_little_time(self) -> None:
        life = Life()
        life.happen(Start(), Stop())

        assert signals(life.wait(life.policy.term_timeout)) == [Rung.TERM]

    def test_a_start_while_it_drains_starts_it_again_after(self) -> None:
        life = running()
        life.happen(Stop(), Start())

        assert spawns(life.happen(Exited(0))) == [Spawn(2, Mode.WORK)]

    def test_a_start_before_the_leaving_process_came_takes_its_place(self) -> None:
        life = running()
        policy = life.policy
        slot, _ = step(policy, life.slot, Exited(ExitCode.CONFIG), now=0, chance=0)
        assert (slot.mode, slot.process) == (Mode.LEAVE, Process.ASKED)

        slot, effects = step(policy, slot, Start(), now=0, chance=0)

        assert effects == (CancelSpawn(), Spawn(3, Mode.WORK))

    def test_a_start_while_it_leaves_starts_it_after(self) -> None:
        life = running()
        life.happen(Exited(ExitCode.CONFIG), Start())

        assert spawns(life.happen(Exited(0))) == [Spawn(3, Mode.WORK)]


class TestRestart:
    def test_a_restart_keeps_the_membership_and_is_no_failure(self) -> None:
        life = running()

        assert life.happen(Restart()) == (SendStop(End.KEEP, life.policy.stop_timeout),)
        assert spawns(life.happen(Exited(0))) == [Spawn(2, Mode.WORK)]
        assert (life.slot.failures, life.slot.restarts) == (0, 0)

    def test_a_stop_during_a_restart_wins(self) -> None:
        life = running()
        life.happen(Restart())

        assert life.happen(Stop()) == (SendStop(End.LEAVE, life.policy.stop_timeout),)
        assert [spawn.mode for spawn in spawns(life.happen(Exited(0)))] == []

    def test_a_restart_ends_a_backoff(self) -> None:
        life = running(Policy(is_static=False))
        life.crash()
        life.crash()

        assert spawns(life.happen(Restart())) == [Spawn(3, Mode.WORK)]


class TestHold:
    def test_a_held_worker_stays_down_when_it_dies_and_leaves(self) -> None:
        life = running()
        assert life.happen(Hold()) == ()
        assert life.state() is SlotState.RUNNING

        assert spawns(life.happen(Exited(SIGKILL))) == [Spawn(2, Mode.LEAVE)]
        life.happen(Exited(0))

        assert life.state() is SlotState.STOPPED
        assert spawns(life.wait(100)) == []

    def test_a_start_takes_a_hold_back(self) -> None:
        life = running()
        life.happen(Hold(), Start())

        assert spawns(life.happen(Exited(SIGKILL))) == [Spawn(2, Mode.WORK)]

    def test_holding_a_slot_in_backoff_stops_it(self) -> None:
        life = running(Policy(is_static=False))
        life.crash()
        life.crash()

        life.happen(Hold())

        assert is_down(life.slot)


class TestHung:
    def test_a_hung_worker_is_dumped_terminated_aborted_killed_and_started_again(self) -> None:
        life = running()
        policy = life.policy

        effects = life.happen(Hung("orders/1@812 is in its handler for 31s"))

        assert signals(effects) == [Rung.DUMP]
        assert reports(effects) == ["worker.hung"]
        assert signals(life.wait(policy.dump_timeout)) == [Rung.TERM]
        assert signals(life.wait(policy.hung_timeout)) == [Rung.ABORT]
        assert signals(life.wait(policy.abort_timeout)) == [Rung.KILL]
        effects = life.happen(Exited(SIGKILL))
        assert spawns(effects) == [Spawn(2, Mode.WORK)]
        assert next(e.fields["class"] for e in effects if isinstance(e, Report)) == "hung"

    def test_a_hang_is_reported_once(self) -> None:
        life = running()
        life.happen(Hung("x"))

        assert life.happen(Hung("x")) == ()

    def test_a_draining_worker_does_not_hang(self) -> None:
        life = running()
        life.happen(Stop())

        assert life.happen(Hung("x")) == ()

    def test_a_worker_that_is_not_ready_in_time_is_ended(self) -> None:
        life = Life()
        life.happen(Start())

        effects = life.wait(life.policy.start_timeout)

        assert signals(effects) == [Rung.TERM]
        assert reports(effects) == ["worker.hung"]
        life.happen(Exited(-15))
        assert life.slot.never_ready == 1


def test_a_process_that_cannot_be_made_is_tried_again_with_backoff() -> None:
    policy = Policy()
    slot, _ = step(policy, Slot(), Start(), now=0, chance=0)

    slot, effects = step(policy, slot, SpawnFailed("Cannot allocate memory"), now=0, chance=0)
    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    slot, effects = step(policy, slot, SpawnFailed("Cannot allocate memory"), now=0, chance=0)

    assert slot.state is SlotState.BACKOFF
    assert slot.start_at == 1
    assert "Cannot allocate memory" in slot.reason


@pytest.mark.parametrize("event", [Ready(), Joined(), Hung("x"), Exited(0), Spawned(1), SpawnFailed("x")])
def test_what_comes_too_late_changes_nothing(event: SlotEvent) -> None:
    assert step(Policy(), Slot(), event, now=0, chance=0) == (Slot(), ())


def test_an_empty_slot_has_no_process() -> None:
    assert Slot().process is Process.NONE


def recycled(life: Life) -> Effects:
    return life.happen(Recycle("510 MB of memory, rss_soft is 500 MB", fields={"limit": "rss_soft"}))


def test_a_recycled_worker_drains_stays_a_member_and_is_followed_at_once() -> None:
    life = running()

    asked = recycled(life)
    assert [effect for effect in asked if isinstance(effect, SendStop)] == [SendStop(End.KEEP, 30.0)]
    assert reports(asked) == ["worker.recycled"]
    assert life.state() is SlotState.DRAINING
    effects = life.happen(Exited(0))

    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    (death,) = [effect for effect in effects if isinstance(effect, Report) and effect.name == "worker.exited"]
    assert death.text == "recycled: 510 MB of memory, rss_soft is 500 MB; starts again at once"
    assert (death.fields["class"], death.severity) == ("recycle", Severity.INFO)
    assert (life.slot.failures, life.slot.restarts, life.slot.reason[:8]) == (0, 1, "recycled")


def test_a_recycled_worker_that_does_not_end_climbs_the_ladder() -> None:
    life = running()
    recycled(life)

    rungs = [rung for seconds in (36, 6, 11) for rung in signals(life.wait(seconds))]
    assert rungs == [Rung.TERM, Rung.ABORT, Rung.KILL]
    effects = life.happen(Exited(SIGKILL))

    assert spawns(effects) == [Spawn(2, Mode.WORK)]
    assert life.slot.failures == 0


@pytest.mark.parametrize("order", [Hold(), Stop()])
def test_what_an_operator_wants_down_or_ending_is_not_recycled(order: SlotEvent) -> None:
    life = running()
    life.happen(order)

    assert recycled(life) == ()


def test_a_stop_while_it_is_recycled_has_the_last_word() -> None:
    life = running()
    recycled(life)
    life.happen(Stop())

    effects = life.happen(Exited(0, left=True))

    assert spawns(effects) == []
    assert life.state() is SlotState.STOPPED
    (death,) = [effect for effect in effects if isinstance(effect, Report)]
    assert death.fields["class"] == "requested"


def test_a_worker_beyond_its_hard_limit_gets_term_then_kill_and_no_core_file() -> None:
    life = running()

    effects = life.happen(Overweight("812 MB of memory, rss_hard is 800 MB"), Overweight("820 MB"))
    assert (reports(effects), signals(effects)) == (["worker.overweight"], [Rung.TERM])
    assert signals(life.wait(6)) == [Rung.KILL]
    effects = life.happen(Exited(SIGKILL))

    (death,) = [effect for effect in effects if isinstance(effect, Report) and effect.name == "worker.exited"]
    assert death.text == "ended for its memory: 812 MB of memory, rss_hard is 800 MB; starts again at once"
    assert (death.fields["class"], death.severity) == ("oom", Severity.WARNING)
    assert life.slot.failures == 1


def test_a_hard_limit_hurries_a_worker_that_is_draining() -> None:
    life = running()
    recycled(life)

    assert signals(life.happen(Overweight("812 MB"))) == [Rung.TERM]


def test_a_worker_the_kernel_killed_for_memory_is_called_so() -> None:
    life = running()

    effects = life.happen(Exited(SIGKILL, "at orders/1@812", oom=True))

    (death,) = [effect for effect in effects if isinstance(effect, Report) and effect.name == "worker.exited"]
    assert death.text == "killed for lack of memory (OOM) at orders/1@812; starts again at once"
    assert death.fields["class"] == "oom"


def test_workers_that_run_out_of_memory_before_they_are_ready_are_counted_like_others_that_never_start() -> None:
    life = Life(Policy(never_ready_limit=3))
    life.happen(Start())

    for _ in range(3):
        life.happen(Exited(SIGKILL, oom=True))
        life.wait(100)

    assert life.slot.never_ready == 3
