import json
import os
import shutil
import signal
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from supervisor.cli.main import cli
from supervisor.control.client import ControlClient, NotAllowed, NotRunning, Refused
from supervisor.core.events import Severity
from supervisor.core.exits import ExitCode
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import End
from supervisor.parent.api.api import bind
from supervisor.parent.api.peer import Peer, peer_of
from supervisor.parent.running.places import AlreadyRunningError, ParentLock
from tests.process.parents import Parent, pick
from tests.waiting import wait_until


def raw(parent: Parent, request: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes, return the status and the JSON body of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(parent.client.socket_path)
        connection.sendall(request)
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def post(parent: Parent, path: str, body: bytes) -> tuple[int, dict[str, object]]:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return raw(parent, head.encode() + body)


def test_the_socket_and_its_folder_are_ours_alone_from_the_first_moment(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    modes: list[int] = []
    path = folder / "control.sock"
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if path.exists():
                modes.append(stat.S_IMODE(path.lstat().st_mode))

    watcher = threading.Thread(target=watch)
    watcher.start()
    listener = bind(path)
    wait_until(lambda: modes)
    done.set()
    watcher.join()
    listener.close()

    assert set(modes) == {0o600}


def test_a_socket_and_slot_files_that_were_deleted_come_back_and_workers_start_in_them(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        before = parent.slot_when(SlotState.RUNNING)
        (tmp_path / "run" / "control.sock").unlink()
        parent.snapshot_when(lambda _: True)

        shutil.rmtree(tmp_path / "run")
        parent.snapshot_when(lambda _: True)
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)

        after = parent.slot_when(SlotState.RUNNING, incarnation=before.incarnation + 1)
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "run" / "control.sock").lstat().st_mode) == 0o600
        assert after.restarts == 1
        assert len(parent.events("control.socket_restored")) == 2


