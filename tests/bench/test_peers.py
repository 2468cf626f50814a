"""Peers beside ours: one is measured, and whatever else a peer does is told in the figures and ends no run."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.peers import runs as runs_module
from bench.peers.catalog import IO, THROUGHPUT, Peer
from bench.peers.environments import Environment, interpreters, last_words
from bench.peers.runs import PeerRuns
from bench.peers.table import table
from bench.sides import fill, in_turns
from bench.stage import ROOT, Stage, report
from bench.windows import Shown, Window
from tests.broker.real import RealBroker
from tests.broker.records import create_topic

RECORDS = 2000


@pytest.fixture
def small_stage(broker: RealBroker, tmp_path: Path) -> Stage:
    return Stage(broker.bootstrap, tmp_path, quick=True, peers=True)


@pytest.fixture
def topic(small_stage: Stage, name: str) -> str:
    create_topic(small_stage.bootstrap, name, partitions=2)
    fill(small_stage.bootstrap, name, RECORDS, partitions=2)
    return name


@pytest.fixture
def fake(name: str) -> Peer:
    """Give a peer that this interpreter can run."""
    return Peer(
        name,  # the group's name is made of it
        "fake",
        Path(__file__).parent / "fake_peer.py",
        Environment(None, Path()),
        "by poll()",
        "none",
        records=500,
        sleep=0.0002,
    )


def _no_side(_shown: Shown) -> Window:
    raise AssertionError("there are no sides of ours")


def _peers(stage: Stage, topic: str, *peers: Peer, rounds: int = 1) -> dict[str, dict[str, object]]:
    runs = PeerRuns.prepare(stage, peers, topic=topic, total=RECORDS)
    in_turns({}, rounds, _no_side, runs)
    found = runs.figures([Window(1000.0, 2.0)] * rounds)["peers"]
    assert isinstance(found, dict)
    return found


def test_a_peer_is_measured_once_per_round_beside_a_baseline(small_stage: Stage, topic: str, fake: Peer) -> None:
    found = _peers(small_stage, topic, fake, rounds=2)[fake.name]

    assert isinstance(found["per_s"], int)
    assert 0 < found["per_s"] < 5000, "it sleeps 0.2 ms per record"
    assert found["ratio"] == pytest.approx(found["per_s"] / 1000, rel=0.01)
    assert isinstance(found["cpu_us"], float)
    assert found["cpu_us"] > 0
    assert found["cpu_ratio"] == pytest.approx(found["cpu_us"] / 2, rel=0.01, abs=0.01)
    assert (found["records"], found["rounds"], found["guarantee"]) == (500, 2, "none")


def test_a_peer_that_dies_is_told_with_its_last_words_and_the_others_go_on(
    small_stage: Stage, topic: str, fake: Peer
) -> None:
    dying = replace(fake, name=f"{fake.name}-dying", variant="dies")

    found = _peers(small_stage, topic, dying, fake, rounds=2)

    reason = str(found[dying.name]["not_measured"])
    assert "ended with 1, 50 of" in reason
    assert "the dependency at (address) is gone" in reason
    assert "secret" not in json.dumps(found), "P10"
    assert found[fake.name]["rounds"] == 2


def test_a_peer_that_works_nothing_is_given_up_in_time(
    small_stage: Stage, topic: str, fake: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "START_LIMIT", 2.0)

    found = _peers(small_stage, topic, replace(fake, variant="idle"))

    assert "no record was done in time" in str(found[fake.name]["not_measured"])


def test_a_peer_that_cannot_be_installed_is_told_and_the_others_go_on(
    small_stage: Stage, topic: str, fake: Peer, tmp_path: Path
) -> None:
    requirements = tmp_path / "absent.txt"
    requirements.write_text(f"--no-index\nno-such-peer==1.0 --hash=sha256:{'0' * 64}\n")
    absent = replace(fake, name="absent", environment=Environment(requirements, tmp_path / "absent"))

    found = _peers(small_stage, topic, absent, fake)

    assert str(found["absent"]["not_measured"]).startswith("could not be installed: ")
    assert found[fake.name]["rounds"] == 1


def test_a_peer_for_a_newer_python_than_there_is_says_which(tmp_path: Path) -> None:
    requirements = tmp_path / "newer.txt"
    requirements.write_text("# nothing\n")
    newer = Environment(requirements, tmp_path / "newer", python=(9, 0))

    assert interpreters([newer]) == {newer: "needs Python 9.0"}


def test_an_environment_is_made_once_and_again_when_its_requirements_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    requirements = tmp_path / "empty.txt"
    requirements.write_text("# nothing\n")
    environment = Environment(requirements, tmp_path / "empty")

    def installed() -> bool:
        python = interpreters([environment])[environment]
        assert isinstance(python, Path), python
        assert subprocess.run([python, "-c", "pass"], check=False, timeout=30).returncode == 0
        return "installing" in capsys.readouterr().err

    assert installed()
    assert not installed()
    requirements.write_text("# nothing else\n")
    assert installed()


def test_last_words_are_one_short_line_without_addresses() -> None:
    said = "Traceback\n  https://user:secret@index.example/simple was not reached " + "x" * 500 + "\n\n"

    assert last_words(said).startswith("(address) was not reached")
    assert len(last_words(said)) == 200
    assert last_words("\n") == "it said nothing"


@pytest.mark.parametrize("peer", [*THROUGHPUT, *IO], ids=lambda peer: peer.name)
def test_every_peer_is_pinned_with_hashes_and_no_address(peer: Peer) -> None:
    assert peer.environment.requirements is not None
    text = peer.environment.requirements.read_text()

    assert peer.version
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
    assert peer.program.is_file()


def test_names_of_peers_tell_them_apart() -> None:
    assert len({peer.name for peer in THROUGHPUT}) == len(THROUGHPUT)
    assert len({peer.name for peer in IO}) == len(IO)


def test_people_see_a_table_with_the_fastest_first_and_the_reason_of_an_empty_row() -> None:
    measured = {
        "ratio": 0.5,
        "cpu_us": 1.25,
        "cpu_ratio": 2.5,
        "records": 1000,
        "how": "by hand",
        "guarantee": "at most once",
    }
    peers = {
        "slow": {"per_s": 10, "version": "1.0", **measured},
        "gone": {"not_measured": "needs Python 3.12", "version": "2.0"},
        "fast": {"per_s": 20_000, "version": "3.0", **measured},
    }

    lines = table(peers).splitlines()

    assert [line.split()[0] for line in lines] == ["peer", "fast", "slow", "gone"]
    assert "20,000" in lines[1]
    assert "at most once" in lines[1]
    assert "not measured: needs Python 3.12" in lines[3]


def test_a_report_has_the_table_for_people_and_the_object_in_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    report("io", {"peers": {"gone": {"not_measured": "needs Python 3.12", "version": "2.0"}}}, only_json=False)

    *before, last = capsys.readouterr().out.splitlines()
    assert before[-1].startswith("gone 2.0")
    assert json.loads(last)["peers"]["gone"]["not_measured"] == "needs Python 3.12"


def test_peers_are_refused_where_there_are_none() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "bench", "rolling", "--peers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refused.returncode == 2
    assert "--peers is for" in refused.stderr
