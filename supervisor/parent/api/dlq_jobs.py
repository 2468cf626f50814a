"""What is done with dead letters for who asks over the control socket: by a child each, as ``supervisor dlq`` does it.

The parent holds no Kafka client and reads no letter (P5): it passes a request on, and hears how far it is.
"""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any

from supervisor.control.answers import DlqJob, DlqLines
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest
from supervisor.core.exits import describe
from supervisor.core.jsonable import from_json, to_json
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import until
from supervisor.parent.processes.launcher import Child, send_signal

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.dlq")
MOST_AT_ONCE = 4
KEPT = 20
SILENCE = 60.0
"""Seconds without a word after which a child is taken for stuck; it speaks every two."""
STOP = 15.0
MOST_BYTES = 16 << 20
"""Of a line: the answer with 500 letters and their headers is far below it."""
READ = 1 << 18
HELD_BYTES = 1 << 20
"""Of exported letters: the child is not heard while so much waits to be taken."""

logger = logging.getLogger(__name__)

Done = Callable[[DlqAnswer], None]


class TooManyJobsError(Exception):
    """As many as may be are under way."""


class TakenError(Exception):
    """The letters that are asked for were handed out and let go, or are not there yet."""


class _Job:
    """One child, and what it said last. ``done`` is called once, with its answer.

    ``lines`` are exported letters that nobody has taken yet, ``held`` their characters; ``taken`` were before.
    ``is_full``: the child is not heard until some are. ``wants_lines``: not once it was told to end.
    ``error``: why we ended it.
    """

    def __init__(self, number: int, request: DlqRequest, done: Done) -> None:
        self.told = DlqJob(number, request.verb.value, request.group.name)
        self.request = request
        self.done = done
        self.child: Child | None = None
        self.out: IO[bytes] | None = None
        self.heard_at = 0.0
        self.waiting = b""
        self.answer: DlqAnswer | None = None
        self.error = ""
        self.lines: deque[str] = deque()
        self.held = self.taken = 0
        self.taken_at = 0.0
        self.is_full = False
        self.wants_lines = True

    @property
    def is_open(self) -> bool:
        """Whether something is still to come of it, or to be taken."""
        return self.child is not None or bool(self.lines)

    def take(self, count: int) -> None:
        """Let go of the first lines."""
        for _ in range(count):
            self.held -= len(self.lines.popleft())
        self.taken += count

    def let_go(self) -> None:
        """Let go of all lines, and of those to come."""
        self.take(len(self.lines))
        self.wants_lines = False

    def hear(self, line: bytes) -> None:
        """Take one frame of the child's."""
        try:
            frame: dict[str, Any] = json.loads(line)
            if frame["type"] == "progress":
                self.told = replace(self.told, counts=from_json(Counts, frame["counts"]))
            elif frame["type"] == "line":
                self._keep(str(frame["line"]))
            elif frame["type"] == "end":
                self.answer = from_json(DlqAnswer, frame["answer"])
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": "inspector.dlq", "error": str(error)}})

    def _keep(self, line: str) -> None:
        if self.wants_lines:
            self.lines.append(line)
            self.held += len(line)


