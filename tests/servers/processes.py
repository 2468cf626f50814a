"""Real Redis and PostgreSQL for tests, each a process of ours in a folder of its own; PostgreSQL never as root."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import redis

from tests.waiting import wait_until

USER = "postgres"
"""Whom Debian's package makes, and who runs the server when we are root: it refuses to run as that."""


_ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8"}
"""No mark of the test that first asks for a server of the session: it lives on."""


def missing(program: str) -> str | None:
    """Return why a server cannot be started here, ``None`` when it can."""
    return None if _found(program) else f"{program} is not installed"


def _found(program: str) -> str | None:
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    return str(places[-1]) if places else shutil.which(program)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process, and its folder. Use as a context manager; ``stop`` and ``start`` it in between."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, env=_ENVIRONMENT, **self.options()
            )
        process = self.process
        wait_until(lambda: self.answers() or process.poll() is not None, 30)
        assert process.poll() is None, (self.folder / "log").read_text()

    def stop(self) -> None:
        """End it in order; what it was told stays."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGINT)  # PostgreSQL: fast, without waiting for clients
            process.wait(20)

    def command(self) -> list[str]:
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        return {}

    def answers(self) -> bool:
        raise NotImplementedError


class RedisServer(Server):
    """A Redis that writes every change to its folder."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = _found("redis-server")
        assert program is not None
        return [program, "--port", str(self.port), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]

    def answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


class PostgresqlServer(Server):
    """A PostgreSQL with an empty database."""

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=shop dbname=postgres"

    def start(self) -> None:
        """Make its files the first time, then start it."""
        if not (self.folder / "data").exists():
            if os.geteuid() == 0:
                shutil.chown(self.folder, USER)
            initdb = _found("initdb")
            assert initdb is not None
            made = [initdb, "--pgdata", str(self.folder / "data"), "--username", "shop", "--auth", "trust", "--no-sync"]
            subprocess.run(made, check=True, capture_output=True, cwd=self.folder, **self.options())
        super().start()

    def command(self) -> list[str]:
        program = _found("postgres")
        assert program is not None
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        shown = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [program, "-D", str(self.folder / "data"), *shown]

    def options(self) -> dict[str, Any]:
        return {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}

    def answers(self) -> bool:
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
