"""The wheel as a user gets it: built, installed into a virtual environment of its own, run."""

import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import tomli

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 60


def run(*command: str | Path, cwd: Path) -> str:
    """Return what a command printed; it must succeed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ``bin`` folder of an environment with the wheel; dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--offline",
        "--python",
        python,
        wheel,
        cwd=folder,
    )
    (site,) = folder.glob("lib/python*/site-packages")
    # Appended, and its own .pth files are not read: what is under test is found in the wheel or nowhere.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"supervisor", "supervisor_plugins"}
    assert "supervisor/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "supervisor", "--help", cwd=tmp_path)

    for command in ("run", "check", "status", "stop", "restart", "demo", "init", "plugins"):
        assert re.search(rf"^\s+{command}\b", shown, re.MULTILINE), f"{command} is not in the help"


def test_the_installed_command_has_the_runbook_with_it(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "supervisor", "runbook", "no_progress", cwd=tmp_path)

    assert shown.startswith("KafkaSupervisorNoProgress\n")


def test_every_entry_point_of_the_wheel_can_be_loaded(installed: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.metadata import distribution\n"
        "import supervisor\n"
        "assert 'site-packages' in supervisor.__file__, supervisor.__file__\n"
        "for point in distribution('kafka-supervisor').entry_points:\n"
        "    point.load()\n"
        "    print(point.group, point.name)\n"
    )

    shown = run(installed / "python", "-c", code, cwd=tmp_path).splitlines()

    ours = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["supervisor"]
    assert sorted(shown) == sorted(["console_scripts supervisor", *(f"supervisor {name}" for name in ours)])


def test_nothing_in_the_lock_files_names_a_registry() -> None:
    for path in (ROOT / "requirements").iterdir():
        assert "://" not in path.read_text(), path.name


def test_the_lock_files_hold_every_requirement_with_hashes() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        pins = re.findall(r"^[a-z0-9][^\n]*==.*?(?=^[a-z0-9]|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
        assert pins, path.name
        assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