class DlqJobs:
    """Runs jobs, a few at a time; the last ``KEPT`` can be asked about. In the parent's loop."""

    def __init__(self, exits: ExitWatch, *, program: tuple[str, ...] = PROGRAM) -> None:
        self._exits = exits
        self._program = program
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[int, _Job] = {}
        self._count = 0

    def begin(self, request: DlqRequest, done: Done) -> DlqJob:
        """Begin and return at once; raises ``TooManyJobsError``, or ``OSError`` when there is no child."""
        if sum(job.is_open for job in self._jobs.values()) >= MOST_AT_ONCE:
            raise TooManyJobsError
        self._count += 1
        job = _Job(self._count, replace(request, parent_pid=os.getpid()), done)
        self._start(job)
        self._jobs[self._count] = job
        over = [number for number, one in self._jobs.items() if not one.is_open]
        for number in over[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[number]
        return job.told

    def job(self, number: int) -> DlqJob | None:
        """Return how a job stands."""
        job = self._jobs.get(number)
        return None if job is None else job.told

    def lines(self, number: int, after: int) -> DlqLines | None:
        """Return letters of an export that come after the first ``after``, which are let go: whoever asks has them.

        Raises ``TakenError`` when these are not what comes next.
        """
        job = self._jobs.get(number)
        if job is None:
            return None
        if not job.taken <= after <= job.taken + len(job.lines):
            raise TakenError
        job.take(after - job.taken)
        job.taken_at = self._loop.time()
        self._hear_again(job)
        return DlqLines(number, after, tuple(job.lines), is_end=not job.is_open)

    def end(self, number: int) -> None:
        """Have a job finish what it has in hand."""
        job = self._jobs.get(number)
        if job is not None:
            job.let_go()
            self._hear_again(job)
            if job.child is not None:
                send_signal(job.child, signal.SIGTERM)

    async def stop(self) -> None:
        """End all: each may finish its chunk, within ``STOP`` seconds; what it noted is where the next one goes on."""
        for number in tuple(self._jobs):
            self.end(number)
        await until(self._is_idle, STOP)
        for job in self._jobs.values():
            if job.child is not None:
                send_signal(job.child, signal.SIGKILL, whole_group=True)
        await until(self._is_idle, 1.0)

    def _is_idle(self) -> bool:
        return not any(job.child for job in self._jobs.values())

    def _start(self, job: _Job) -> None:
        with tempfile.TemporaryFile() as question:
            question.write(json.dumps(to_json(job.request)).encode())
            question.seek(0)
            popen = subprocess.Popen(
                self._program, stdin=question, stdout=subprocess.PIPE, close_fds=True, start_new_session=True
            )
        out = popen.stdout
        assert out is not None  # noqa: S101 - a pipe was asked for
        os.set_blocking(out.fileno(), False)
        job.child, job.out, job.heard_at = Child(popen.pid, popen), out, self._loop.time()
        job.taken_at = job.heard_at
        self._loop.add_reader(out.fileno(), self._readable, job, out)
        self._exits.watch(job.child, lambda status: self._exited(job, out, status))
        self._loop.call_later(SILENCE, self._check, job)

    def _readable(self, job: _Job, out: IO[bytes]) -> None:
        try:
            data = os.read(out.fileno(), READ)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(out.fileno())
            return
        job.heard_at = self._loop.time()
        *lines, job.waiting = (job.waiting + data).split(b"\n")
        for line in lines:
            job.hear(line)
        if len(job.waiting) > MOST_BYTES:
            self._kill(job, f"more than {MOST_BYTES >> 20} MiB in one piece; `supervisor dlq` itself has no such bound")
        if job.held >= HELD_BYTES:
            job.is_full = True
            self._loop.remove_reader(out.fileno())

    def _exited(self, job: _Job, out: IO[bytes], status: int) -> None:
        job.child = job.out = None
        self._loop.remove_reader(out.fileno())
        try:
            while data := os.read(out.fileno(), READ):
                job.waiting += data
        except BlockingIOError:
            pass  # somebody holds the other end still; what it says is not waited for
        for line in job.waiting.split(b"\n"):
            if line:
                job.hear(line)
        job.waiting = b""
        out.close()
        why = job.error or f"it ended with {describe(status)} and no answer"
        answer = job.answer or DlqAnswer(job.told.counts, error=why, killed=True)
        job.told = replace(job.told, counts=answer.counts, is_done=True, answer=answer)
        job.done(answer)

    def _hear_again(self, job: _Job) -> None:
        """Hear a child that had to wait, once there is room."""
        if job.is_full and job.held < HELD_BYTES:
            job.is_full, job.heard_at = False, self._loop.time()
            if job.out is not None:
                self._loop.add_reader(job.out.fileno(), self._readable, job, job.out)

    def _check(self, job: _Job) -> None:
        """End a child that says nothing any more, or whose letters nobody takes."""
        if not job.is_open:
            return
        is_ours_to_wait = job.is_full or job.child is None
        quiet = self._loop.time() - (job.taken_at if is_ours_to_wait else job.heard_at)
        if quiet < SILENCE:
            self._loop.call_later(SILENCE - quiet, self._check, job)
        elif is_ours_to_wait:
            job.let_go()
            self._kill(job, f"nobody took its letters for {SILENCE:g} s")
        else:
            self._kill(job, f"it said nothing for {SILENCE:g} s")

    @staticmethod
    def _kill(job: _Job, why: str) -> None:
        if job.child is not None:
            job.error = why
            send_signal(job.child, signal.SIGKILL, whole_group=True)
        else:
            job.told = replace(job.told, answer=replace(job.told.answer, error=why))
