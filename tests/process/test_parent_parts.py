import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from supervisor.core.board import size
from supervisor.core.events import Severity
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.core.progress import Limits
from supervisor.core.worker_stats import WorkerStats
from supervisor.parent.processes.channel import MAX_UNSENT, Channel
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.launcher import Child, send_signal, start_child
from supervisor.parent.processes.told import seconds_of
from supervisor.parent.processes.validation import check_plugins
from supervisor.parent.running.logs import TerminalFormatter
from supervisor.parent.running.places import UnsafePlaceError, make_private
from supervisor.parent.slots.gate import StartGate
from supervisor.parent.slots.readings import Sampler
from supervisor.parent.slots.slotfile import SlotFile
from supervisor.parent.slots.telemetry import Telemetry
from supervisor.parent.store.eventlog import REMEMBERED, EventLog
from tests.waiting import is_alive, wait_until

PYTHON = (sys.executable, "-c")


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "condition not met"
        await asyncio.sleep(0.01)


def child_of(code: str) -> Child:
    popen = subprocess.Popen((*PYTHON, code), start_new_session=True)
    return Child(popen.pid, popen)


@pytest.mark.parametrize("use_pidfd", [True, False])
def test_every_exit_is_told_once_with_its_status(*, use_pidfd: bool) -> None:
    async def scenario() -> dict[int, int]:
        watch, told = ExitWatch(use_pidfd=use_pidfd), dict[int, int]()
        children = [child_of(f"import os; os._exit({code})") for code in range(5)]
        children.append(child_of("import os; os.kill(os.getpid(), 9)"))
        for number, child in enumerate(children):

            def note(status: int, number: int = number) -> None:
                assert number not in told
                told[number] = status

            watch.watch(child, note)
        await until(lambda: len(told) == 6)
        watch.close()
        return told

    assert asyncio.run(scenario()) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: -9}


def test_a_signal_to_a_child_that_has_just_ended_is_no_error() -> None:
    child = child_of("pass")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    send_signal(child, signal.SIGTERM, whole_group=True)

    assert child.popen is not None
    assert child.popen.wait() == 0


def test_a_child_gets_its_socket_an_empty_stdin_and_no_other_descriptor() -> None:
    code = """if True:
        import os, sys, socket
        number = int(sys.argv[2])
        found = [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")]
        answer = sorted(found), number, os.getsid(0) == os.getpid(), sys.stdin.read()
        socket.socket(fileno=number).send(repr(answer).encode())
    """
    leak = socket.socket()
    child, connection = start_child((*PYTHON, code))
    assert child.popen is not None
    child.popen.wait()

    descriptors, theirs, has_own_session, stdin = eval(connection.recv(1000))  # noqa: S307 - our own repr
    connection.close()
    leak.close()

    assert descriptors == [0, 1, 2, theirs]
    assert has_own_session
    assert stdin == ""


def test_a_channel_sends_what_the_child_takes_later_and_stops_at_its_bound() -> None:
    async def scenario() -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        channel = Channel(ours, lambda _: None, name="x")
        sent = 0
        while channel.send("event", text="x" * 100_000):
            sent += 1
        assert MAX_UNSENT < channel.unsent < MAX_UNSENT + 200_000
        reader, received = FrameReader(), list[Frame]()
        while len(received) < sent:
            await asyncio.sleep(0)
            try:
                received += reader.feed(theirs.recv(1 << 20))
            except BlockingIOError:
                continue
        channel.close()
        theirs.close()
        return sent, len(received)

    sent, received = asyncio.run(scenario())
    assert sent == received > 20


def test_a_channel_takes_the_last_words_of_the_dead() -> None:
    async def scenario() -> list[str]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        heard: list[str] = []
        channel = Channel(ours, lambda frame: heard.append(frame["type"]), name="x")
        theirs.sendall(encode("stats") * 1000 + encode("bye"))
        theirs.close()
        channel.finish()
        assert not channel.is_open
        return heard

    assert asyncio.run(scenario()) == ["stats"] * 1000 + ["bye"]


