"""What psutil says of a worker. A reading that cannot be taken is ``None``, never zero."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Reading:
    """Memory in bytes; processor time since the reading before, as percent of one core and in seconds."""

    rss_bytes: int | None = None
    cpu_percent: float | None = None
    cpu_used: float = 0.0
    open_fds: int | None = None
    threads: int | None = None


class Sampler:
    """Reads one process; made right after its start, so that psutil can tell it from a later owner of its pid."""

    def __init__(self, pid: int, *, now: float) -> None:
        self._at = now
        self._cpu: float | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
            self._cpu = self._cpu_seconds(self._process)
        except (psutil.Error, OSError):  # OSError: no descriptor left to read with
            self._process = None

    def read(self, *, now: float) -> Reading:
        """Return memory and processor time; some 100 microseconds."""
        if self._process is None:
            return Reading()
        try:
            with self._process.oneshot():
                rss = self._process.memory_info().rss
                cpu = self._cpu_seconds(self._process)
                threads, fds = self._process.num_threads(), self._process.num_fds()
        except (psutil.Error, OSError):
            return Reading()
        elapsed, used = now - self._at, None if self._cpu is None else cpu - self._cpu
        self._at, self._cpu = now, cpu
        percent = None if used is None or elapsed <= 0 else max(0.0, round(100 * used / elapsed, 1))
        return Reading(rss or None, percent, cpu_used=max(0.0, used or 0.0), open_fds=fds, threads=threads)

    @staticmethod
    def _cpu_seconds(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)
