"""A worker without Kafka: takes its slot's lock, says what workers say, and misbehaves as a file tells it.

The group's ``handler`` names a folder; ``behaviour`` in it holds one line (``GROUP-SLOT`` wins over ``all``)
that is read at each start, and every incarnation adds lines to ``log`` there.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from supervisor.core.board import (
    C_OFFSET,
    C_PARTITION,
    C_SEQUENCE,
    C_TOPIC,
    H_RUNNABLE,
    H_TICK_NS,
    H_WAIT,
    BoardWriter,
    Wait,
    cell_base,
    size,
)
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.spec import FloodState, Mode, WorkerSpec
from supervisor.core.worker_stats import PartitionStats, WorkerStats


class Fake:
    def __init__(self, connection: socket.socket, slot_file: Path) -> None:
        self.link = connection
        os.set_inheritable(connection.fileno(), False)
        self.reader = FrameReader()
        self.pending: list[Frame] = []
        self.ballast = b""
        self.spec = from_json(WorkerSpec, self.frame()["spec"])
        self.name = f"{self.spec.group.name}-{self.spec.slot}"
        self.folder = Path(self.spec.group.handler)
        self.words = self.behaviour()
        self.slot_file = os.open(slot_file, os.O_RDWR)

    def behaviour(self) -> list[str]:
        for name in (self.name, "all"):
            path = self.folder / name
            if path.exists():
                return path.read_text().split()
        return ["work"]

    def frame(self) -> Frame:
        while not self.pending:
            data = self.link.recv(1 << 16)
            if not data:
                raise EOFError
            self.pending += self.reader.feed(data)
        return self.pending.pop(0)

    def say(self, kind: str, **members: object) -> None:
        self.link.sendall(encode(kind, **members))

    def log(self, what: str) -> None:
        line = f"{time.monotonic():.6f} {self.name} {self.spec.incarnation} {self.spec.mode} {os.getpid()} {what}\n"
        fd = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)

    def lock(self) -> None:
        try:
            fcntl.lockf(self.slot_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            self.log("refused")
            os._exit(75)
        cells = 2
        memory = mmap.mmap(self.slot_file, size(cells))
        self.board = BoardWriter(
            memory, cells=cells, pid=os.getpid(), incarnation=self.spec.incarnation, now_ns=time.monotonic_ns()
        )

    def put_in_flight(self, offset: int) -> None:
        base = cell_base(0)
        self.board.words[base + C_TOPIC] = self.board.topic_index("orders")
        self.board.words[base + C_PARTITION] = 1
        self.board.words[base + C_SEQUENCE] = 7
        self.board.words[base + C_OFFSET] = offset

    def run(self) -> int:
        verb, *arguments = self.words
        if verb == "exit":
            self.say("bye", code=int(arguments[0]), reason="as told")
            return int(arguments[0])
        if verb.startswith("stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGABRT, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: self.end("terminated"))
        signal.signal(signal.SIGUSR2, lambda *_: self.log("reopened"))
        signal.signal(signal.SIGUSR1, lambda *_: self.log("dumped"))
        self.lock()
        self.log("start paused" if self.spec.paused else "start")
        self.say("hello", pid=os.getpid())
        self.log(f"told gap={self.spec.group.max_gap} topics={','.join(self.spec.group.topics)}")
        if verb == "fussy" and self.spec.group.max_gap == int(arguments[0]):
            return 1
        if self.spec.mode is Mode.LEAVE:
            self.log("leave")
            if verb == "cannot-leave":
                self.say("bye", code=1, reason="could not leave group orders: _TRANSPORT", left=False)
            return 1 if verb in ("cannot-leave", "dies-leaving") else 0
        if verb == "slow":
            time.sleep(float(arguments[0]))
        if self.spec.breaker.is_open:
            self.log(f"starts held probes={self.spec.breaker.probes} name={self.spec.breaker.name}")
        if self.spec.flood.state is not FloodState.NORMAL:
            self.log(f"starts in flood {self.spec.flood.state}")
        self.say("ready")
        self.say("assigned", partitions=[["orders", self.spec.slot]])
        self.misbehave(verb)
        self.misbehave_rarely(verb)
        return self.serve(verb, arguments)

    def die(self, verb: str) -> None:
        """Crash in a record's handler, or fall with nothing in hand: then no record is to blame."""
        self.ask()
        if verb == "crash":
            self.put_in_flight(812)
        os.kill(os.getpid(), signal.SIGSEGV)

    def misbehave(self, verb: str) -> None:
        match verb:
            case "crash" | "fall":
                self.die(verb)
            case "stuck":
                self.put_in_flight(812)
            case "garbage":
                self.link.sendall(b"this is no frame\n")
            case "flood":
                for _ in range(20_000):
                    self.say("event", name="x.y", severity="info", text="x" * 100)
            case "daemon":
                pid = os.fork()
                if not pid:
                    os.setsid()
                    self.link.close()
                    time.sleep(600)
                self.log(f"child {pid}")
            case "child":
                pid = os.fork()
                if not pid:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    time.sleep(600)
                self.log(f"child {pid}")

    def ask(self) -> None:
        """Ask who is accused, as a worker does at each assignment, and note the answer."""
        self.say("accused", ask=1, partitions=[["orders", 1]])
        while (frame := self.frame())["type"] != "accused":
            pass
        runs = [run for _, _, of, _ in frame["suspects"] for run in of]
        self.log(f"accused {runs} convicted {[one[2] for one in frame['convicted']]}")

    def misbehave_rarely(self, verb: str) -> None:
        match verb:
            case "acquit" | "bury" | "commit":
                self.ask()
                if verb == "commit":
                    stats = WorkerStats(partitions=(PartitionStats("orders", 1, 813, 0, 0),))
                    self.say("stats", stats=to_json(stats))
                else:
                    self.say("acquitted" if verb == "acquit" else "buried", records=[["orders", 1, 812]])
                self.ask()
            case "quit":
                os._exit(int(self.words[1]))
            case "stall":
                self.board.words[H_RUNNABLE] = 3
            case "gil":
                lock = ctypes.create_string_buffer(64)
                for _ in range(2):  # the second waits for ever, with the GIL, and no signal interrupts it
                    ctypes.PyDLL(None).pthread_mutex_lock(lock)
            case "unplug":
                self.link.shutdown(socket.SHUT_RDWR)
            case "chatter":
                for stream in (1, 2):
                    with contextlib.suppress(OSError):
                        os.write(stream, b"x" * (8 << 20))

    def serve(self, verb: str, arguments: list[str]) -> int:
        settled, paused = 0, self.spec.paused
        while True:
            if verb != "tickless":
                self.board.words[H_TICK_NS] = time.monotonic_ns()
            self.board.words[H_WAIT] = Wait.NONE if verb == "stall" else Wait.EOF
            if verb == "unplug":
                time.sleep(0.1)
                continue
            settled += 10
            if verb in ("grow", "stubborn-grow") and not self.ballast and (self.folder / "now").exists():
                self.ballast = b"x" * (int(arguments[0]) << 20)
            held = 3 if verb == "holds" else 0
            letters = settled if verb == "fails" else 0
            stats = WorkerStats(settled=settled, lag=3, queued=held, paused=paused, dead_lettered=letters)
            self.say("stats", stats=to_json(stats))
            self.say_as_told()
            if not self.pending and not select.select([self.link], [], [], 0.1)[0]:
                continue
            try:
                frame = self.frame()
            except (EOFError, OSError):
                self.log("orphan")
                return self.orphaned(verb, arguments)
            if frame["type"] == "pause":
                paused = bool(frame["on"])
                self.log(f"pause {paused}")
            self.log_order(frame)
            if frame["type"] == "stop" and verb not in ("stubborn", "stubborn-grow", "deaf", "stuck"):
                self.log(f"stop {frame['end']}")
                self.say("bye", code=0, reason="")
                return 0

    def log_order(self, frame: Frame) -> None:
        order = frame.get("order", {})
        if frame["type"] == "breaker":
            self.log(f"breaker open={order['is_open']} probes={order['probes']} name={order['name']}")
        if frame["type"] == "flood":
            self.log(f"flood {order['state']} amnesty={order['amnesty']}")

    def say_as_told(self) -> None:
        """Send the frame that a test left for this slot."""
        told = self.folder / f"{self.name}.frame"
        if told.exists():
            frame = json.loads(told.read_text())
            told.unlink()
            self.say(frame.pop("type"), **frame)

    def orphaned(self, verb: str, arguments: list[str]) -> int:
        if verb == "survive":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(float(arguments[0]))
        self.log("end")
        return 0

    def end(self, what: str) -> None:
        self.log(what)
        os._exit(0)


def run(connection: socket.socket, slot_file: Path) -> int:
    try:
        return Fake(connection, slot_file).run()
    except (BrokenPipeError, ConnectionResetError):
        return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--slot-file", type=Path, required=True)
    arguments = parser.parse_args()
    return run(socket.socket(fileno=arguments.fd), arguments.slot_file)


if __name__ == "__main__":
    sys.exit(main())
