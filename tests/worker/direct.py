"""A real worker process driven by the test itself in the parent's place: spec in, frames out, no restarts."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from supervisor.core.backoff import Backoff
from supervisor.core.board import Board, read_board
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.core.jsonable import to_json
from supervisor.core.spec import (
    BatchSpec,
    CommitSpec,
    DeadLetterSpec,
    Delivery,
    GroupSpec,
    LimitsSpec,
    Mode,
    Ordering,
    PluginSpec,
    PluginsSpec,
    RetrySpec,
    WorkerSpec,
)

HANDLERS = Path(__file__).parent
PROTOCOL_SETTINGS = {"fetch.wait.max.ms": 50}


def group_spec(bootstrap: str, name: str, topics: tuple[str, ...], handler: str, **changes: Any) -> GroupSpec:
    """Return a group with test-sized times; ``changes`` are members of ``GroupSpec``."""
    kafka = {"bootstrap.servers": bootstrap, **PROTOCOL_SETTINGS, **changes.pop("kafka", {})}
    sinks = tuple(PluginSpec(sink) for sink in changes.pop("sinks", ("dlq_kafka",)))
    spec = GroupSpec(
        name=name,
        topics=topics,
        handler=handler,
        plugins=PluginsSpec(sinks + tuple(changes.pop("plugins", ())), (str(HANDLERS),)),
        ordering=Ordering.PARTITION,
        concurrency=1,
        delivery=Delivery.AT_LEAST_ONCE,
        protocol="classic",
        handler_timeout=60.0,
        max_gap=10_000,
        queue_records=4096,
        queue_bytes=16 << 20,
        revoke_timeout=5.0,
        retry=RetrySpec(attempts=3, backoff=Backoff(0.05, 2.0, 1.0, 0.5)),
        dead_letters=DeadLetterSpec("dlq_kafka", "", "{topic}.dlq", 10.0),
        commit=CommitSpec("manual", 1000, 0.2),
        batch=BatchSpec(100, 0.0),
        kafka=kafka,
    )
    return replace(spec, **changes)


class DirectWorker:
    """One worker process. Use as a context manager: it is killed at the end."""

    def __init__(
        self,
        group: GroupSpec,
        folder: Path,
        *,
        slot: int = 0,
        mode: Mode = Mode.WORK,
        incarnation: int = 1,
        env: dict[str, str] | None = None,
        limits: LimitsSpec | None = None,
    ) -> None:
        self.spec = WorkerSpec(
            supervisor="t",
            group=group,
            slot=slot,
            incarnation=incarnation,
            mode=mode,
            parent_pid=os.getpid(),
            state_dir=str(folder / "state"),
            orphan_grace=5.0,
            log_format="text",
            log_level="info",
            limits=limits or LimitsSpec(),
        )
        self.slot_file = folder / f"{group.name}-{slot}.slot"
        self.log = folder / f"{group.name}-{slot}.log"
        self.frames: list[Frame] = []
        ours, theirs = socket.socketpair()
        self._sock = ours
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "supervisor.worker",
                    "--fd",
                    str(theirs.fileno()),
                    "--slot-file",
                    self.slot_file,
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        theirs.close()
        self._sock.sendall(encode("spec", spec=to_json(self.spec)))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def _read(self) -> None:
        reader = FrameReader()
        while True:
            try:
                data = self._sock.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            self.frames += reader.feed(data)

    def of_type(self, kind: str) -> list[Frame]:
        """Return the frames of a type so far; of a process that ended, all."""
        if self.process.poll() is not None:
            self._thread.join(5)
        return [frame for frame in list(self.frames) if frame["type"] == kind]

    def events(self, name: str) -> list[Frame]:
        """Return the events of a name so far."""
        return [frame for frame in self.of_type("event") if frame["name"] == name]

    @property
    def owned(self) -> list[tuple[str, int]]:
        """The partitions the worker last said it owns."""
        assigned = self.of_type("assigned")
        return [(topic, partition) for topic, partition in assigned[-1]["partitions"]] if assigned else []

    @property
    def stats(self) -> dict[str, Any]:
        """The newest stats, empty before the first."""
        stats = self.of_type("stats")
        return dict(stats[-1]["stats"]) if stats else {}

    @property
    def board(self) -> Board | None:
        """What the slot file says now."""
        return read_board(self.slot_file.read_bytes()) if self.slot_file.exists() else None

    def wait(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        """Wait for a condition; on the deadline fail with the end of the worker's log."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                message = f"condition not met in {timeout:g} s; exit {self.process.poll()}; log:\n{self.log_tail()}"
                raise AssertionError(message)
            time.sleep(0.01)

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of the worker's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def send(self, kind: str, **members: object) -> None:
        """Send the worker a frame, as the parent would."""
        self._sock.sendall(encode(kind, **members))

    def stop(self, end: str = "keep", timeout: float = 10.0) -> int:
        """Tell the worker to stop and return its exit code."""
        self._sock.sendall(encode("stop", end=end, timeout=timeout))
        return self.process.wait(timeout + 5)

    def hang_up(self) -> None:
        """Close the parent's end of the socketpair, as the parent's death does."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """SIGKILL the worker's process group and reap the leader."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self._sock.close()
        self._thread.join(2)
