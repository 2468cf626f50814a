"""What stands in for ``threading``, ``time`` and ``random`` in the modules of a simulated worker."""

import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from tests.simulation.machine import BOOT, Killed, Machine, Process, Task

EPOCH = 1_700_000_000.0
REAL = {"threading": threading, "time": time, "random": random}


class SimTime:
    """The module ``time``, told by the machine's clock."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def monotonic(self) -> float:
        return self._machine.now

    perf_counter = monotonic

    def monotonic_ns(self) -> int:
        return int(self._machine.now * 1e9)

    perf_counter_ns = monotonic_ns

    def time(self) -> float:
        task = self._machine.current
        return EPOCH + self._machine.now - BOOT + (0.0 if task is None else task.process.skew)

    def sleep(self, seconds: float) -> None:
        self._machine.park(seconds)


class Lock:
    """``threading.Lock``: taking it is a switch point; whoever asks first after a release has it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_held = False
        self._waiting: deque[Task] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        machine = self._machine
        machine.switch_point()
        while self._is_held:
            if not blocking or timeout >= 0:
                return False
            assert machine.current is not None, "the scheduler itself met a lock that is held"
            self._waiting.append(machine.current)
            machine.park(None)
        self._is_held = True
        return True

    def take_back(self) -> None:
        """Acquire again after a wait; a killed thread gets it at once, to let go of it while it unwinds."""
        task = self._machine.current
        if task is not None and not task.process.is_alive:
            self._is_held = True
            return
        try:
            self.acquire()
        except Killed:
            self._is_held = True
            raise

    def release(self) -> None:
        if not self._is_held:
            message = "release unlocked lock"
            raise RuntimeError(message)
        self._is_held = False
        if self._waiting:
            self._machine.wake(self._waiting.popleft())

    def locked(self) -> bool:
        return self._is_held

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Condition:
    """``threading.Condition``."""

    def __init__(self, machine: Machine, lock: Lock | None = None) -> None:
        self._machine = machine
        self._lock = lock or Lock(machine)
        self._waiting: deque[Task] = deque()

    def wait(self, timeout: float | None = None) -> bool:
        assert self._lock.locked()
        task = self._machine.current
        assert task is not None
        self._waiting.append(task)
        self._lock.release()
        was_woken = False
        try:
            was_woken = self._machine.park(timeout)
        finally:
            # Also when the process was killed: its threads unwind through the lock's end.
            if not was_woken and task in self._waiting:
                self._waiting.remove(task)
            self._lock.take_back()
        return was_woken

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        deadline = None if timeout is None else self._machine.now + timeout
        while not predicate():
            left = None if deadline is None else deadline - self._machine.now
            if left is not None and left <= 0:
                return bool(predicate())
            self.wait(left)
        return True

    def notify(self, n: int = 1) -> None:
        assert self._lock.locked()
        for _ in range(min(n, len(self._waiting))):
            self._machine.wake(self._waiting.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiting))

    def acquire(self) -> bool:
        return self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


class Event:
    """``threading.Event``."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_set = False
        self._waiting: list[Task] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            self._machine.wake(task)

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        self._machine.switch_point()
        if not self._is_set:
            task = self._machine.current
            assert task is not None
            self._waiting.append(task)
            self._machine.park(timeout)
            if task in self._waiting:
                self._waiting.remove(task)
        return self._is_set


class Thread:
    """``threading.Thread``, of the process whose thread makes it."""

    def __init__(
        self,
        machine: Machine,
        target: Callable[..., object],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        name: str = "thread",
        daemon: bool | None = None,
    ) -> None:
        self._machine = machine
        self._call = (target, args, dict(kwargs or {}))
        self.name = name
        self._process = _own(machine).process
        self._task: Task | None = None

    def start(self) -> None:
        assert self._task is None
        target, args, kwargs = self._call
        self._task = self._machine.spawn(self._process, lambda: target(*args, **kwargs), self.name)
        self._machine.switch_point()

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.is_done

    def join(self, timeout: float | None = None) -> None:
        if self._task is None:
            message = "cannot join thread before it is started"
            raise RuntimeError(message)
        self._machine.switch_point()
        if not self._task.is_done:
            self._task.joiners.append(_own(self._machine))
            self._machine.park(timeout)

    @property
    def ident(self) -> int | None:
        return None if self._task is None else self._task.number


class SimThreading:
    """The module ``threading``; what it lacks, a simulated module must not use."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.Lock = partial(Lock, machine)
        self.Condition = partial(Condition, machine)
        self.Event = partial(Event, machine)
        self.Thread = partial(Thread, machine)

    def get_ident(self) -> int:
        return _own(self._machine).number

    get_native_id = get_ident


def _own(machine: Machine) -> Task:
    assert machine.current is not None, "only a simulated thread may ask"
    return machine.current


def process_of(machine: Machine) -> Process:
    """Return the process whose thread runs now."""
    return _own(machine).process


@contextmanager
def stood_in(machine: Machine, others: Mapping[str, object]) -> Iterator[None]:
    """Give the worker's modules the machine's time, threads and chance; and ``others``: ``module:name`` to value.

    A class's member is named ``module:Class.name``.
    """
    chance = random.Random(machine.chance.random())
    ours = {"threading": SimThreading(machine), "time": SimTime(machine), "random": chance}
    undo: list[tuple[Any, str, object]] = []

    def put(owner: Any, name: str, value: object) -> None:
        undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        for module_name, module in list(sys.modules.items()):
            if module_name.startswith("supervisor.worker"):
                for name, real in REAL.items():
                    if getattr(module, name, None) is real:
                        put(module, name, ours[name])
        for place, value in others.items():
            module_name, _, path = place.partition(":")
            *owners, name = path.split(".")
            owner: Any = import_module(module_name)
            for step in owners:
                owner = getattr(owner, step)
            put(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(undo):
            setattr(owner, name, value)
