import shutil
import subprocess
import sys
from pathlib import Path, PurePath

import pytest
from click.testing import CliRunner, Result

from supervisor.cli.main import cli
from supervisor.cli.unit import Unit

ROOT = Path(__file__).resolve().parents[2]
GENERAL = Unit(
    "kafka-supervisor",
    "kafka-supervisor",
    ("/opt/kafka-supervisor/venv/bin/supervisor",),
    PurePath("/etc/kafka-supervisor/supervisor.toml"),
)


def init(config: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["-c", str(config), "init", "--systemd", *options])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "supervisor.toml").write_text("")
    return tmp_path / "shop" / "supervisor.toml"


def test_the_unit_in_deploy_is_the_template_with_the_usual_paths() -> None:
    assert (ROOT / "deploy" / "kafka-supervisor.service").read_text() == GENERAL.service()
    assert (ROOT / "deploy" / "kafka-supervisor-limits.conf").read_text() == GENERAL.limits()


def test_the_unit_runs_this_configuration_with_this_installation(config: Path, tmp_path: Path) -> None:
    result = init(config, str(tmp_path / "out"), "--user", "kafka")

    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "shop.service").read_text()
    assert f"{config} run" in text
    assert str(Path(sys.executable).parent) in text
    assert "User=kafka\n" in text
    assert "RuntimeDirectory=shop\n" in text
    assert "useradd --system kafka" in result.output
    assert (tmp_path / "out" / "shop-limits.conf").exists()


def test_a_dynamic_user_needs_no_account(config: Path, tmp_path: Path) -> None:
    result = init(config, str(tmp_path / "out"), "--user", "dynamic")

    text = (tmp_path / "out" / "shop.service").read_text()
    assert "DynamicUser=yes\n" in text
    assert "useradd" not in text + result.output


def test_a_path_that_the_unit_will_not_see_brings_a_warning(config: Path, tmp_path: Path) -> None:
    if not str(config).startswith("/tmp/"):
        pytest.skip("temporary files are not in /tmp here")

    assert f"warning: {config}: the unit has a /tmp of its own" in init(config, str(tmp_path / "out")).output


def test_nothing_is_overwritten(config: Path, tmp_path: Path) -> None:
    init(config, str(tmp_path))

    result = init(config, str(tmp_path))

    assert result.exit_code == 1
    assert "already there, nothing was written" in result.output


@pytest.mark.parametrize("user", ["a b", "root;", "Å"])
def test_a_user_that_cannot_be_one_is_wrong_usage(config: Path, tmp_path: Path, user: str) -> None:
    assert init(config, str(tmp_path / "out"), "--user", user).exit_code == 2


def test_without_a_configuration_there_is_nothing_to_run(tmp_path: Path) -> None:
    result = init(tmp_path / "supervisor.toml", str(tmp_path))

    assert result.exit_code == 1
    assert "supervisor -c FILE init --systemd" in result.output


def test_a_user_without_a_unit_is_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "shop"), "--user", "a"]).exit_code == 2


def test_what_lies_in_a_home_stays_readable() -> None:
    unit = Unit("shop", "shop", ("/home/ann/venv/bin/supervisor",), PurePath("/etc/shop/supervisor.toml"))

    assert "ProtectHome=read-only\n" in unit.service()
    assert "ProtectHome=yes\n" in GENERAL.service()


def test_words_that_systemd_reads_otherwise_are_quoted() -> None:
    unit = Unit("shop", "shop", ("/opt/my $hop/100%/supervisor",), PurePath("/opt/a b/supervisor.toml"))

    assert 'ExecStart="/opt/my $$hop/100%%/supervisor" -c "/opt/a b/supervisor.toml" run\n' in unit.service()


def test_no_mark_of_the_template_is_left() -> None:
    left = [line for line in (GENERAL.service() + GENERAL.limits()).splitlines() if "@" in line]

    assert all(line.startswith("SystemCallFilter=") for line in left)


@pytest.mark.parametrize(("with_drop_in", "most"), [(False, 1.5), (True, 1.6)])
def test_what_the_unit_is_exposed_to(tmp_path: Path, with_drop_in: bool, most: float) -> None:
    """``systemd-analyze security``: 0 is nothing, 10 everything."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    # A drop-in comes after the unit; a section may be continued.
    text = GENERAL.service() + (GENERAL.limits() if with_drop_in else "")
    (tmp_path / "kafka-supervisor.service").write_text(text)

    done = subprocess.run(
        (analyze, "security", "--offline=true", "--no-pager", str(tmp_path / "kafka-supervisor.service")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    last = done.stdout.strip().splitlines()[-1]
    print(last)
    assert float(next(word for word in last.split() if word[:1].isdigit())) <= most, last
