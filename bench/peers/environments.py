"""An environment per peer: made on first use from pinned requirements, kept while these do not change."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.stage import ROOT, progress

REQUIREMENTS = Path(__file__).parent / "requirements"
FOLDER = ROOT / ".cache" / "peers"
AT_ONCE = 2
INSTALL_LIMIT = 300.0
ASK_LIMIT = 20.0
REASON_LENGTH = 200
_VERSION = "import sys; print(*sys.version_info[:2])"
_STAMP = "installed-from"


class NotHereError(Exception):
    """A peer cannot be run on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a peer's program needs: pinned requirements, and a Python new enough for them.

    Without requirements it is the interpreter that runs the benchmark.
    """

    requirements: Path | None
    folder: Path
    python: tuple[int, int] = (3, 11)

    def version(self, distribution: str) -> str:
        """Return the version that is pinned."""
        text = self.requirements.read_text() if self.requirements is not None else ""
        found = re.search(rf"^{re.escape(distribution)}==([^\s;\\]+)", text, re.MULTILINE)
        return found[1] if found else ""


def environment(name: str, *, python: tuple[int, int] = (3, 11)) -> Environment:
    """Return the environment of a peer of ours."""
    return Environment(REQUIREMENTS / f"{name}.txt", FOLDER / name, python)


def interpreters(wanted: Iterable[Environment]) -> Mapping[Environment, Path | str]:
    """Return each environment's interpreter, or why there is none. Blocks while they are made, a few at a time."""
    distinct = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(zip(distinct, threads.map(_ready, distinct), strict=True))


def last_words(text: str) -> str:
    """Return the last line of what a program said, short, and without addresses: an index's may hold a password."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"\w+://\S+", "(address)", lines[-1])[:REASON_LENGTH] if lines else "it said nothing"


def _ready(environment: Environment) -> Path | str:
    try:
        return _interpreter(environment)
    except NotHereError as error:
        return str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"could not be installed: {type(error).__name__}"


def _interpreter(environment: Environment) -> Path:
    """Return the interpreter of an environment, making what is missing or outdated."""
    if environment.requirements is None:
        return Path(sys.executable)
    base = _base(environment.python)
    wanted = hashlib.sha256(f"{base}\n{environment.requirements.read_text()}".encode()).hexdigest()
    stamp, python = environment.folder / _STAMP, environment.folder / "bin" / "python"
    if not (python.exists() and stamp.is_file() and stamp.read_text() == wanted):
        progress(f"{environment.folder.name}: installing")
        shutil.rmtree(environment.folder, ignore_errors=True)
        _install(base, python, environment)
        stamp.write_text(wanted)
    return python


def _install(base: Path, python: Path, environment: Environment) -> None:
    """Make the environment with uv, which is quick, else with pip, which knows a machine's own pip settings."""
    folder, requirements = str(environment.folder), ["--require-hashes", "-r", str(environment.requirements)]
    said = ""
    uv = _uv()
    if uv is not None:
        made = _run([uv, "venv", "-q", "--clear", "--python", str(base), folder])
        if made.returncode == 0:
            made = _run([uv, "pip", "install", "-q", "--python", str(python), *requirements])
        if made.returncode == 0:
            return
        said = made.stderr
    made = _run([str(base), "-m", "venv", "--clear", folder])
    if made.returncode == 0:
        made = _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
    if made.returncode:
        message = f"could not be installed: {last_words(made.stderr or said)}"
        raise NotHereError(message)


def _base(needed: tuple[int, int]) -> Path:
    """Return an interpreter that is new enough: ours if it is, else the oldest that this machine has."""
    for candidate in _candidates(needed):
        try:
            answer = _run([candidate, "-c", _VERSION], ASK_LIMIT)
        except (OSError, subprocess.TimeoutExpired):
            continue
        # A shim may stand in the path for a version that is not switched on.
        if answer.returncode == 0 and tuple(map(int, answer.stdout.split())) >= needed:
            return Path(candidate)
    message = f"needs Python {'.'.join(map(str, needed))}"
    raise NotHereError(message)


def _candidates(needed: tuple[int, int]) -> Iterator[str]:
    yield str(Path(sys.executable).resolve())
    major, minor = needed
    names = [f"python{major}.{number}" for number in range(minor, minor + 4)]
    yield from filter(None, map(shutil.which, names))
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(found) for name in names for found in sorted(versions.glob(f"*/bin/{name}")))
    uv = _uv()
    if uv is not None:
        found = _run([uv, "python", "find", "--no-python-downloads", f">={major}.{minor}"], ASK_LIMIT)
        yield from found.stdout.split("\n")[:1] if found.returncode == 0 else ()


def _uv() -> str | None:
    ours = Path(sys.executable).with_name("uv")
    return str(ours) if ours.is_file() else shutil.which("uv")


def _run(command: list[str], limit: float = INSTALL_LIMIT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    # As the Makefile does: a machine's own certificates.
    environment.setdefault("UV_SYSTEM_CERTS", "true")
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", timeout=limit, check=False
    )
