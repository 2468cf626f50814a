"""Members that come and go: what the tests of long key order do to the supervisors of one group."""

import random
from collections import Counter

from supervisor.core.snapshot import SlotState
from tests.whole.program import Program


class Churn:
    """Two supervisors: the first loses and gets back slots, the second comes and goes as a whole.

    Slot 0 of the first one is only ever killed or restarted, so that there is always somebody to work.
    ``kills`` counts the deaths that may repeat records.
    """

    def __init__(self, first: Program, second: Program, group: str, rng: random.Random) -> None:
        self.kills = 0
        self.done: Counter[str] = Counter()
        self._first = first
        self._second = second
        self._group = group
        self._rng = rng
        self._held = False

    def strike(self) -> str:
        """Let one member join or leave, in a way drawn by chance; return which."""
        ways = {
            "kill": self._kill,
            "keep": lambda: self._first.control.restart(f"{self._group}/{self._rng.randrange(2)}"),
            "slot": self._slot,
            "whole": self._whole,
            "crash": self._crash,
        }
        way = self._rng.choice([*ways, "slot", "whole"])
        ways[way]()
        self.done[way] += 1
        return way

    def _kill(self) -> None:
        self._first.kill_worker(0)
        self.kills += 1

    def _slot(self) -> None:
        """Slot 1 leaves the group, or joins it."""
        target = f"{self._group}/1"
        if self._held:
            self._first.control.start(target)
        else:
            self._first.control.hold(target)
        self._held = not self._held

    def _whole(self) -> None:
        """Let the second supervisor leave with all its workers (SIGTERM), or join."""
        if self._is_up():
            self._second.wait(self._second.slots, what="the second answers")
            code = self._second.terminate(40)
            assert code == 0, f"exit {code}\n{self._second.log.read_text()[-3000:]}"
        else:
            self._second.start()

    def _crash(self) -> None:
        """Kill the second supervisor with all its workers at once, and start it again."""
        if self._is_up():
            self.kills += len(self._second.workers())
            self._second.kill_all(self._rng)
        self._second.start()

    def _is_up(self) -> bool:
        process = self._second.process
        return process is not None and process.poll() is None

    def settle(self) -> None:
        """Have everybody back, for the rest of the work."""
        if self._held:
            self._slot()
        if not self._is_up():
            self._second.start()
        self._first.wait(lambda: self._first.slot(0).state is SlotState.RUNNING, what="the first works")
        self._second.wait(lambda: self._second.slot(0).state is SlotState.RUNNING, what="the second does")
