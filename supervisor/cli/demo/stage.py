"""What the demo plays on: a broker, a supervisor, a ledger; and waiting on them with a deadline."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from supervisor.cli.demo.files import write_project
from supervisor.cli.demo.ledger import Entry, read_ledger
from supervisor.cli.demo.view import View
from supervisor.control.client import ControlClient, ControlError
from supervisor.core.snapshot import SlotSnapshot, Snapshot
from supervisor.kafka.demo_client import DemoClient
from supervisor.kafka.embedded import EmbeddedBroker

GROUP = TOPIC = "orders"
DEAD_LETTERS = "orders.dlq"
PARTITIONS = 2
EVERY = 0.05
LOG_TAIL = 20

T = TypeVar("T")


class DemoFailedError(Exception):
    """Something did not happen in time; the text says what, and what the supervisor logged last."""


class Stage:
    """The running parts, started on enter and all gone on exit."""

    def __init__(self, folder: Path, view: View) -> None:
        self.folder = folder
        self.view = view
        self.ledger = folder / "ledger"
        self.log = folder / "supervisor.log"
        self.control = ControlClient(folder / "run" / "control.sock", timeout=5.0)
        self.produced = 0
        self._stack = contextlib.ExitStack()
        self._snapshot: Snapshot | None = None

    def __enter__(self) -> Self:
        """Start the broker."""
        self.ledger.mkdir()
        topics = {TOPIC: PARTITIONS, DEAD_LETTERS: PARTITIONS}
        self.broker = self._stack.enter_context(EmbeddedBroker(topics=topics, session_timeout=3.0, heartbeat=0.3))
        self.kafka = DemoClient(self.broker.bootstrap)
        return self

    def __exit__(self, *raised: object) -> None:
        """End everything that was started, the newest first."""
        self._stack.close()

    def start_supervisor(self) -> None:
        """Start ``supervisor run`` on the project's files, as a user would."""
        config = write_project(self.folder)
        environment = os.environ | {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "ORDERS_LEDGER": str(self.ledger),
            "RUNTIME_DIRECTORY": str(self.folder / "run"),
            "STATE_DIRECTORY": str(self.folder / "state"),
        }
        with self.log.open("wb") as log:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-m", "supervisor.cli.demo.child", "-c", str(config), "run"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops it
            )
        self._stack.callback(self._stop_supervisor)

    def produce(self, partition: int, records: list[str]) -> list[int]:
        """Write ``records`` to one partition of the demo's topic and return their offsets."""
        offsets = self.kafka.produce(TOPIC, partition, [(f"customer-{n % 20}", text) for n, text in enumerate(records)])
        self.produced += len(offsets)
        return offsets

    def wait(self, probe: Callable[[], T | None], what: str, *, seconds: float = 20.0) -> T:
        """Return the first answer of ``probe`` that is not ``None``; raise ``DemoFailedError`` after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(ControlError):
                answer = probe()
                if answer is not None:
                    return answer
            if self.supervisor.poll() is not None:
                raise DemoFailedError(self._story(f"the supervisor ended ({self.supervisor.returncode}) before {what}"))
            if time.monotonic() > deadline:
                raise DemoFailedError(self._story(f"not within {seconds:.0f} s: {what}"))
            self._show()
            time.sleep(EVERY)

    def entries(self) -> list[Entry]:
        """Return what the handlers have written down so far."""
        return read_ledger(self.ledger)

    def slots(self) -> list[SlotSnapshot]:
        """Return the group's slots as they are now."""
        self._snapshot = self.control.status()
        return [slot for group in self._snapshot.groups for slot in group.slots]

    def committed(self) -> dict[int, int]:
        """Return the group's committed offsets as the broker has them."""
        return self.kafka.committed(GROUP, TOPIC, PARTITIONS)

    def stop_supervisor(self) -> int:
        """Stop the supervisor as systemd would and return its exit code."""
        self.supervisor.send_signal(signal.SIGTERM)
        try:
            code = self.supervisor.wait(45.0)
        except subprocess.TimeoutExpired as error:
            raise DemoFailedError(self._story("the supervisor did not stop within 45 s")) from error
        self._snapshot = None
        self._show()
        return code

    def _stop_supervisor(self) -> None:
        for ask, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            if self.supervisor.poll() is None:
                self.supervisor.send_signal(ask)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.supervisor.wait(patience)

    def _show(self) -> None:
        with contextlib.suppress(ControlError):
            self._snapshot = self.control.status()
        worked = self.entries()
        distinct = len({(entry.partition, entry.offset) for entry in worked})
        self.view.show(
            self._snapshot, f"produced {self.produced}   processed {distinct}   twice or more {len(worked) - distinct}"
        )

    def _story(self, text: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:]
        return "\n".join([text, "the supervisor's last lines:", *(f"  {line}" for line in lines)])
