"""The unit of ``deploy/``, installed in a booted machine as its comments say, and what systemd says of it."""

import json
import time
from typing import Any

from tests.systemd.machine import APP, ROOT, Done, Machine
from tests.waiting import wait_until

NAME = "kafka-supervisor"
DEPLOY = ROOT / "deploy"
ETC = f"/etc/{NAME}"
DROP_INS = f"/etc/systemd/system/{NAME}.service.d"
SOCKET = f"/run/{NAME}/control.sock"
SEEN = f"/var/lib/{NAME}/seen"

HANDLER = """
import ctypes
import os
import time

callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)  # libffi makes code at run time: MemoryDenyWriteExecute=
assert callback() == 7


def process(record):
    with open(os.environ["STATE_DIRECTORY"] + "/seen", "a") as file:
        file.write(f"{record.partition} {record.offset} {os.getpid()}\\n")
    word, _, number = record.value.decode().partition(" ")
    if word == "sleep":
        time.sleep(float(number))
    if word == "eat":
        eaten = []
        for _ in range(int(number)):
            eaten.append(b"x" * (1 << 20))
"""

CONFIG = """
[supervisor]
name = "web-1"
log_format = "{log_format}"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[groups.{group}]
topics = ["{topic}"]
handler = "handlers:process"
workers = {workers}
commit.interval = "200ms"
"""


class InstalledUnit:
    """One unit in one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._since = f"@{time.time():.6f}"

    def install(self) -> None:
        self.machine.write(f"/etc/systemd/system/{NAME}.service", (DEPLOY / f"{NAME}.service").read_text())
        self.machine.write(f"{ETC}/handlers.py", HANDLER)
        self.configure()

    def configure(
        self,
        bootstrap: str = "127.0.0.1:1",
        *,
        topic: str = "orders",
        group: str = "orders",
        workers: int = 1,
        log_format: str = "text",
    ) -> None:
        """Write the configuration; nothing listens at the default address."""
        values = {"bootstrap": bootstrap, "topic": topic, "group": group, "workers": workers, "log_format": log_format}
        self.machine.write(f"{ETC}/supervisor.toml", CONFIG.format(**values))

    def drop_in(self, name: str, text: str) -> None:
        self.machine.write(f"{DROP_INS}/{name}.conf", text)

    def systemctl(self, *words: str, check: bool = True) -> Done:
        return self.machine.run("systemctl", *words, NAME, check=check)

    def start(self) -> None:
        """Start the unit; returns when it has said that it is ready."""
        self.machine.run("systemctl", "daemon-reload")
        done = self.systemctl("start", check=False)
        assert done.returncode == 0, done.stderr + self.log()

    def show(self, name: str) -> str:
        return self.systemctl("show", "--value", "--property", name).stdout.strip()

    def show_when(self, name: str, value: str, timeout: float = 30.0) -> None:
        try:
            wait_until(lambda: value in self.show(name), timeout, otherwise=f"{name} is not {value}", every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.show(name)!r}\n{self.log()}") from error

    def log(self, *words: str) -> str:
        return self.machine.run(
            "journalctl", "--unit", NAME, "--output", "cat", f"--since={self._since}", *words
        ).stdout

    def status(self) -> dict[str, Any]:
        """Ask the supervisor itself, as root does."""
        done = self.machine.run(f"{APP}/venv/bin/supervisor", "status", "--socket", SOCKET, "--json")
        return dict(json.loads(done.stdout))

    def slot(self) -> dict[str, Any]:
        return dict(self.status()["groups"][0]["slots"][0])

    def seen(self) -> list[tuple[int, int]]:
        """Return partition and offset of every record that was begun."""
        lines = self.machine.run("cat", SEEN, check=False).stdout.splitlines()
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def seen_when(self, count: int, timeout: float = 40.0) -> list[tuple[int, int]]:
        try:
            wait_until(lambda: len(self.seen()) >= count, timeout, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}; of {count} only {self.seen()}\n{self.log()[-3000:]}") from error
        return self.seen()

    def remove(self) -> None:
        self.systemctl("stop", "--no-block", check=False)
        self.systemctl("kill", "--signal=KILL", "--kill-who=all", check=False)  # without a broker leaving takes a while
        self.systemctl("stop", check=False)
        self.systemctl("reset-failed", check=False)
        paths = (f"/etc/systemd/system/{NAME}.service", DROP_INS, ETC, f"/var/lib/{NAME}", f"/var/lib/private/{NAME}")
        self.machine.run("rm", "-rf", *paths, f"/run/{NAME}")
        self.machine.run("systemctl", "daemon-reload")
