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
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any

from supervisor.control.answers import DlqJob
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest
from supervisor.core.exits import describe
from supervisor.core.jsonable import from_json, to_json
from supervisor.parent.exits import ExitWatch
from supervisor.parent.keeper import until
from supervisor.parent.launcher import Child, send_signal

PROGRAM = (sys.executable, "-P", "-m", "supervisor.inspector.dlq")
MOST_AT_ONCE = 4
KEPT = 20
SILENCE = 60.0
"""Seconds without a word after which a child is taken for stuck; it speaks every two."""
STOP = 15.0
MOST_BYTES = 16 << 20
"""Of a line: the answer with 500 letters and their headers is far below it."""
READ = 1 << 18

logger = logging.getLogger(__name__)

Done = Callable[[DlqAnswer], None]


class TooManyJobsError(Exception):
    """As many as may be are under way."""


class _Job:
    """One child, and what it said last. ``done`` is called once, with its answer."""

    def __init__(self, number: int, request: DlqRequest, done: Done) -> None:
        self.told = DlqJob(number, request.verb.value, request.group.name)
        self.request = request
        self.done = done
        self.child: Child | None = None
        self.heard_at = 0.0
        self.waiting = b""
        self.answer: DlqAnswer | None = None

    def hear(self, line: bytes) -> None:
        """Take one frame of the child's."""
        try:
            frame: dict[str, Any] = json.loads(line)
            if frame["type"] == "progress":
                self.told = replace(self.told, counts=from_json(Counts, frame["counts"]))
            elif frame["type"] == "end":
                self.answer = from_json(DlqAnswer, frame["answer"])
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": "inspector.dlq", "error": str(error)}})


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
        running = [job for job in self._jobs.values() if job.child is not None]
        if len(running) >= MOST_AT_ONCE:
            raise TooManyJobsError
        self._count += 1
        job = _Job(self._count, replace(request, parent_pid=os.getpid()), done)
        self._start(job)
        self._jobs[self._count] = job
        over = [number for number, one in self._jobs.items() if one.child is None]
        for number in over[: max(0, len(self._jobs) - KEPT)]:
            del self._jobs[number]
        return job.told

    def job(self, number: int) -> DlqJob | None:
        """Return how a job stands."""
        job = self._jobs.get(number)
        return None if job is None else job.told

    def end(self, number: int) -> None:
        """Have a job finish what it has in hand."""
        job = self._jobs.get(number)
        if job is not None and job.child is not None:
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
        job.child, job.heard_at = Child(popen.pid, popen), self._loop.time()
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
        if len(job.waiting) > MOST_BYTES and job.child is not None:
            send_signal(job.child, signal.SIGKILL, whole_group=True)

    def _exited(self, job: _Job, out: IO[bytes], status: int) -> None:
        job.child = None
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
        answer = job.answer or DlqAnswer(job.told.counts, error=f"it ended with {describe(status)} and no answer")
        job.told = replace(job.told, counts=answer.counts, is_done=True, answer=answer)
        job.done(answer)

    def _check(self, job: _Job) -> None:
        """End a child that says nothing any more."""
        if job.child is None:
            return
        quiet = self._loop.time() - job.heard_at
        if quiet >= SILENCE:
            send_signal(job.child, signal.SIGKILL, whole_group=True)
        else:
            self._loop.call_later(SILENCE - quiet, self._check, job)
