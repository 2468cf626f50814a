import threading
from collections.abc import Iterator

import pytest

from supervisor.core.events import Event, Severity
from supervisor.notifier.courier import AGAIN, AGAIN_FOR, CALL_TIMEOUT, CAPACITY, MAX_STUCK, Courier, Failed
from supervisor.plugin import TryAgainError
from tests.waiting import wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Plugin:
    """An alert plugin that hangs on events named ``hang`` until it is let go."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.hanging = 0
        self.away = 0
        self.is_away = False
        self.let_go = threading.Event()

    def until_away(self, tries: int) -> None:
        wait_until(lambda: self.away == tries)

    def __call__(self, event: Event) -> None:
        if event.name == "hang":
            self.hanging += 1
            self.let_go.wait(60)
        if self.is_away:
            self.away += 1
            message = "nobody there"
            raise TryAgainError(message)
        if event.name == "raise":
            raise SystemExit("no")
        self.seen.append(event.name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


@pytest.fixture
def failures() -> list[Failed]:
    return []


@pytest.fixture
def courier(clock: Clock, plugin: Plugin, failures: list[Failed]) -> Iterator[Courier]:
    made = Courier("slack", plugin, failures.append, clock=clock)
    yield made
    plugin.let_go.set()
    made.stop(clock() + 10)


def event(name: str) -> Event:
    return Event(name, Severity.WARNING, 0.0)


def offer(courier: Courier, *names: str) -> None:
    for name in names:
        courier.offer(event(name))


def serving() -> int:
    return sum(thread.name == "alert slack" for thread in threading.enumerate())


def give_up(courier: Courier, clock: Clock, plugin: Plugin, hanging: int) -> None:
    wait_until(lambda: plugin.hanging == hanging)
    clock.now += CALL_TIMEOUT
    courier.check()


def test_events_are_offered_in_order(courier: Courier, plugin: Plugin) -> None:
    offer(courier, "a", "b", "c")

    wait_until(lambda: plugin.seen == ["a", "b", "c"])
    wait_until(lambda: courier.counts().delivered == 3)


def test_a_plugin_that_raises_is_told_and_goes_on(courier: Courier, plugin: Plugin, failures: list[Failed]) -> None:
    offer(courier, "raise", "b")

    wait_until(lambda: plugin.seen == ["b"])
    assert failures == [Failed("slack", "raise", "SystemExit: no")]


def test_a_call_over_its_deadline_is_given_up_and_the_next_goes_out(
    courier: Courier, plugin: Plugin, clock: Clock, failures: list[Failed]
) -> None:
    offer(courier, "hang", "b")
    give_up(courier, clock, plugin, 1)

    wait_until(lambda: plugin.seen == ["b"])
    courier.check()
    assert failures == [Failed("slack", "hang", "no answer within 30 s")]
    assert courier.counts().failed == 1


def test_a_call_within_its_deadline_is_left_alone(
    courier: Courier, plugin: Plugin, clock: Clock, failures: list[Failed]
) -> None:
    offer(courier, "hang", "b")
    wait_until(lambda: plugin.hanging == 1)
    clock.now += CALL_TIMEOUT - 1

    courier.check()

    assert failures == []
    assert plugin.seen == []


def test_stuck_threads_are_limited_and_service_resumes_when_one_comes_back(
    courier: Courier, plugin: Plugin, clock: Clock
) -> None:
    offer(courier, *["hang"] * (MAX_STUCK + 1), "b")
    for hanging in range(1, MAX_STUCK + 1):
        give_up(courier, clock, plugin, hanging)
    assert serving() == MAX_STUCK
    assert courier.counts().queued == 2

    plugin.let_go.set()

    wait_until(lambda: "b" in plugin.seen)
    wait_until(lambda: serving() == 1)


def test_the_oldest_events_are_dropped_and_counted_when_too_many_wait(courier: Courier, plugin: Plugin) -> None:
    offer(courier, "hang")
    wait_until(lambda: plugin.hanging == 1)
    offer(courier, *(str(number) for number in range(CAPACITY + 3)))
    assert courier.counts().dropped == 3

    plugin.let_go.set()

    wait_until(lambda: len(plugin.seen) == CAPACITY + 1)
    assert plugin.seen[1] == "3"


def test_stop_waits_for_what_is_queued(plugin: Plugin, clock: Clock) -> None:
    courier = Courier("slack", plugin, lambda _: None, clock=clock)
    offer(courier, *(str(number) for number in range(50)))

    assert courier.stop(clock() + 10)

    assert len(plugin.seen) == 50


def test_stop_does_not_wait_for_a_hanging_call_beyond_its_deadline(plugin: Plugin, clock: Clock) -> None:
    courier = Courier("slack", plugin, lambda _: None, clock=clock)
    offer(courier, "hang")
    wait_until(lambda: plugin.hanging == 1)

    assert not courier.stop(clock() + 0.05)

    plugin.let_go.set()


def try_again(courier: Courier, clock: Clock, after: float) -> None:
    clock.now += after
    courier.check()


def test_who_is_away_gets_everything_in_order_when_they_are_back(
    courier: Courier, plugin: Plugin, clock: Clock, failures: list[Failed]
) -> None:
    plugin.is_away = True
    offer(courier, "a", "b")
    for tries in range(1, 5):
        plugin.until_away(tries)
        wait_until(lambda: courier.counts().queued == 2)
        try_again(courier, clock, AGAIN.delay(tries - 1, chance=0.0) - 0.1)
        assert plugin.away == tries
        plugin.is_away = tries < 4
        try_again(courier, clock, 0.1)

    wait_until(lambda: plugin.seen == ["a", "b"])
    assert failures == [Failed("slack", "a", "TryAgainError: nobody there; is tried again")]
    wait_until(lambda: (courier.counts().delivered, courier.counts().failed) == (2, 0))


def test_what_nobody_takes_for_long_is_given_up_and_the_next_is_tried(
    courier: Courier, plugin: Plugin, clock: Clock, failures: list[Failed]
) -> None:
    plugin.is_away = True
    offer(courier, "a", "b")
    wait_until(lambda: plugin.away == 1)
    wait_until(lambda: courier.counts().queued == 2)

    try_again(courier, clock, AGAIN_FOR)

    wait_until(lambda: plugin.away == 3)
    given_up = Failed("slack", "a", "TryAgainError: nobody there")
    wait_until(lambda: failures[1:2] == [given_up])
    wait_until(lambda: courier.counts().queued == 1)
    assert courier.counts().failed == 1


def test_stop_tries_once_more_what_waits_to_be_tried_again(plugin: Plugin, clock: Clock) -> None:
    courier = Courier("slack", plugin, lambda _: None, clock=clock)
    plugin.is_away = True
    offer(courier, "a")
    wait_until(lambda: plugin.away == 1)
    wait_until(lambda: courier.counts().queued == 1)
    plugin.is_away = False

    assert courier.stop(clock() + 10)

    assert plugin.seen == ["a"]


def test_a_stop_does_not_wait_for_who_is_away(plugin: Plugin, clock: Clock) -> None:
    courier = Courier("slack", plugin, lambda _: None, clock=clock)
    plugin.is_away = True
    offer(courier, "a", "b")
    wait_until(lambda: plugin.away == 1)

    assert courier.stop(clock() + 10)

    assert (plugin.away, courier.counts().failed) == (3, 2)
