"""A real systemd for tests: PID 1 of its own namespaces, over a copy-on-write view of this machine."""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Self

import psutil

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BOOT = Path(__file__).with_name("boot")
SYSTEMD = Path("/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "systemctl", "systemd-analyze", "journalctl", "useradd")
APP = Path("/opt/kafka-supervisor")
HIDDEN = ("/root", "/home", "/tmp", "/run")
BOOTING = 60.0
FORBIDDEN = "unshare is not possible here"
UNSHARE = (
    *("/usr/bin/unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup"),
    *("--mount-proc", "--kill-child"),
)
INSIDE = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}

Done = subprocess.CompletedProcess[str]


def missing() -> str | None:
    """Return why this machine cannot boot a systemd of its own, if so."""
    if os.geteuid() != 0:
        return "a systemd of the tests' own needs root"
    if not SYSTEMD.exists():
        return f"there is no {SYSTEMD}; on Debian: apt-get install systemd"
    lacks = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacks:
        return f"not installed: {', '.join(lacks)}"
    tried = subprocess.run(
        (*UNSHARE, "true"),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return f"{FORBIDDEN}: {tried.stderr.strip()}" if tried.returncode else None


class Machine:
    """One booted systemd with kafka-supervisor in ``/opt/kafka-supervisor/venv``, as the docs would install it."""

    def __init__(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="systemd-test.", dir="/dev/shm"))
        self._cgroup = _cgroup(self._base.name)
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = 0

    def __enter__(self) -> Self:
        try:
            self._install()
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *command: str, check: bool = True, stdin: str | None = None, timeout: float = 60) -> Done:
        """Run ``command`` inside, as root."""
        done = subprocess.run(
            ("/usr/bin/nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "--", *command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=INSIDE,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def write(self, path: str, text: str) -> None:
        """Write a file inside."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("tee", path, stdin=text)

    def outside(self, pid: int) -> int:
        """Return the pid outside of a process whose pid inside is ``pid``."""
        for found in psutil.Process(self._init).children(recursive=True):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{found.pid}/status").read_text().splitlines()
                (numbers,) = [line.split() for line in lines if line.startswith("NSpid:")]
                if numbers[-1] == str(pid):
                    return found.pid
        raise AssertionError(f"there is no process {pid} inside")

    def close(self) -> None:
        """Take everything down; killing PID 1 takes all its processes along."""
        if self._outer is not None:
            self._outer.kill()
            self._outer.wait(10)
        if self._cgroup is not None:
            wait_until(lambda: _removed(self._cgroup), 5, otherwise=None)
        shutil.rmtree(self._base, ignore_errors=True)

    def _install(self) -> None:
        for name in ("up", "work", "root", "site-up", "site-work"):
            (self._base / name).mkdir()
        self._base.chmod(0o755)
        upper = self._base / "up"
        venv = upper / APP.relative_to("/") / "venv"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        home = Path("/opt/python") if self._hidden_python() else Path(sys.base_prefix)
        for folder in (venv / "bin", venv / "lib" / version, venv / "site-packages", venv.parent / "source"):
            folder.mkdir(parents=True)
        (upper / "opt/python").mkdir()
        (venv / "lib" / version / "site-packages").symlink_to("../../site-packages")
        (venv / "pyvenv.cfg").write_text(f"home = {home}/bin\ninclude-system-site-packages = false\n")
        (venv / "bin/python").symlink_to(home / "bin" / version)
        script = venv / "bin/supervisor"
        script.write_text(f"#!{APP}/venv/bin/python\nfrom supervisor.cli.main import main\nmain()\n")
        script.chmod(0o755)
        # In the place of the editable install's own, whose path is not there.
        (self._base / "site-up" / "_kafka_supervisor.pth").write_text(f"{APP}/source\n{APP}/source/plugins\n")
        (upper / "etc/ld.so.conf.d").mkdir(parents=True)
        (upper / "etc/ld.so.conf.d/python.conf").write_text(f"{home}/lib\n")

    def _hidden_python(self) -> str:
        return sys.base_prefix if sys.base_prefix.startswith(HIDDEN) else ""

    def _boot(self) -> None:
        site = sysconfig.get_path("purelib")
        boot = (str(BOOT), str(self._base), self._hidden_python(), site, str(ROOT))
        join = f"echo $$ > {self._cgroup}/cgroup.procs; " if self._cgroup is not None else ""
        with (self._base / "boot.log").open("wb") as log:
            self._outer = subprocess.Popen(
                ("/bin/bash", "-c", f'{join}exec "$@"', "bash", *UNSHARE, "--", *boot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
                start_new_session=True,
            )
        wait_until(self._is_up, BOOTING, otherwise="systemd did not boot", every=0.1)
        self.run("useradd", "--system", "kafka-supervisor")

    def _is_up(self) -> bool:
        assert self._outer is not None
        if self._outer.poll() is not None:
            raise AssertionError(f"systemd did not boot:\n{self.boot_log()}")
        children = psutil.Process(self._outer.pid).children()
        if not children:
            return False
        self._init = children[0].pid
        if psutil.Process(self._init).name() != "systemd":
            return False
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in {"running", "degraded"}

    def boot_log(self) -> str:
        """Return what the boot and PID 1 said."""
        return (self._base / "boot.log").read_text(errors="replace")[-5000:]


def _cgroup(name: str) -> Path | None:
    """Make a cgroup for the whole machine, so that its systemd takes nothing else for its own."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    tops = [Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"]
    if not tops:
        return None
    own = tops[0] / name
    with contextlib.suppress(OSError):
        (tops[0] / "cgroup.subtree_control").write_text("+memory +pids")
    try:
        own.mkdir()
    except OSError:
        return None
    return own


def _removed(top: Path | None) -> bool:
    """Remove the emptied cgroups, the innermost first."""
    if top is None or not top.exists():
        return True
    with contextlib.suppress(OSError):
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    return not top.exists()