def test_the_gate_lets_in_as_many_as_it_has_places_in_their_order() -> None:
    async def scenario() -> list[int]:
        gate, inside = StartGate(2), list[int]()
        for who in range(5):
            gate.enter(who, lambda who=who: inside.append(who))  # type: ignore[misc]
        assert inside == [0, 1]
        gate.leave(3)
        gate.leave(0)
        gate.leave(0)
        assert inside == [0, 1, 2]
        gate.leave(1)
        gate.leave(2)
        gate.leave(4)
        return inside

    assert asyncio.run(scenario()) == [0, 1, 2, 4]


def test_a_place_in_the_gate_is_given_back_when_a_start_takes_long() -> None:
    async def scenario() -> None:
        gate, inside = StartGate(1, share=0.05), list[int]()
        gate.enter(1, lambda: inside.append(1))
        gate.enter(2, lambda: inside.append(2))
        await until(lambda: inside == [1, 2])
        gate.leave(2)

    asyncio.run(scenario())


def test_the_holder_of_a_slots_lock_is_named(tmp_path: Path) -> None:
    file = SlotFile(tmp_path / "a.0.slot")
    file.fit(4)
    assert file.path.stat().st_size == size(4)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.holder() is None
    code = """if True:
        import fcntl, os, sys
        fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX, 1)
        print(flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen((*PYTHON, code, str(file.path)), stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        assert file.holder() == holder.pid
        holder.kill()

    assert file.holder() is None
    file.close()


def test_a_slot_file_that_was_deleted_is_made_anew_for_the_next_worker(tmp_path: Path) -> None:
    file = SlotFile(tmp_path / "a.0.slot")
    file.fit(4)
    file.path.unlink()

    file.fit(4)

    with file.path.open("r+b") as there:
        assert os.fstat(there.fileno()).st_size == size(4)
        there.write(b"as a worker writes")
    assert file.board() is None, "read from what is at the path: no board is written like this"
    code = "import fcntl,os,sys;fcntl.lockf(os.open(sys.argv[1],os.O_RDWR),fcntl.LOCK_EX,1);print(flush=True);input()"
    with subprocess.Popen((*PYTHON, code, str(file.path)), stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert file.holder() == holder.pid
        holder.kill()
    file.close()


def test_our_own_lock_would_not_be_seen_as_a_survivors(tmp_path: Path) -> None:
    file = SlotFile(tmp_path / "a.0.slot")
    own = os.open(file.path, os.O_RDWR)
    fcntl.lockf(own, fcntl.LOCK_EX, 1)

    assert file.holder() is None
    os.close(own)
    file.close()


def test_a_folder_is_made_for_us_alone_and_a_strangers_is_refused(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700

    (tmp_path / "file").touch()
    with pytest.raises(UnsafePlaceError, match="cannot make"):
        make_private(tmp_path / "file" / "b")
    if os.geteuid() == 0:
        os.chown(tmp_path / "a" / "b", 65534, 65534)
        with pytest.raises(UnsafePlaceError, match="belongs to user 65534"):
            make_private(tmp_path / "a" / "b")


def test_readings_of_a_process_that_is_gone_are_unknown_and_not_zero() -> None:
    child = child_of("pass")
    sampler = Sampler(child.pid, now=0.0)
    assert child.popen is not None
    child.popen.wait()

    reading = sampler.read(now=1.0)

    assert (reading.rss_bytes, reading.cpu_percent) == (None, None)


def test_the_event_log_forgets_the_oldest_and_says_how_many() -> None:
    log = EventLog()
    for number in range(REMEMBERED + 5):
        log.tell("x.y", Severity.INFO, str(number))

    page = log.since(0)
    assert (len(page.entries), page.dropped, page.entries[0].event.text) == (REMEMBERED, 5, "5")
    assert log.since(REMEMBERED + 5).entries == ()


def test_a_line_on_a_terminal_stays_a_line() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TerminalFormatter())
    logger = logging.getLogger("tests.terminal")
    logger.addHandler(handler)

    logger.warning("worker.exited", extra={"fields": {"group": "orders", "slot": 1, "text": "one\ntwo", "pid": 7}})
    logger.removeHandler(handler)

    assert stream.getvalue()[8:] == " orders/1     worker.exited one\\ntwo pid=7\n"


class TestPluginCheck:
    @staticmethod
    def check(code: str) -> tuple[str, ...]:
        async def scenario() -> tuple[str, ...]:
            watch = ExitWatch()
            try:
                return await check_plugins({"groups": {}}, watch, (*PYTHON, code))
            finally:
                watch.close()

        return asyncio.run(scenario())

    def test_the_last_line_is_the_answer_whatever_came_before(self) -> None:
        problem = {"group": "orders", "plugin": "slack", "text": "is not installed", "help": "did you mean 'slick'?"}
        answer = json.dumps(json.dumps({"problems": [problem]}))
        code = f"import json, sys; json.load(sys.stdin); print('noise'); print({answer})"

        assert self.check(code) == ("groups.orders slack: is not installed\n    help: did you mean 'slick'?",)

    def test_of_very_many_groups_that_share_what_is_wrong_the_first_are_named(self) -> None:
        place, text = "it's here/a.toml:3 defaults.decode", "is no decoder"
        problems = [{"group": f"g{n}", "plugin": "slack", "where": place, "text": text, "help": ""} for n in range(300)]
        alert = {"group": "", "plugin": "slock", "where": "a.toml:2 supervisor.alerts[0]", "text": "no", "help": ""}
        code = f"import json; print(json.dumps({{'problems': {[*problems, alert]}}}))"

        shared, alerts = self.check(code)

        assert shared.startswith(f"{place}: slack: {text} (groups.g0, groups.g1, ")
        assert shared.endswith(", groups.g9 and 290 more)")
        assert alerts == "a.toml:2 supervisor.alerts[0]: slock: no"

    def test_a_check_that_dies_is_a_problem(self) -> None:
        (problem,) = self.check("import os; os.kill(os.getpid(), 11)")

        assert "SIGSEGV and no result" in problem

    def test_what_the_check_did_last_is_told_of_one_that_dies_and_of_one_that_hangs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("supervisor.parent.processes.validation.DEADLINE", 5.0)
        steps = "import os, time; print('step: importing one\\nstep: importing shop', flush=True); "

        (dies,) = self.check(steps + "os._exit(4)")
        (hangs,) = self.check(steps + "time.sleep(3600)")

        assert "exit code 4 and no result; its last step: importing shop; see" in dies
        assert "within 5 s; its last step: importing shop: does an import wait?" in hangs

    def test_a_check_that_hangs_is_ended_with_all_it_started(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("supervisor.parent.processes.validation.DEADLINE", 0.5)
        pids = tmp_path / "pids"
        code = f"import os, time; os.fork(); open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(600)"

        (problem,) = self.check(code)

        assert "did not end within 0.5 s" in problem
        wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_the_rate_of_a_worker_is_over_the_seconds_that_it_says() -> None:
    """One that was idle was silent, too: its first records are not spread over that time."""
    seen = Telemetry(os.getpid(), Limits(handler_timeout=1.0), now=100.0)
    seen.told(WorkerStats(settled=0), now=101.0, seconds=1.0)

    seen.told(WorkerStats(settled=50), now=105.0, seconds=1.0)

    assert seen.records_per_s(now=105.0) == 50.0


@pytest.mark.parametrize("said", [None, 0, -1, "1", [1]])
def test_seconds_that_are_none_are_not_taken_for_any(said: object) -> None:
    assert seconds_of({"type": "stats", "seconds": said}) is None
