"""A machine whose threads are greenlets: one runs at a time, chance picks the next, and the clock is a number.

Nothing in here waits for real time or for a real thread, so that a seed decides over everything: who runs when,
who is held up for how long, and between which two steps a process is killed.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import greenlet

STEP = 2e-6
"""Seconds that pass with every switch: a loop that waits for nothing still gets older."""
BOOT = 1000.0


class Killed(BaseException):
    """The process of this thread is gone. Raised at each of its switch points until nothing of it runs."""


class StuckError(AssertionError):
    """Nothing can ever happen again, or far more happened than should."""


class Process:
    """What dies as a whole. ``doom`` counts down its switch points to the one at which it is killed."""

    def __init__(self, machine: "Machine", name: str) -> None:
        self.machine = machine
        self.name = name
        self.is_alive = True
        self.is_frozen = self.was_frozen = False
        self.doom: int | None = None
        self.skew = 0.0
        """Seconds by which the wall clock of its host is fast."""
        self.tasks: dict[Task, None] = {}
        self.held: list[Task] = []
        """Those of its tasks that would run if it were not frozen."""
        self.inbox: list[Callable[[], None]] = []
        """What reached it while it was frozen."""
        self.on_death: Callable[[], None] = lambda: None
        """Called before its threads unwind: what it left in shared memory is as it was."""

    def freeze(self) -> None:
        """Stop it as SIGSTOP does."""
        self.is_frozen = self.was_frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        self.is_frozen = False
        self.machine.ready += self.held
        self.held.clear()
        inbox, self.inbox = self.inbox, []
        for message in inbox:
            message()


class Task:
    """One thread of a process."""

    __slots__ = ("body", "is_done", "is_parked", "joiners", "name", "number", "process", "token", "was_woken")

    def __init__(self, process: Process, name: str, number: int) -> None:
        self.process = process
        self.name = name
        self.number = number
        self.token = 0
        self.is_parked = self.is_done = self.was_woken = False
        self.joiners: list[Task] = []
        self.body: Any = None


class Machine:
    """The scheduler. ``preempt`` is the chance that a switch point switches, ``stall`` that it holds its thread up."""

    def __init__(self, seed: int, *, preempt: float = 0.2, stall: float = 0.0, longest: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.now = BOOT
        self.steps = 0
        self.current: Task | None = None
        self.ready: list[Task] = []
        self.finished = False
        self.trace: list[str] | None = None
        self.recent: deque[tuple[float, tuple[object, ...]]] = deque(maxlen=80)
        self._preempt = preempt
        self._stall = preempt * stall
        self._longest = longest
        self._timers: list[tuple[float, int, Task | Callable[[], None], int]] = []
        self._numbers = count()
        self._hub: Any = None

    # --- for whoever runs it ----------------------------------------------------------------------------

    def run(self, *, steps: int, deadline: float) -> None:
        """Run until ``finished``; raise ``StuckError`` after so many steps, or beyond ``deadline`` (its own clock)."""
        self._hub = greenlet.getcurrent()
        last = self.steps + steps
        while not self.finished:
            if self.steps >= last or self.now > deadline:
                message = f"no end after {self.steps} steps and {self.now - BOOT:.3f} s"
                raise StuckError(message)
            self._step()

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Have something happen outside of every process, ``delay`` seconds from now."""
        heapq.heappush(self._timers, (self.now + delay, next(self._numbers), action, 0))

    def spawn(self, process: Process, function: Callable[[], object], name: str) -> Task:
        """Start a thread."""
        task = Task(process, f"{process.name}.{name}", next(self._numbers))
        task.body = greenlet.greenlet(lambda: self._body(task, function), parent=self._hub)
        process.tasks[task] = None
        self.ready.append(task)
        return task

    def kill(self, process: Process) -> None:
        """End a process between two switch points of its threads, as SIGKILL does. From outside, or its own exit."""
        if not process.is_alive:
            return
        process.is_alive = False
        self.note("gone", process.name)
        process.on_death()
        for task in list(process.tasks):
            if task is not self.current:
                self._unwind(task)

    def note(self, *what: object) -> None:
        """Remember for the trace that something happened."""
        self.recent.append((self.now, what))
        if self.trace is not None:
            self.trace.append(f"{self.now:.6f} " + " ".join(map(str, what)))

    # --- for threads ------------------------------------------------------------------------------------

    def switch_point(self) -> None:
        """Let another thread run, or stand still for a while, if chance has it so."""
        task = self.current
        if task is None:
            return
        process = task.process
        if not process.is_alive:
            raise Killed
        if process.doom is not None:
            process.doom -= 1
            if process.doom <= 0:
                self._leave(task)
        drawn = self.chance.random()
        if drawn < self._preempt:
            if drawn < self._stall:
                self.park(self.chance.random() * self._longest)
            else:
                self.ready.append(task)
                self._leave(task)

    def park(self, timeout: float | None) -> bool:
        """Wait to be woken, or for ``timeout`` seconds; tell whether somebody woke it."""
        task = self.current
        assert task is not None
        if not task.process.is_alive:
            raise Killed
        task.token += 1
        if timeout is not None:
            heapq.heappush(self._timers, (self.now + max(0.0, timeout), next(self._numbers), task, task.token))
        task.is_parked = True
        self._leave(task)
        return task.was_woken

    def wake(self, task: Task) -> None:
        """End a thread's waiting."""
        if task.is_parked:
            self._go_on(task, was_woken=True)

    # --- inside -----------------------------------------------------------------------------------------

    def _step(self) -> None:
        timers, ready = self._timers, self.ready
        if timers and (timers[0][0] <= self.now or not ready):
            due, _, action, token = heapq.heappop(timers)
            self.now = max(self.now, due)
            if not isinstance(action, Task):
                self.steps += 1
                action()
            elif action.token == token and action.is_parked:
                self._go_on(action, was_woken=False)
            return
        if not ready:
            raise StuckError("every thread waits for another")
        self.steps += 1
        self.now += STEP
        at = int(self.chance.random() * len(ready))
        task = ready[at]
        ready[at] = ready[-1]
        ready.pop()
        process = task.process
        if task.is_done or not process.is_alive:
            return
        if process.is_frozen:
            process.held.append(task)
            return
        if self.trace is not None:
            self.trace.append(f"{self.now:.6f} > {task.name}")
        self._enter(task)
        if process.doom is not None and process.doom <= 0:
            process.doom = None
            self.kill(process)

    def _enter(self, task: Task) -> None:
        self.current = task
        try:
            task.body.switch()
        finally:
            self.current = None

    def _leave(self, task: Task) -> None:
        self._hub.switch()
        if not task.process.is_alive:
            raise Killed

    def _go_on(self, task: Task, *, was_woken: bool) -> None:
        task.is_parked = False
        task.token += 1
        task.was_woken = was_woken
        self.ready.append(task)

    def _body(self, task: Task, function: Callable[[], object]) -> None:
        try:
            if task.process.is_alive:
                function()
        except Killed:
            pass
        finally:
            task.is_done = True
            task.process.tasks.pop(task, None)
            for other in task.joiners:
                self.wake(other)

    def _unwind(self, task: Task) -> None:
        """Have a dead process's thread fall through its own ``finally`` clauses; each switch point throws it on."""
        before, self.current = self.current, task
        body, task.body = task.body, None
        task.is_done = True
        if body:  # started, and not at its end
            parent, body.parent = body.parent, greenlet.getcurrent()
            body.throw(Killed)
            del parent
        self.current = before
