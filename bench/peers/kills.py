"""``failover`` under other people's supervisors: kill -9 a busy member, and see who works its partitions, and when.

A member without a static id stays in its group until its session times out. Its successor is a new member, and
the group has to be assigned anew: so what counts is the first record of the killed member's partitions in any process.
"""

import contextlib
import itertools
import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.peers.deployments import MEMBERS, Deployment, Ground
from bench.peers.environments import interpreters, last_words
from bench.stage import BenchError, Figures, Stage, progress, wait_for

START_LIMIT = 90.0
LIMIT = 90.0
"""Seconds for partitions to move again: two sessions of the default length."""
QUIET = 4.0
"""Seconds without a callback after which a group has come to rest: longer than a heartbeat (3 s)."""
WATCHED = 1.5
"""Seconds after a recovery in which the others' callbacks count, as for our own workers."""
MOVES = 1.0
"""Seconds without a record after which a partition is not a process' any more."""


@dataclass(frozen=True, slots=True)
class Member:
    """What one process noted: records as (partition, monotonic time), and how many callbacks it saw."""

    pid: int
    records: Sequence[tuple[int, float]]
    callbacks: int

    def owned(self, now: float) -> set[int]:
        """Return the partitions that it works."""
        return {partition for partition, at in self.records if at > now - MOVES}


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: seconds until the member's partitions delivered again, and what the others went through.

    These are rebalance callbacks, and the longest time without a record of a partition of theirs.
    """

    seconds: float
    disturbed: int
    others_stopped: float


@dataclass(slots=True)
class Running:
    """A deployment that runs, and whom of it we killed."""

    process: "subprocess.Popen[bytes]"
    ledger: Path
    partitions: int
    killed: set[int] = field(default_factory=set)

    def members(self) -> dict[int, Member]:
        """Return the processes that were not killed, as far as they noted anything."""
        code = self.process.poll()
        if code is not None:
            message = f"ended with {code}"
            raise BenchError(message)
        found = (_read(file) for file in self.ledger.glob("member-*"))
        return {member.pid: member for member in found if member.pid not in self.killed}

    def settle(self) -> None:
        """Wait until every member works partitions, all of these move, and no callback came for a while."""
        seen: dict[int, int] = {}
        since = time.monotonic()

        def rests() -> bool:
            nonlocal seen, since
            now, members = time.monotonic(), self.members()
            callbacks = {pid: member.callbacks for pid, member in members.items()}
            owned = [member.owned(now) for member in members.values()]
            if (
                callbacks != seen
                or len(owned) != MEMBERS
                or not all(owned)
                or len(set().union(*owned)) < self.partitions
            ):
                seen, since = callbacks, now
            return now - since > QUIET

        wait_for(rests, f"{MEMBERS} members do not come to rest", timeout=START_LIMIT, every=0.2)

    def kill(self, pid: int) -> Kill:
        """SIGKILL a member, and watch its partitions and the other members."""
        before = self.members()
        theirs = before.pop(pid).owned(time.monotonic())
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.killed.add(pid)
        wait_for(
            lambda: all(self._since(at, partition) for partition in theirs),
            "the killed member's partitions do not move",
            timeout=LIMIT,
            every=0.1,
        )
        seconds = min(self._since(at, partition)[0] for partition in theirs) - at
        time.sleep(WATCHED)
        after = self.members()
        disturbed = sum(after[other].callbacks - member.callbacks for other, member in before.items())
        others = set(range(self.partitions)) - theirs
        stopped = max(_longest([at, *self._since(at, partition), time.monotonic()]) for partition in others)
        return Kill(seconds, disturbed, stopped)

    def _since(self, since: float, partition: int) -> list[float]:
        """Return when a partition was worked since then, by whomever."""
        records = (record for member in self.members().values() for record in member.records)
        return sorted(at for found, at in records if found == partition and at > since)


def figures(stage: Stage, deployments: Sequence[Deployment], *, topic: str, partitions: int, kills: int) -> Figures:
    """Kill ``kills`` members of every deployment, all deployments at once; none of them ends the run."""
    pythons = interpreters(deployment.environment for deployment in deployments)
    told: Figures = {}
    reasons: dict[str, str] = {}

    def measure(deployment: Deployment) -> list[Kill] | str:
        match pythons[deployment.environment]:
            case Path() as python:
                ground = Ground(stage.bootstrap, topic, f"peer-{deployment.name}", stage.folder / deployment.name)
                return _measure(stage, deployment, ground, python=python, partitions=partitions, kills=kills)
            case reason:
                return reason

    with ThreadPoolExecutor(max(1, len(deployments))) as threads:
        outcomes = list(threads.map(measure, deployments))
    for deployment, outcome in zip(deployments, outcomes, strict=True):
        if isinstance(outcome, str):
            reasons[deployment.name] = outcome
            progress(f"{deployment.name}: not measured: {outcome}")
        told |= _keys(deployment.name, [] if isinstance(outcome, str) else outcome)
    versions = {deployment.name: f"{deployment.version}, {deployment.how}" for deployment in deployments}
    return told | {"deployments": versions} | ({"not_measured": reasons} if reasons else {})


def _measure(
    stage: Stage, deployment: Deployment, ground: Ground, *, python: Path, partitions: int, kills: int
) -> list[Kill] | str:
    """Return what each kill did, or why there is nothing to tell."""
    chance = random.Random(1)
    found: list[Kill] = []
    try:
        with _running(stage, deployment, ground, python=python, partitions=partitions) as running:
            for number in range(kills):
                running.settle()
                time.sleep(chance.random() * 3)  # not in step with heartbeats
                found.append(running.kill(chance.choice(sorted(running.members()))))
                text = f"{found[-1].seconds:.3f} s, {found[-1].disturbed} callbacks in the others"
                progress(f"{deployment.name}, kill {number + 1}/{kills}: {text}")
    except (BenchError, OSError) as error:
        return f"{error}; it said: {_last_words(ground.folder)}"
    return found


def _keys(name: str, kills: Sequence[Kill]) -> Figures:
    """Return a deployment's figures, each null without kills."""
    seconds = [kill.seconds for kill in kills]
    stopped = [kill.others_stopped for kill in kills]
    return {
        f"{name}_s": round(statistics.median(seconds), 3) if kills else None,
        f"{name}_max_s": round(max(seconds), 3) if kills else None,
        f"{name}_others_disturbed": sum(kill.disturbed for kill in kills) if kills else None,
        f"{name}_others_stopped_s": round(statistics.median(stopped), 3) if kills else None,
        f"{name}_runs": len(kills),
    }


