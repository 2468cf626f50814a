"""A Kafka broker inside the package: librdkafka's mock cluster in a process of its own, for the demo and for tests.

``python -m supervisor.kafka.embedded --topics orders:2`` prints one JSON line with ``bootstrap.servers`` and lives
until its standard input ends or its parent is gone. Each further line on standard input is a command, answered by
one line: ``{"do": "push_errors", "api": 8, "codes": [27]}`` → ``{"ok": true}``.

It keeps everything in memory (5 MiB a partition, then the oldest go), knows no ACL and no transactions worth the
name, ignores static member ids and delays classic rebalances by a session: use ``group.protocol=consumer``.
"""

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

from supervisor.kafka.mock_cluster import EmbeddedError, MockCluster

START_TIMEOUT = 15.0
COMMAND_TIMEOUT = 5.0
ALL = -1

__all__ = ["ALL", "Api", "EmbeddedBroker", "EmbeddedError"]


class Api(IntEnum):
    """Kafka's request types, as far as errors are worth injecting into them."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    CONSUMER_GROUP_HEARTBEAT = 68


class EmbeddedBroker:
    """The embedded broker, started as a child process; a context manager.

    ``topics`` maps names to partition counts; topics a client asks for are made too, with four partitions.
    ``session_timeout`` and ``heartbeat`` are what members of ``group.protocol=consumer`` are told, in seconds.
    Every method blocks until the child has answered, at most ``COMMAND_TIMEOUT`` seconds. Not thread-safe.
    """

    def __init__(
        self, topics: Mapping[str, int], *, brokers: int = 1, session_timeout: float = 3.0, heartbeat: float = 0.3
    ) -> None:
        self.bootstrap = ""
        self._arguments = [
            *("--topics", ",".join(f"{name}:{partitions}" for name, partitions in topics.items())),
            *("--brokers", str(brokers)),
            *("--session-timeout", str(session_timeout)),
            *("--heartbeat", str(heartbeat)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End the broker; all its records are gone."""
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """What a client of this broker is configured with: a new record does not wake its waiting fetches."""
        return {"bootstrap.servers": self.bootstrap, "fetch.wait.max.ms": 20}

    def start(self) -> None:
        """Start the child and wait until it listens, some 0.2 s; raise ``EmbeddedError`` when it cannot."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.kafka.embedded", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is for those who use it: they end first
        )
        try:
            self.bootstrap = str(self._answer(START_TIMEOUT)["bootstrap.servers"])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(COMMAND_TIMEOUT)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic (the mock cluster does not serve the admin API)."""
        self._do("create_topic", name=name, partitions=partitions)

    def push_errors(self, api: int, codes: Sequence[int]) -> None:
        """Answer the next requests of type ``api`` with these codes; 0 lets one pass, -195 cuts the connection."""
        self._do("push_errors", api=int(api), codes=[int(code) for code in codes])

    def clear_errors(self, api: int) -> None:
        """Forget what ``push_errors`` has left of that type."""
        self._do("clear_errors", api=int(api))

    def set_latency(self, seconds: float, *, broker: int = ALL) -> None:
        """Delay every answer of a broker."""
        self._do("set_latency", broker=broker, milliseconds=round(seconds * 1000))

    def broker_down(self, broker: int = ALL) -> None:
        """Cut all connections of a broker (the first is 1) and refuse new ones."""
        self._do("broker_down", broker=broker)

    def broker_up(self, broker: int = ALL) -> None:
        """Let a broker accept connections again."""
        self._do("broker_up", broker=broker)

    def set_coordinator(self, group: str, broker: int) -> None:
        """Move the coordinator of a group to another broker."""
        self._do("set_coordinator", group=group, broker=broker)

    def _do(self, what: str, **members: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            message = "the embedded broker is not running"
            raise EmbeddedError(message)
        try:
            process.stdin.write(json.dumps({"do": what, **members}).encode() + b"\n")
        except OSError as error:
            message = f"the embedded broker is gone: {error}"
            raise EmbeddedError(message) from error
        self._answer(COMMAND_TIMEOUT)

    def _answer(self, timeout: float) -> dict[str, Any]:
        process = self._process
        assert process is not None  # noqa: S101 - only called with one
        assert process.stdout is not None  # noqa: S101 - opened as a pipe
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(process.stdout.fileno(), 65536) if ready else b""
            if not data:
                message = (
                    "the embedded broker ended" if ready else f"the embedded broker did not answer in {timeout:g} s"
                )
                raise EmbeddedError(message)
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EmbeddedError(answer["error"])
        return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Host a mock cluster until standard input ends or the parent is gone."""
    parent = os.getppid()
    parser = argparse.ArgumentParser(prog="python -m supervisor.kafka.embedded")
    parser.add_argument("--topics", default="", help="name:partitions, separated by commas")
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--session-timeout", type=float, default=3.0, help="seconds, of group.protocol=consumer")
    parser.add_argument("--heartbeat", type=float, default=0.3, help="seconds, of group.protocol=consumer")
    options = parser.parse_args(arguments)
    try:
        cluster = MockCluster(options.brokers)
        cluster.set_group_timeouts(session=options.session_timeout, heartbeat=options.heartbeat)
        for topic in filter(None, options.topics.split(",")):
            name, _, partitions = topic.rpartition(":")
            cluster.create_topic(name=name, partitions=int(partitions))
    except (EmbeddedError, ValueError) as error:
        _say({"error": str(error)})
        return 1
    _say({"bootstrap.servers": cluster.bootstrap})
    _serve(cluster.commands, parent)
    return 0


def _serve(commands: Mapping[str, Callable[..., None]], parent: int) -> None:
    rest = b""
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], 1.0)
        if not ready:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            _say(_obey(commands, line))


def _obey(commands: Mapping[str, Callable[..., None]], line: bytes) -> dict[str, object]:
    try:
        members = json.loads(line)
        commands[members.pop("do")](**members)
    except (EmbeddedError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"ok": True}


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
