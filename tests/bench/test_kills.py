"""Kills under other people's supervisors: what is measured, and that none of them ends a run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.failover import peers
from bench.peers import kills
from bench.peers.deployments import DEPLOYMENTS, MEMBERS, RAW_MEMBER, Deployment, Ground
from bench.peers.environments import Environment
from bench.stage import Stage
from tests.broker.real import RealBroker

STATIC = {"group.instance.id": "%(process_num)d"}
FAKE = Path(__file__).parent / "fake_supervisor.py"


@pytest.fixture
def small_stage(broker: RealBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(kills, "QUIET", 1.5)
    return Stage(broker.bootstrap, tmp_path, quick=True, peers=True)


def _fake(name: str, settings: Mapping[str, str | int], *, restarts: bool = True) -> Deployment:
    """Return consumers that this interpreter can run, kept running by a few lines."""

    def command(ground: Ground, python: Path) -> Sequence[str]:
        fast: Mapping[str, str | int | bool] = {**ground.settings, "heartbeat.interval.ms": 300, **settings}
        member = [str(python), "-P", str(RAW_MEMBER), json.dumps(fast), ground.topic, f"{ground.ledger}/member"]
        task = {"command": member, "members": MEMBERS, "restarts": restarts}
        return [str(python), "-P", str(FAKE), json.dumps(task)]

    return Deployment(name, "fake", Environment(None, Path()), command, "as a test does")


def test_a_member_that_takes_its_id_again_disturbs_nobody_and_a_new_member_stops_all(
    small_stage: Stage, name: str
) -> None:
    static = _fake(f"static-{name}", STATIC)
    dynamic = _fake(f"dynamic-{name}", {"session.timeout.ms": 6000})

    figures = peers(small_stage, [static, dynamic], kills=1, topic=name)

    back, moved = figures[f"{static.name}_s"], figures[f"{dynamic.name}_s"]
    stood, stopped = figures[f"{static.name}_others_stopped_s"], figures[f"{dynamic.name}_others_stopped_s"]
    assert isinstance(back, float)
    assert isinstance(moved, float)
    assert isinstance(stood, float)
    assert isinstance(stopped, float)
    assert 0 < back < 45, "the session ended first"
    assert stood > 0
    assert moved > 4, "its session did not end first"
    assert stopped > 4, "the group went on without the dead member's answer"
    assert figures[f"{static.name}_others_disturbed"] == 0
    assert figures[f"{dynamic.name}_others_disturbed"] == 4, "two others gave up all and were assigned anew"
    assert "not_measured" not in figures


def test_a_supervisor_that_gives_up_or_is_not_there_has_null_figures_and_a_reason(
    small_stage: Stage, name: str, tmp_path: Path
) -> None:
    dying = _fake(f"dying-{name}", STATIC, restarts=False)
    requirements = tmp_path / "absent.txt"
    requirements.write_text(f"--no-index\nno-such-peer==1.0 --hash=sha256:{'0' * 64}\n")
    home = Environment(requirements, tmp_path / "absent")
    absent = Deployment("absent", "fake", home, lambda _ground, _python: [], "not at all")

    figures = peers(small_stage, [dying, absent], kills=1, topic=name)

    reasons = figures["not_measured"]
    assert isinstance(reasons, dict)
    assert "ended with 1; it said: a consumer of (address) is dead" in reasons[dying.name]
    assert reasons["absent"].startswith("could not be installed: ")
    assert "secret" not in json.dumps(figures), "P10"
    for one in (dying, absent):
        assert figures[f"{one.name}_s"] is None
        assert figures[f"{one.name}_others_disturbed"] is None
        assert figures[f"{one.name}_runs"] == 0


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one.name)
def test_every_deployment_is_pinned_with_hashes_and_no_address(deployment: Deployment) -> None:
    assert deployment.environment.requirements is not None
    text = deployment.environment.requirements.read_text()

    assert deployment.version
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


def test_a_supervisor_whose_package_is_called_like_ours_never_finds_ours(
    small_stage: Stage, name: str, tmp_path: Path
) -> None:
    def command(_ground: Ground, python: Path) -> Sequence[str]:
        return [str(python), "-P", "-c", "import os, sys; sys.exit(os.environ.get('PYTHONPATH', 'hidden'))"]

    assert {one.name for one in DEPLOYMENTS if not one.ours} == {"supervisord", "supervisord_static"}
    hidden = Deployment(f"hidden-{name}", "fake", Environment(None, tmp_path), command, "not at all", ours=False)

    reasons = peers(small_stage, [hidden], kills=1, topic=name)["not_measured"]

    assert isinstance(reasons, dict)
    assert "it said: hidden" in reasons[hidden.name]
