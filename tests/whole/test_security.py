"""Clients that must say who they are: every way in, tokens that end every few seconds, and what a wrong key brings."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import certificates, real
from tests.broker.certificates import Authority
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.broker.secured import KEY_PASSWORD, PASSWORD, SECRET, Secured, secured
from tests.conftest import Scale
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger
from tests.whole.program import Program

SECRETS = (PASSWORD, SECRET, KEY_PASSWORD, "wrong-secret")
OPTIONS = "retry.attempts = 1"
WRONG = "wrong-secret"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Start this module's own broker, with a listener for each way in."""
    lack = real.missing() or certificates.missing()
    if lack is not None:
        pytest.skip(lack)
    with secured(tmp_path_factory.mktemp("secured")) as running:
        yield running


class Here:
    """A broker's address, as ``supervise`` asks for it."""

    def __init__(self, settings: dict[str, str | int | float | bool]) -> None:
        self.bootstrap = settings["bootstrap.servers"]


def started(supervise: Supervise, gate: Secured, way: str, **changes: str | None) -> Program:
    keys = gate.toml(way, **changes).partition("\n")[2]  # the first is the address
    return supervise(Here(gate.settings[way]), OPTIONS, kafka=f'"heartbeat.interval.ms" = 300\n{keys}')


def topics(gate: Secured, name: str) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(gate.open, topic, partitions=2)


def all_done(gate: Secured, name: str, count: int) -> bool:
    return sum(committed(gate.open, name, name).values()) == count


def shows_no_secret(program: Program, *texts: str) -> None:
    """P10: nothing of what people or other processes see has a secret in it."""
    lines = [(Path("/proc") / str(pid) / "cmdline").read_text() for pid in program.pids()]
    shown = [program.log.read_text(errors="replace"), *lines, *texts]
    for command in (("status", "--json"), ("config", "show")):
        done = program.cli(*command)
        shown += [done.stdout, done.stderr]
    for text in shown:
        assert not [secret for secret in SECRETS if secret in text], text


@pytest.mark.parametrize("way", ["scram", "plain", "mutual"])
def test_p10_a_worker_its_dead_letters_and_the_check_come_in_by_each_way(
    gate: Secured, name: str, supervise: Supervise, ledger: Ledger, way: str
) -> None:
    topics(gate, name)
    produce(gate.open, name, ["good", "raise"] * 20, partition=lambda at: at // 2 % 2)

    program = started(supervise, gate, way)
    program.wait(lambda: all_done(gate, name, 40), what="all is committed")
    checked = program.cli("check")

    assert len(ledger.places()) == 20
    assert len(read_topic(gate.open, f"{name}.dlq")) == 20
    assert checked.returncode == 0, checked.stdout
    shows_no_secret(program, checked.stdout, checked.stderr)
    assert program.terminate() == 0


def test_p3_tokens_end_and_are_renewed_while_records_flow(
    gate: Secured, name: str, supervise: Supervise, ledger: Ledger, scale: Scale
) -> None:
    topics(gate, name)
    program = started(supervise, gate, "oauth")
    program.wait(program.running, what="it runs")
    pids, wanted = program.workers(), gate.endpoint.given + scale.pick(8, 60)
    produced = 0

    def flows() -> bool:
        nonlocal produced
        produced += produce(gate.open, name, ["good"] * 9 + ["raise"], partition=lambda at: at % 2)
        program.wait(lambda: all_done(gate, name, produced), what=f"{produced} are committed")
        return gate.endpoint.given >= wanted

    program.wait(flows, scale.pick(60, 600), what=f"{wanted} tokens were given")
    checked = program.cli("check")

    assert len(ledger.places()) == produced - produced // 10
    assert len(read_topic(gate.open, f"{name}.dlq")) == produced // 10
    assert ledger.repeats() == 0
    assert program.workers() == pids, "no restarts"
    assert program.logged("ERROR") == []
    assert checked.returncode == 0, checked.stdout
    shows_no_secret(program, checked.stdout, checked.stderr)
    assert program.terminate() == 0
    print(f"{produced} records, {gate.endpoint.given} tokens")
