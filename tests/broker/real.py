"""A real Apache Kafka broker of one node (KRaft) for tests and benchmarks, on this machine only.

Its jars come from Maven Central by ``make jars`` (``pom.xml``). No waiting without a deadline, and no
broker outlives the process that started it.
"""

import base64
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / ".cache" / "kafka-libs"
CLASSES = ROOT / ".cache" / "kafka-classes.jsa"

_PREFIX = "kafka-supervisor-broker-"

# Below the range the kernel draws outgoing ports from: nobody takes a stopped broker's port meanwhile.
_PORTS = range(20_000, 32_000)

_JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ActiveProcessorCount=2",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)

# Short timeouts are allowed, not imposed: the default session of a classic client stays 45 s.
_SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "num.partitions": "4",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "3",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.assignment.interval.ms": "0",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
    "group.share.min.session.timeout.ms": "1000",
    "group.share.session.timeout.ms": "6000",
    "group.share.min.heartbeat.interval.ms": "200",
    "group.share.heartbeat.interval.ms": "500",
    "group.share.min.record.lock.duration.ms": "1000",
    "group.share.record.lock.duration.ms": "5000",
    "log.segment.bytes": "16777216",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "log.cleaner.backoff.ms": "200",
    "log.initial.task.delay.ms": "100",
    "log.segment.delete.delay.ms": "1000",
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "300",
    "controlled.shutdown.enable": "true",
}

STEADY = {"broker.session.timeout.ms": "60000"}
"""For a broker that is not killed and started again, which would wait so long. With a short session one second in which
a busy machine gives it no time fences it, and every partition gets a new leader epoch: trouble, to clients."""

_LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

# prctl(2) 1 is PR_SET_PDEATHSIG. It survives the exec; whoever dies between fork and prctl is seen by getppid.
_DIE_WITH_PARENT = """\
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class BrokerError(Exception):
    """The broker did not do in time what it was told; the text ends with its last log lines."""


def missing() -> str | None:
    """Return what this machine lacks to run a real broker, in words, or ``None``."""
    if shutil.which("java") is None:
        return "there is no java here; install a Java 17 (or newer) runtime and Maven, then run 'make jars'"
    if not any(LIBS.glob("kafka_*.jar")):
        return "the broker's jars are not here; run 'make jars' (it needs Maven)"
    return None


class RealBroker:
    """One broker and its data. ``bootstrap`` stays the same through every stop and start.

    ``folder`` holds its log and data from the first start until ``close``; what a killed session leaves of it
    in memory is removed by the next session's first broker.
    Start it from a thread that lives as long as the broker should: the kernel ends the broker with the
    thread that started it, so that a test session killed by SIGKILL leaves nothing behind.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, jvm: Sequence[str] = ()) -> None:
        self.port, self.controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.pid: int | None = None
        self._overrides = dict(settings or {})
        self._jvm = tuple(jvm)
        self._process: subprocess.Popen[bytes] | None = None
        self.folder: Path | None = None

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """End it and remove its data."""
        self.close()

    def override(self, settings: Mapping[str, str]) -> None:
        """Set more of the broker's settings; before its first start, since they may need its ports."""
        self._overrides |= settings

    def start(self, timeout: float = 40.0) -> None:
        """Start the broker and return when it answers; about 2 s, after a kill 3 s (its session must end first)."""
        deadline = time.monotonic() + timeout
        folder = self.folder or self._format(timeout)
        with (folder / "broker.log").open("ab") as log:
            self._process = _spawn([*self._jvm, "kafka.Kafka", str(folder / "server.properties")], folder, log.fileno())
        self.pid = self._process.pid
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while True:
            if self._process.poll() is not None:
                message = f"the broker ended with {self._process.returncode}\n{self.log_tail()}"
                raise BrokerError(message)
            try:
                if admin.list_topics(timeout=0.5).brokers:
                    return
            except KafkaException:
                pass
            if time.monotonic() > deadline:
                message = f"the broker did not answer within {timeout:g} s\n{self.log_tail()}"
                raise BrokerError(message)
            time.sleep(0.05)

    def stop(self, timeout: float = 15.0) -> None:
        """Stop the broker as an operator would (SIGTERM); its data stay."""
        self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        """Kill the broker at once (SIGKILL); its data stay."""
        self._end(signal.SIGKILL, 10.0)

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the broker's clock (SIGSTOP): connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the broker and remove its data."""
        self.kill()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the broker's log (warnings and errors only)."""
        if self.folder is None:
            return ""
        text = (self.folder / "broker.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _format(self, timeout: float) -> Path:
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(place)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        self.folder = folder
        settings = _SETTINGS | {
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": str(folder / "data"),
        }
        lines = [f"{key}={value}\n" for key, value in (settings | self._overrides).items()]
        (folder / "server.properties").write_text("".join(lines))
        (folder / "log4j2.properties").write_text(_LOGGING)
        arguments = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(folder / "server.properties")]
        with (folder / "broker.log").open("ab") as log:
            process = _spawn(arguments, folder, log.fileno())
            if _wait(process, timeout) != 0:
                message = f"formatting the broker's folder failed\n{self.log_tail()}"
                raise BrokerError(message)
        return folder

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        self._signal(number)
        process, self._process, self.pid = self._process, None, None
        if process is not None and _wait(process, timeout) is None:
            message = f"the broker did not end within {timeout:g} s of {number.name}\n{self.log_tail()}"
            raise BrokerError(message)


def make_class_archive() -> None:
    """Write the JVM's archive of loaded classes, which takes 0.8 s off every later start."""
    CLASSES.unlink(missing_ok=True)
    new = CLASSES.with_suffix(".new")
    broker = RealBroker()
    try:
        os.environ["JDK_JAVA_OPTIONS"] = f"-XX:ArchiveClassesAtExit={new} -Xlog:disable -Xlog:all=off"
        broker.start(timeout=90.0)
        broker.stop(timeout=90.0)
    finally:
        del os.environ["JDK_JAVA_OPTIONS"]
        broker.close()
    if new.exists():
        new.rename(CLASSES)


def _sweep(place: Path) -> None:
    """Remove the folders of owners that died without closing their brokers."""
    for folder in place.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _spawn(arguments: list[str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    archive = [f"-XX:SharedArchiveFile={CLASSES}", "-Xlog:disable"] if CLASSES.exists() else []
    java = ["java", *_JVM, *archive, f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]
    command = [*java, "-cp", f"{LIBS}/*", *arguments]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=folder,
        start_new_session=True,  # Ctrl-C in the terminal is for pytest
    )


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        return None


def _cluster_id() -> str:
    """Return a random cluster id; one that begins with ``-`` would be taken for an option (1 in 64)."""
    while (name := base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")).startswith("-"):
        pass
    return name


def free_ports(count: int) -> list[int]:
    """Return ports of this host that nobody listens on now."""
    ports: list[int] = []
    for _ in range(200):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
        if len(ports) == count:
            return ports
    message = f"no free port in {_PORTS.start}..{_PORTS.stop}"
    raise BrokerError(message)


if __name__ == "__main__":
    make_class_archive()