def test_a_lock_file_that_was_deleted_comes_back_and_keeps_a_second_supervisor_out(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        pid = parent.slot_when(SlotState.RUNNING).pid
        (tmp_path / "run" / "supervisor.lock").unlink()
        wait_until(lambda: parent.events("supervisor.lock_restored"))

        second = Parent(tmp_path).start()

        assert second.exit_code() == ExitCode.ALREADY_RUNNING
        assert f"(pid {parent.pid} holds" in second.errors.read_text()
        assert len(parent.events("supervisor.lock_restored")) == 1
        assert parent.slot_when(SlotState.RUNNING).pid == pid


def test_a_supervisor_that_took_the_lock_meanwhile_is_named_once_until_it_is_gone(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        path = tmp_path / "run" / "supervisor.lock"
        other = ParentLock(tmp_path / "other.lock")
        (tmp_path / "other.lock").replace(path)
        (lost,) = wait_until(lambda: parent.events("supervisor.lock_lost"))

        assert lost.severity is Severity.CRITICAL
        assert f"a supervisor is already running here (pid {os.getpid()} holds {path})" in lost.text
        up = parent.client.status().uptime
        parent.snapshot_when(lambda now: now.uptime > up + 2.5)  # two looks more
        assert len(parent.events("supervisor.lock_lost")) == 1

        other.release()
        wait_until(lambda: parent.events("supervisor.lock_restored"))
        with pytest.raises(AlreadyRunningError):
            ParentLock(path)


def test_a_running_supervisors_folders_and_files_are_closed_to_others(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        run = tmp_path / "run"

        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        assert {path.name: stat.S_IMODE(path.lstat().st_mode) for path in run.iterdir()} == {
            "control.sock": 0o600,
            "supervisor.lock": 0o600,
            "orders.0.slot": 0o600,
        }


def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.getuid())


def test_only_our_own_user_and_root_are_allowed() -> None:
    assert Peer(1, os.geteuid()).is_allowed
    assert Peer(1, 0).is_allowed
    assert not Peer(1, os.geteuid() + 1000).is_allowed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_that_it_is_not_allowed(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        for path in (tmp_path, *tmp_path.parents):
            path.chmod(path.stat().st_mode | 0o055)
        (tmp_path / "run").chmod(0o755)
        parent.client_socket.chmod(0o666)

        assert as_nobody(parent.client) == "NotAllowed: user 65534 may not control this supervisor"
        (tmp_path / "run").chmod(0o700)
        assert as_nobody(parent.client).startswith("NotAllowed: not allowed: ")


def as_nobody(client: ControlClient) -> str:
    """Ask as another user, in a child process; return the error."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setuid(65534)
            client.stop("orders")
        except NotAllowed as error:
            os.write(writer, f"NotAllowed: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text


def test_nothing_running_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no supervisor is running here"):
        ControlClient(tmp_path / "control.sock").status()


def test_a_dead_supervisors_socket_means_nothing_is_running(tmp_path: Path) -> None:
    bind(tmp_path / "control.sock").close()

    with pytest.raises(NotRunning):
        ControlClient(tmp_path / "control.sock").status()


def test_a_supervisor_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    listener = bind(tmp_path / "control.sock")
    with listener, pytest.raises(Refused, match=r"did not answer within 0\.2 s"):
        ControlClient(tmp_path / "control.sock", timeout=0.2).status()


def test_an_unknown_group_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2, "bills": 1}) as parent:
        with pytest.raises(Refused, match="no group is called 'order'") as caught:
            parent.client.stop("order")
        assert caught.value.help == "did you mean 'orders'? groups: orders, bills"

        with pytest.raises(Refused, match="group 'orders' has no slot '2'") as caught:
            parent.client.restart("orders/2")
        assert caught.value.help == "its slots are orders/0 to orders/1"


@pytest.mark.parametrize(
    ("name", "scope", "error", "instead"),
    [
        ("worker.exitd", {}, "people are told of nothing called 'worker.exitd'", "did you mean 'worker.exited'?"),
        ("wroker.*", {}, "people are told of nothing called 'wroker.*'", "did you mean 'worker.*'?"),
        ("breaker.opened", {}, "people are told of nothing called 'breaker.opened'", "dependency_down"),
        ("alert.resolved", {}, "people are told of nothing called 'alert.resolved'", "silence alert.firing"),
        ("lag", {"group": "order"}, "no group is called 'order'", "did you mean 'orders'? groups: orders, bills"),
        ("lag", {"group": "orders/0"}, "'orders/0' is a slot, not a group", "write --group orders --slot 0"),
        ("lag", {"group": "bills", "slot": 1}, "group 'bills' has no slot 1", "slots: 0"),
        ("lag", {"slot": 99}, "no group has a slot 99", "slots: 0 to 1"),
    ],
)
def test_a_silence_of_what_is_not_there_is_refused_with_what_there_is(
    tmp_path: Path, name: str, scope: dict[str, Any], error: str, instead: str
) -> None:
    options = [f"--{option}={value}" for option, value in scope.items()]
    with Parent(tmp_path, {"orders": 2, "bills": 1}) as parent:
        result = CliRunner().invoke(cli, ["silence", name, *options, "--socket", parent.client.socket_path])
        with pytest.raises(Refused) as caught:
            parent.client.silence(name, 60.0, **scope)

        assert result.exit_code == 1
        assert result.output == f"{error}\n  help: {caught.value.help}\n"
        assert str(caught.value) == error
        assert instead in caught.value.help
        assert parent.client.alerts().silences == ()


def test_what_people_are_told_of_is_silenced_by_name_and_by_pattern(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 1}) as parent:
        for name in ("worker.exited", "dependency_down", "worker.*", "*"):
            parent.client.silence(name, 60.0)

        assert [one.name for one in parent.client.alerts().silences] == [
            "worker.exited",
            "dependency_down",
            "worker.*",
            "*",
        ]


def test_stop_start_restart_and_hold_of_one_slot(tmp_path: Path) -> None:
    with Parent(tmp_path, {"orders": 2}) as parent:
        parent.slot_when(SlotState.RUNNING, slot=0)
        parent.slot_when(SlotState.RUNNING, slot=1)

        assert parent.client.stop("orders/1").slots == ("orders/1",)
        parent.slot_when(SlotState.STOPPED, slot=1)
        assert [(line.name, line.what) for line in parent.log("stop")] == [("orders-1", "stop leave")]

        parent.client.start("orders/1")
        parent.slot_when(SlotState.RUNNING, slot=1, incarnation=2)

        parent.client.restart("orders")
        parent.slot_when(SlotState.RUNNING, slot=0, incarnation=2)
        after = parent.slot_when(SlotState.RUNNING, slot=1, incarnation=3)
        assert after.restarts == 0
        assert len(parent.log("stop keep")) == 2

        parent.client.hold("orders/1")
        assert pick(parent.client.status(), slot=1).reason == "held: stays down when it next exits"
        assert after.pid is not None
        os.kill(after.pid, 9)
        held = parent.slot_when(SlotState.STOPPED, slot=1)
        assert held.reason == "held; SIGKILL"
        assert [line.name for line in parent.log("leave")] == ["orders-1"]

        verbs = [
            (event.fields["verb"], event.fields["uid"], event.fields["pid"])
            for event in parent.events("operator.action")
        ]
        me = (os.getuid(), os.getpid())
        assert verbs == [("stop", *me), ("start", *me), ("restart", *me), ("hold", *me)]


def test_a_stop_without_a_target_ends_the_supervisor(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)

        parent.client.stop(end=End.KEEP)

        assert parent.exit_code() == 0
        assert len(parent.log("stop keep")) == 1
        with pytest.raises(NotRunning):
            parent.client.status()


def test_nothing_is_started_while_the_supervisor_stops(tmp_path: Path) -> None:
    parent = Parent(tmp_path, stop_timeout=2.0)
    parent.behave("deaf")
    with parent:
        parent.slot_when(SlotState.RUNNING)
        parent.client.stop()

        with pytest.raises(Refused, match="the supervisor is stopping"):
            parent.client.start("orders")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"target": 7}', "target: Input should be a valid string"),
        (b'{"target": "orders", "end": "burn"}', "end: Input should be 'keep' or 'leave'"),
        (b'{"target": "orders", "force": true}', "force: Extra inputs are not permitted"),
        (b"[1]", "body: Input should be an object"),
        (b"no json", "body: Invalid JSON"),
    ],
)
def test_a_request_that_is_wrong_is_refused_and_nothing_happens(tmp_path: Path, body: bytes, found: str) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)

        status, answer = post(parent, "/v1/stop", body)

        assert status == 422
        assert str(answer["error"]).startswith(found)
        assert parent.slot_when(SlotState.RUNNING).incarnation == 1


def test_a_body_over_64_kib_an_unknown_path_and_a_wrong_method_are_refused(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        assert post(parent, "/v1/stop", b'{"target": "' + b"x" * 70_000 + b'"}')[0] == 413
        assert post(parent, "/v1/__class__", b"{}")[0] == 404
        assert raw(parent, b"GET /v1/stop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 405
        assert raw(parent, b"GET /v1/events?since=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 400


def test_a_request_that_is_not_finished_in_time_is_answered_all_the_same(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        begun = time.monotonic()

        status, answer = raw(
            parent, b"POST /v1/stop HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{"
        )

        assert status == 503
        assert "longer than 5 s" in str(answer["error"])
        assert time.monotonic() - begun < 9


def test_events_are_read_from_where_one_left_off(tmp_path: Path) -> None:
    with Parent(tmp_path) as parent:
        parent.slot_when(SlotState.RUNNING)
        wait_until(lambda: parent.events("worker.joined"))
        first = parent.client.events()

        assert [entry.seq for entry in first.entries] == [1, 2, 3, 4, 5, 6]
        assert [entry.event.name for entry in first.entries] == [
            "supervisor.started",
            "slot.state",
            "slot.started",
            "slot.state",
            "worker.ready",
            "worker.joined",
        ]
        assert parent.client.events(since=6).entries == ()
        parent.client.hold("orders")
        assert [entry.event.name for entry in parent.client.events(since=6).entries] == ["operator.action"]
