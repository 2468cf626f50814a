"""Three consumers of one group, kept running by somebody else's supervisor: how each is set up.

Every process notes its records and rebalance callbacks in a file of its own, as ``raw_member`` does.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.environments import Environment, environment

MEMBERS = 3
RAW_MEMBER = Path(__file__).parents[1] / "raw_member.py"
FASTSTREAM_TASK = "FASTSTREAM_TASK"
"""The variable that tells the FastStream application where it runs: its command line is FastStream's."""
_SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}

[program:consumer]
command = {python} -P {program} '{settings}' {topic} {ledger}/member
numprocs = {members}
process_name = consumer-%(process_num)d
autorestart = true
redirect_stderr = true
stdout_logfile = {folder}/consumers.log
"""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a deployment is given: a topic, a group, a folder, and in it one for the processes' notes."""

    bootstrap: str
    topic: str
    group: str
    folder: Path

    @property
    def ledger(self) -> Path:
        """The folder of notes, a file ``member-PID`` per process."""
        return self.folder / "ledger"

    @property
    def settings(self) -> dict[str, str | bool]:
        """A consumer's settings as people deploy it: librdkafka's defaults, offsets stored after the work."""
        return {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
        }


@dataclass(frozen=True, slots=True)
class Deployment:
    """One supervisor of others with three consumers. ``ours`` is whether its processes may find our packages.

    They must not where a supervisor's own package has the name of ours.
    """

    name: str
    distribution: str
    environment: Environment
    command: Callable[[Ground, Path], Sequence[str]]
    how: str
    ours: bool = True
    variables: Callable[[Ground], Mapping[str, str]] = lambda _: {}

    @property
    def version(self) -> str:
        """The version its requirements pin."""
        return self.environment.version(self.distribution)


def _supervisord(ground: Ground, python: Path) -> Sequence[str]:
    return _with_settings(ground, python, ground.settings)


def _supervisord_static(ground: Ground, python: Path) -> Sequence[str]:
    return _with_settings(ground, python, {**ground.settings, "group.instance.id": "%(process_num)d"})


def _with_settings(ground: Ground, python: Path, settings: Mapping[str, object]) -> Sequence[str]:
    file = ground.folder / "supervisord.conf"
    text = _SUPERVISORD.format(
        folder=ground.folder,
        python=sys.executable,
        program=RAW_MEMBER,
        settings=json.dumps(settings),
        topic=ground.topic,
        ledger=ground.ledger,
        members=MEMBERS,
    )
    file.write_text(text)
    return [str(python), "-P", "-m", "supervisor.supervisord", "-c", str(file)]


def _faststream(_ground: Ground, python: Path) -> Sequence[str]:
    application = "bench.peers.faststream_members:app"
    return [str(python), "-P", "-m", "faststream", "run", application, "--workers", str(MEMBERS)]


def _faststream_task(ground: Ground) -> Mapping[str, str]:
    task = {"bootstrap": ground.bootstrap, "topic": ground.topic, "group": ground.group, "ledger": str(ground.ledger)}
    return {FASTSTREAM_TASK: json.dumps(task)}


_SUPERVISORD_HOME = environment("supervisord")

DEPLOYMENTS = (
    Deployment(
        "supervisord",
        "supervisor",
        _SUPERVISORD_HOME,
        _supervisord,
        "autorestart, librdkafka's defaults: dynamic members, session 45 s",
        ours=False,
    ),
    Deployment(
        "supervisord_static",
        "supervisor",
        _SUPERVISORD_HOME,
        _supervisord_static,
        "the same with a group.instance.id per process",
        ours=False,
    ),
    Deployment(
        "faststream",
        "faststream",
        environment("faststream"),
        _faststream,
        "--workers 3, its defaults: dynamic members, session 10 s",
        variables=_faststream_task,
    ),
)
