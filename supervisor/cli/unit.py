"""The systemd unit and its drop-in, from one template each: for a new project, ``deploy/``, what is installed here."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePath

import click

from supervisor.cli.errors import CommandError
from supervisor.core.exits import ExitCode

PROJECT = re.compile(r"[a-z][a-z0-9_-]{0,30}")
"""What systemd takes as a unit's, useradd as a user's and the file system as a folder's name."""
DYNAMIC = "dynamic"
VERIFY_TIMEOUT = 20.0
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - compared with, nothing is opened
_SPECIAL = re.compile(r"""[\s"'\\;$]""")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a unit says of one installation. ``program`` is the command and what stands before its own options."""

    name: str
    user: str
    program: tuple[str, ...]
    config: PurePath

    def service(self) -> str:
        """Return the text of ``NAME.service``."""
        paths = (*self.program, str(self.config))
        command = " ".join(_quoted(word) for word in self.program)
        return self._filled(
            "service.in",
            {
                "@ACCOUNT@": "" if self.user == DYNAMIC else f"#   useradd --system {self.user}\n",
                "@USER@": "DynamicUser=yes" if self.user == DYNAMIC else f"User={self.user}",
                "@FOLDER@": str(self.config.parent).replace("%", "%%"),
                "@EXEC@": command,
                "@CONFIG@": _quoted(str(self.config)),
                "@PROTECT_HOME@": "read-only" if any(_is_below(path, _HOMES) for path in paths) else "yes",
            },
        )

    def limits(self) -> str:
        """Return the text of ``NAME-limits.conf``."""
        return self._filled("limits.conf.in", {})

    def _filled(self, template: str, marks: dict[str, str]) -> str:
        text = files("supervisor.cli").joinpath("project_files", template).read_text()
        for mark, value in {**marks, "@NAME@": self.name}.items():
            text = text.replace(mark, value)
        return text


def project_unit(name: str) -> Unit:
    """Return the unit of a project that is installed in ``/opt/NAME``."""
    return Unit(name, name, (f"/opt/{name}/venv/bin/supervisor",), PurePath(f"/opt/{name}/supervisor.toml"))


def installed_unit(config: Path, user: str) -> Unit:
    """Return the unit that runs ``config`` with this very installation; its name is that of the config's folder."""
    config = config.absolute()
    if not config.is_file():
        message = f"there is no {config}\n  help: name it: supervisor -c FILE init --systemd"
        raise CommandError(message, code=ExitCode.FAILURE)
    name = config.parent.name.lower().replace(" ", "-").replace(".", "-")
    if not PROJECT.fullmatch(name):
        message = f"{config}: its folder's name becomes the unit's: a letter, then letters, digits, '-' and '_' only"
        raise click.BadParameter(message, param_hint="-c")
    user = user or name
    if not PROJECT.fullmatch(user):
        message = f"{user!r} is no name of a user"
        raise click.BadParameter(message, param_hint="--user")
    script = Path(sys.executable).with_name("supervisor")
    program = (str(script),) if script.is_file() else (sys.executable, "-m", "supervisor")
    return Unit(name, user, program, config)


def warnings(unit: Unit, path: Path) -> list[str]:
    """Return what will keep the written unit from working here: paths it may not see, what systemd makes of it."""
    hidden = [place for place in (*unit.program, str(unit.config)) if _is_below(place, _TEMPORARY)]
    found = [f"{place}: the unit has a /tmp of its own and will not find it" for place in hidden]
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return found
    try:
        done = subprocess.run(
            (analyze, "verify", "--man=no", str(path)),
            capture_output=True,
            text=True,
            timeout=VERIFY_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [*found, f"not verified: {error}"]
    said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return [*found, *(f"systemd-analyze verify: {line}" for line in said)]


def _is_below(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{place}/") for place in places)


def _quoted(word: str) -> str:
    """Return ``word`` as one word of a command line in a unit (systemd.service(5), "Command lines")."""
    escaped = word.replace("%", "%%").replace("$", "$$")
    if not _SPECIAL.search(word):
        return escaped
    return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
