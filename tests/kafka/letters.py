"""A folder with a configuration, dead letters made by hand, and the ``dlq`` commands run as people run them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from supervisor.core.event_query import EventQuery
from supervisor.core.events import Event
from supervisor.core.letters import Origin, dead_letter_headers
from supervisor.parent.store.journal_file import journal_file, read_file
from tests.broker.real import RealBroker
from tests.waiting import wait_until

Headers = Sequence[tuple[str, bytes | None]]
SECRET = "the value of record"


def story(group: str, topic: str, partition: int, offset: int, **changes: Any) -> Headers:
    """Return the headers of a letter of ours, behind one of the record's own."""
    known: dict[str, Any] = {
        "timestamp": 1000.0,
        "disposition": "error",
        "reason": "failed 5 times",
        "attempts": 5,
        "first_failed_at": 1_700_000_000.0,
        "failed_at": 1_700_000_000.0 + offset,
        "error": ValueError("no"),
    }
    origin = Origin(group=group, worker="a", topic=topic, partition=partition, offset=offset, **(known | changes))
    return dead_letter_headers((("trace", b"t-%d" % offset),), origin)


def put(
    broker: RealBroker, topic: str, letters: Sequence[Headers], partition: Callable[[int], int] = lambda _: 0
) -> None:
    """Write letters, the key and value of each by its number."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 2, "log_level": 3})
    for at, headers in enumerate(letters):
        value = f"{SECRET} {at}".encode()
        producer.produce(topic, value, b"key-%d" % at, partition(at), headers=list(headers))
        producer.poll(0)
    assert producer.flush(30) == 0


class Folder:
    """A project without a running supervisor."""

    def __init__(self, folder: Path, broker: RealBroker, group: str, *, topics: str = "", more: str = "") -> None:
        self.folder = folder
        self.group = group
        text = f"""
[supervisor]
name = "a"
state_dir = "state"
runtime_dir = "run"
[kafka]
"bootstrap.servers" = "{broker.bootstrap}"
[groups."{group}"]
topics = {topics or json.dumps([group])}
handler = "work:Work"
{more}
"""
        (folder / "supervisor.toml").write_text(text)

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "supervisor", "dlq", verb, self.group, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        drop = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "SUPERVISOR_CONFIG", "SUPERVISOR_SOCKET")
        return {key: value for key, value in os.environ.items() if key not in drop}

    def run(self, verb: str, *arguments: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self.command(verb, *arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def answer(self, verb: str, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(verb, *arguments, "--json", code=code).stdout)

    def begin(self, verb: str, *arguments: str) -> "subprocess.Popen[bytes]":
        out = (self.folder / "out").open("wb")
        with out:
            return subprocess.Popen(
                self.command(verb, *arguments), cwd=self.folder, env=self.environment, stdout=out, stderr=out
            )

    def child(self, command: "subprocess.Popen[bytes]") -> psutil.Process:
        """Return the inspector of a command that runs."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = psutil.Process(command.pid).children()
            return bool(found)

        wait_until(is_there, 20)
        return found[0]

    def events(self, name: str) -> list[Event]:
        page = read_file(journal_file(self.folder / "state"), EventQuery(limit=500))
        return [entry.event for entry in page.entries if entry.event.name == name]