@contextmanager
def _running(
    stage: Stage, deployment: Deployment, ground: Ground, *, python: Path, partitions: int
) -> Iterator[Running]:
    """Start a deployment; at the end it and all its processes are killed."""
    ground.ledger.mkdir(parents=True)
    hidden = () if deployment.ours else ("PYTHONPATH",)
    environment = {name: value for name, value in stage.environment.items() if name not in hidden}
    with (ground.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            deployment.command(ground, python),
            cwd=ground.folder,
            env={**environment, **deployment.variables(ground)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Running(process, ground.ledger, partitions)
    finally:
        _end(process, ground.ledger)


def _end(process: "subprocess.Popen[bytes]", ledger: Path) -> None:
    """Kill a deployment, its children, and those that noted something, should it have died before them.

    Only what is in its session: a number may be another process' by now.
    """
    left = {int(file.name.rsplit("-", 1)[1]) for file in ledger.glob("member-*")}
    with contextlib.suppress(psutil.NoSuchProcess):
        left |= {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    process.kill()
    process.wait(10)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)


def _read(file: Path) -> Member:
    records, callbacks = [], 0
    for line in file.read_text().splitlines():
        match line.split():
            case ["record", partition, at]:
                records.append((int(partition), float(at)))
            case _:
                callbacks += 1
    return Member(int(file.name.rsplit("-", 1)[1]), records, callbacks)


def _longest(times: Sequence[float]) -> float:
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def _last_words(folder: Path) -> str:
    said = [file.read_text(errors="replace") for name in ("consumers.log", "log") if (file := folder / name).is_file()]
    return last_words("\n".join(said))
