"""From "a process is asked for" to "it exists": a place at the gate, the slot's lock, the launcher's answer."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from supervisor.core.frames import FrameError, encode
from supervisor.core.jsonable import to_json
from supervisor.core.slot import Spawn
from supervisor.core.spec import Mode, WorkerSpec
from supervisor.parent.processes.launcher import Started, send_signal
from supervisor.parent.slots.house import House
from supervisor.parent.slots.slotfile import SlotFile
from supervisor.parent.slots.survivors import LockWait

SURVIVOR_MARGIN = 1.0


@dataclass(frozen=True, slots=True)
class Born:
    """A process that fills the slot and was told nothing yet: ``first_frame`` is its spec, ``cgroup`` where it goes."""

    started: Started
    first_frame: bytes
    cgroup: str


class Starting:
    """Starts the processes of one slot, one at a time, in the parent's loop; nothing here waits.

    ``spec`` makes what a process is told and how many cells its slot file has, when its turn has come. ``answer`` is
    called once for each ``ask`` that was not cancelled; a process that comes after that is turned away.
    """

    def __init__(
        self,
        key: tuple[str, int],
        file: SlotFile,
        house: House,
        *,
        spec: Callable[[Spawn], tuple[WorkerSpec, int]],
        answer: Callable[[Born | str], None],
        survivor_killed: Callable[[int, float], None],
    ) -> None:
        self._key = key
        self._file = file
        self._house = house
        self._spec = spec
        self._answer = answer
        self._asked: Spawn | None = None
        self._launching: Spawn | None = None
        """The process that the launcher was asked for and has not answered yet."""
        self._lock_wait = LockWait(
            file, grace=lambda: house.orphan_grace() + SURVIVOR_MARGIN, on_killed=survivor_killed
        )

    @property
    def note(self) -> str:
        """What is waited for, in words; empty when nothing is."""
        if self._asked is not None and self._house.ledger.is_waited_for(*self._key):
            return "waits until what its last death said is in the ledger"
        return self._lock_wait.note

    def ask(self, spawn: Spawn) -> None:
        """Start a process as soon as there is a place for it, the slot's lock is free and its last death is kept."""
        self._asked = spawn
        self._house.ledger.when_durable(*self._key, self._queue_up)

    def cancel(self) -> None:
        """Forget what was asked for."""
        self._asked = self._launching = None
        self._lock_wait.cancel()
        self.leave_gates()

    def leave_gates(self) -> None:
        """Give the place at the gate to the next: the process is ready, or gone."""
        self._house.starts.leave(self._key)
        self._house.leaves.leave(self._key)

    def close(self) -> None:
        """Wait for nothing any more; the place at the gate goes with the gate."""
        self._lock_wait.cancel()
        self._asked = self._launching = None

    def _queue_up(self) -> None:
        if self._asked is not None:
            gate = self._house.starts if self._asked.mode is Mode.WORK else self._house.leaves
            gate.enter(self._key, self._launch)

    def _launch(self) -> None:
        asked = self._asked
        if asked is None or not self._lock_wait.when_free(self._queue_up):
            self.leave_gates()
            return
        self._asked = None
        try:
            spec, cells = self._spec(asked)
            spec = self._house.cgroups.placed(spec)
            self._house.oom.begin(spec.limits.cgroup)
            first_frame = encode("spec", spec=to_json(spec))
            self._file.fit(cells)
        except (OSError, FrameError) as error:
            self._failed(error)
            return
        self._launching = asked
        launched = partial(self._launched, asked, first_frame, spec.limits.cgroup)
        self._house.launcher.start(spec, self._file.path, launched)

    def _launched(self, asked: Spawn, first_frame: bytes, cgroup: str, started: Started | OSError) -> None:
        """Take the process that was asked for, unless it is not wanted any more."""
        if self._launching is not asked:
            if isinstance(started, Started):
                self._turn_away(started)
            return
        self._launching = None
        if isinstance(started, OSError):
            self._failed(started)
        else:
            self._answer(Born(started, first_frame, cgroup))

    def _failed(self, error: Exception) -> None:
        self.leave_gates()
        self._answer(str(error))

    def _turn_away(self, started: Started) -> None:
        """End a process that came too late: it was told nothing, so it is nobody's worker yet."""
        started.connection.close()
        self._house.exits.watch(started.child, lambda _status: None)
        send_signal(started.child, signal.SIGKILL, whole_group=True)
