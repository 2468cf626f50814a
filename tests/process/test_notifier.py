import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supervisor.core.child_specs import NotifierSpec
from supervisor.core.events import Event, Severity
from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.core.jsonable import to_json
from supervisor.core.spec import PluginSpec, PluginsSpec
from tests.waiting import wait_until

PLUGINS = """
import time
from dataclasses import dataclass
from supervisor.plugin import hookimpl

class ToFile:
    @dataclass
    class Options:
        path: str
    def __init__(self, options):
        self.path = options.path
    @hookimpl
    def alert(self, event):
        with open(self.path, "a") as file:
            file.write(event.name + "\\n")

class Raises:
    @hookimpl
    def alert(self, event):
        raise RuntimeError("no route")

class Hangs:
    @hookimpl
    def alert(self, event):
        time.sleep(3600)
"""


class Notifier:
    """The real child process, and the parent's end of its socketpair."""

    def __init__(self, spec: NotifierSpec, stderr: Path, *, via: list[str]) -> None:
        self.sock, theirs = socket.socketpair()
        command = [*via, sys.executable, "-m", "supervisor.notifier", "--fd", str(theirs.fileno())]
        with stderr.open("wb") as log:
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=log)
        theirs.close()
        self.stderr = stderr
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        if via:
            spec = replace(spec, parent_pid=self.process.pid)
        self.send("spec", spec=to_json(spec))

    def send(self, kind: str, **members: object) -> None:
        self.sock.sendall(encode(kind, **members))

    def alert(self, name: str) -> None:
        self.send("alert", event=to_json(Event(name, Severity.CRITICAL, time.time())))

    def frame(self, kind: str, timeout: float = 15.0) -> Frame:
        """Return the next frame of ``kind``; others before it stay to be asked for."""
        deadline = time.monotonic() + timeout
        while True:
            for index, frame in enumerate(self._frames):
                if frame["type"] == kind:
                    return self._frames.pop(index)
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            data = self.sock.recv(65536)
            assert data, f"the notifier ended: {self.stderr.read_text()}"
            self._frames += self._reader.feed(data)

    def close(self) -> None:
        self.sock.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


Start = Callable[..., Notifier]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "alert_plugins.py").write_text(PLUGINS)
    running: list[Notifier] = []

    def go(*targets: str, parent_pid: int | None = None, via: list[str] | None = None) -> Notifier:
        options: dict[str, dict[str, Any]] = {"alert_plugins:ToFile": {"path": str(tmp_path / "alerts")}}
        plugins = tuple(PluginSpec(target, options.get(target, {})) for target in targets)
        spec = NotifierSpec("web-1", PluginsSpec(plugins, (str(tmp_path),)), parent_pid or os.getpid(), "json", "info")
        running.append(Notifier(spec, tmp_path / "stderr", via=via or []))
        return running[-1]

    yield go
    for notifier in running:
        notifier.close()


def alerts(tmp_path: Path) -> list[str]:
    path = tmp_path / "alerts"
    return path.read_text().split() if path.exists() else []


def test_events_reach_the_plugins_in_order(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:ToFile", "alert_log")
    notifier.frame("ready")

    for name in ("a", "b", "c"):
        notifier.alert(name)

    wait_until(lambda: alerts(tmp_path) == ["a", "b", "c"])
    wait_until(lambda: '"event": "c"' in notifier.stderr.read_text())


def test_events_that_come_with_the_spec_are_not_lost(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:ToFile")
    notifier.alert("early")

    wait_until(lambda: alerts(tmp_path) == ["early"])


def test_plugins_that_raise_or_hang_do_not_stop_the_others(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:Hangs", "alert_plugins:Raises", "alert_plugins:ToFile")

    notifier.alert("a")
    notifier.alert("b")

    wait_until(lambda: alerts(tmp_path) == ["a", "b"])
    event = notifier.frame("event")
    assert (event["name"], event["severity"]) == ("notifier.failed", "warning")
    assert event["text"] == "alert plugin alert_plugins:Raises did not take a: RuntimeError: no route"


def test_failures_are_told_once_in_a_while_not_each(start: Start) -> None:
    notifier = start("alert_plugins:Raises")

    for number in range(50):
        notifier.alert(f"event.{number}")
    stats: Frame = {}
    while stats.get("alert_plugins:Raises", {}).get("failed") != 50:
        stats = notifier.frame("stats")["stats"]

    notifier.frame("event")
    with pytest.raises(TimeoutError):
        notifier.frame("event", timeout=1.0)


def test_stop_lets_what_is_queued_go_out(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:ToFile")
    for number in range(100):
        notifier.alert(str(number))

    notifier.send("stop", end="leave", timeout=10.0)

    assert notifier.process.wait(15) == 0
    assert len(alerts(tmp_path)) == 100


def test_the_end_of_the_stream_ends_it_after_what_is_queued(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:ToFile")
    notifier.frame("ready")
    for number in range(100):
        notifier.alert(str(number))

    notifier.sock.shutdown(socket.SHUT_RDWR)

    assert notifier.process.wait(15) == 0
    assert len(alerts(tmp_path)) == 100


def test_sigterm_ends_it_and_a_hanging_plugin_does_not_prevent_that(start: Start) -> None:
    notifier = start("alert_plugins:Hangs")
    notifier.frame("ready")
    notifier.alert("a")
    wait_until(lambda: "alert_plugins:Hangs" in notifier.frame("stats")["stats"])

    notifier.process.send_signal(signal.SIGTERM)

    assert notifier.process.wait(15) == 0


def test_sigint_of_a_terminal_is_the_parents_business(start: Start, tmp_path: Path) -> None:
    notifier = start("alert_plugins:ToFile")
    notifier.frame("ready")

    notifier.process.send_signal(signal.SIGINT)
    notifier.alert("still here")

    wait_until(lambda: alerts(tmp_path) == ["still", "here"])


def test_it_does_not_start_for_a_parent_that_is_gone(start: Start) -> None:
    notifier = start("alert_plugins:ToFile", parent_pid=1)

    assert notifier.process.wait(15) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_it_dies_with_its_parent_even_when_the_stream_stays_open(start: Start, tmp_path: Path) -> None:
    # Its parent is a process in between; this test holds the other end of the stream.
    source = "import subprocess, sys; sys.exit(subprocess.Popen(sys.argv[1:], close_fds=False).wait())"
    notifier = start("alert_plugins:ToFile", via=[sys.executable, "-c", source])
    notifier.frame("ready")

    notifier.process.kill()

    with pytest.raises(AssertionError, match="the notifier ended"):
        notifier.frame("never")


def test_plugins_that_do_not_load_end_it_with_the_reason(start: Start) -> None:
    notifier = start("alert_lgo")

    bye = notifier.frame("bye")

    assert bye["code"] == ExitCode.CONFIG
    assert "did you mean 'alert_log'?" in bye["reason"]
    assert notifier.process.wait(15) == ExitCode.CONFIG
    assert json.loads(notifier.stderr.read_text().splitlines()[0])["event"] == "plugin.refused"


def test_a_stream_that_is_no_stream_of_frames_ends_it(start: Start) -> None:
    notifier = start("alert_plugins:ToFile")
    notifier.frame("ready")

    notifier.sock.sendall(b"hello\n")

    assert notifier.process.wait(15) == 0
