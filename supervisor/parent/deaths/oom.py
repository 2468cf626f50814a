"""Was it the out-of-memory killer? Told by counters that only the kernel raises; its log is not ours to read."""

import signal
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from supervisor.parent.processes.delegation import own_cgroup

RECENT = 10.0
"""Seconds for which a kill may explain a death: a big process takes its time to give its memory back."""
EVENTS = "memory.events"


class KillCounter:
    """A file with a line ``oom_kill N``; each kill explains one death. A file that is not there counts nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = self._read()
        self._recent: deque[float] = deque(maxlen=1000)

    @property
    def is_there(self) -> bool:
        """Whether the kernel counts here."""
        return self._count is not None

    def look(self, *, now: float) -> None:
        """Notice new kills; at least every few seconds, for a kill is as old as the look that found it."""
        count, before = self._read(), self._count
        self._count = count
        if count is not None and before is not None:
            self._recent.extend([now] * min(1000, max(0, count - before)))
        while self._recent and self._recent[0] < now - RECENT:
            self._recent.popleft()

    def take(self, *, now: float) -> bool:
        """Return whether there was a kill that explains a death now, and count it as explained."""
        self.look(now=now)
        if not self._recent:
            return False
        self._recent.popleft()
        return True

    def _read(self) -> int | None:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


@dataclass(frozen=True, slots=True)
class Finding:
    """``oom``: the kernel killed it for memory. ``hint``: what else may be said of a SIGKILL that was not ours."""

    oom: bool = False
    hint: str = ""


class OomWatch:
    """Judges deaths by SIGKILL. A cgroup's own counter proves it; the machine's says only that somebody was killed."""

    def __init__(self, cgroup: Path | None = None, *, machine: Path = Path("/proc/vmstat")) -> None:
        ours = cgroup or own_cgroup()
        self._ours = KillCounter(ours / EVENTS) if ours is not None else None
        self._machine = KillCounter(machine)
        self._slots: dict[str, KillCounter] = {}

    def begin(self, cgroup: str) -> None:
        """Count from now on what happens in a slot's cgroup, for the incarnation that starts there."""
        if cgroup:
            self._slots[cgroup] = KillCounter(Path(cgroup) / EVENTS)

    def look(self, *, now: float) -> None:
        """Notice kills; about once a second."""
        for counter in (self._ours, self._machine):
            if counter is not None:
                counter.look(now=now)

    def judge(self, status: int, cgroup: str, *, by_us: bool, rss: int | None, now: float) -> Finding:
        """Return what is known of a worker's end with ``status`` that held ``rss`` bytes when it was last looked at."""
        if status != -signal.SIGKILL or by_us:
            return Finding()
        elsewhere = self._machine.take(now=now)
        for counter in (self._slots.get(cgroup), self._ours):
            if counter is not None and counter.is_there:
                return Finding(oom=counter.take(now=now))
        if elsewhere or not self._machine.is_there:
            seen = "" if rss is None else f", last seen with {rss / 1_000_000:.1f} MB"
            return Finding(hint=f"maybe the out-of-memory killer{seen}")
        return Finding()
