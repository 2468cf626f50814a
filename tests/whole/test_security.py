"""Clients that must say who they are: every way in, tokens that end every few seconds, and what a wrong key brings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.core.exits import ExitCode
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
    assert program.events("broker.refused") == []
    assert program.logged("broker.trouble") == [], "connections lived on: they showed their new tokens in time"
    assert checked.returncode == 0, checked.stdout
    shows_no_secret(program, checked.stdout, checked.stderr)
    assert program.terminate() == 0
    print(f"{produced} records, {gate.endpoint.given} tokens")


def test_p3_p7_a_token_endpoint_that_is_away_is_told_once_and_waited_for(
    gate: Secured, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    topics(gate, name)
    program = started(supervise, gate, "oauth")
    produce(gate.open, name, ["good"] * 10, partition=lambda at: at % 2)
    program.wait(lambda: all_done(gate, name, 10), what="it works")
    pids = program.workers()

    gate.endpoint.down = True
    try:
        program.wait(lambda: told_of_no_token(program), 40, what="it says that it gets no token")
        program.wait(lambda: program.slot(0).stats is not None and waits(program) == "broker", what="it waits")
    finally:
        gate.endpoint.down = False
    produce(gate.open, name, ["good"] * 10, partition=lambda at: at % 2)
    program.wait(lambda: all_done(gate, name, 20), 40, what="it goes on")

    (_,) = told_of_no_token(program)
    assert program.workers() == pids, "no restarts"
    assert ledger.repeats() == 0
    shows_no_secret(program)
    assert program.terminate() == 0


def told_of_no_token(program: Program) -> list[str]:
    texts = [event.text for event in program.events("broker.refused")]
    return [text for text in texts if text.startswith("the token endpoint does not let this worker in")]


def waits(program: Program) -> str:
    stats = program.slot(0).stats
    return "" if stats is None else stats.waits


def wrong_authority(gate: Secured) -> str:
    return str(Authority(gate.folder / "other", "another-ca").certificate)


@pytest.mark.parametrize(
    ("way", "wrong", "reason", "remedy"),
    [
        ("scram", {"sasl_password": WRONG}, "invalid credentials", 'look at "sasl.username" and "sasl.password"'),
        ("plain", {"sasl_mechanisms": "SCRAM-SHA-256"}, "supported mechanisms: PLAIN", "write a mechanism that"),
        ("scram", {"ssl_ca_location": "another"}, "certificate verify failed", 'does "ssl.ca.location" hold the CA'),
        (
            "oauth",
            {"sasl_oauthbearer_client_secret": WRONG},
            "invalid_client",
            'with this "sasl.oauthbearer.client.sec',
        ),
        ("mutual", {"ssl_certificate_location": None, "ssl_key_location": None}, "alert", "does it want a certificate"),
    ],
    ids=["password", "mechanism", "authority", "client secret", "no certificate"],
)
def test_p7_p10_a_wrong_key_is_told_by_the_worker_and_by_the_check_with_what_to_look_at(
    gate: Secured, name: str, supervise: Supervise, way: str, wrong: dict[str, str | None], reason: str, remedy: str
) -> None:
    topics(gate, name)
    changes = {key: wrong_authority(gate) if value == "another" else value for key, value in wrong.items()}

    program = started(supervise, gate, way, **changes)
    program.wait(lambda: program.events("broker.refused"), what="the worker says so")
    checked = program.cli("check")

    (event,) = program.events("broker.refused")  # once, however often it tries
    assert reason in event.text
    assert checked.returncode == 1
    assert reason in checked.stdout
    assert remedy in checked.stdout
    assert program.events("worker.exited") == []
    shows_no_secret(program, checked.stdout, checked.stderr)
    assert program.terminate() == 0


def test_p9_p10_a_key_that_its_password_does_not_open_refuses_the_start(
    gate: Secured, name: str, supervise: Supervise
) -> None:
    program = started(supervise, gate, "mutual", ssl_key_password=WRONG)

    code = program.ended()

    log = program.log.read_text()
    assert code == ExitCode.CONFIG
    assert "ssl.key.location failed" in log
    assert 'is "ssl.key.password" the one that opens it?' in log
    assert WRONG not in log
