import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.config import ConfigError, load, worker_spec
from supervisor.core.spec import Mode
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Checker, Loader

SECRET = "hunter2-in-clear"


def test_variables_of_the_environment_are_filled_in_anywhere(load_text: Loader) -> None:
    config = load_text(
        '[supervisor]\nname = "${ROLE}-${N:-1}"\n[kafka]\n"bootstrap.servers" = "${HOST}:9092"\n' + GROUP,
        {"ROLE": "web", "HOST": "kafka-1"},
    )

    assert config.supervisor.name == "web-1"
    assert config.kafka["bootstrap.servers"] == "kafka-1:9092"


@pytest.mark.parametrize(
    ("written", "environ", "value"),
    [
        ("${A:-b}", {}, "b"),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A:-}", {}, ""),
        ("${A}", {"A": ""}, ""),
        ("${A:-x:-y}", {}, "x:-y"),
        ("$${A}", {"A": "a"}, "${A}"),
        ("$A $ {A}", {"A": "a"}, "$A $ {A}"),
        ("${A}${B}", {"A": "${B}", "B": "b"}, "${B}b"),
        ("${A}", {"A": "file:/etc/hostname"}, "file:/etc/hostname"),
    ],
)
def test_a_reference_means(load_text: Loader, written: str, environ: dict[str, str], value: str) -> None:
    config = load_text(MINIMAL + f'[plugins.p]\noption = {{ deep = ["{written}"] }}\n', environ)

    assert config.plugins["p"] == {"option": {"deep": [value]}}


def test_a_missing_variable_is_named_once(problems: Checker) -> None:
    found = problems(MINIMAL + 'ordering = "${ORDERING}"\n')

    assert found["groups.orders.ordering"].text == "the environment has no ORDERING"
    assert found["groups.orders.ordering"].help == "set ORDERING, or give a default: ${ORDERING:-...}"


def test_a_reference_without_a_name_is_refused(problems: Checker) -> None:
    assert "name of a variable" in problems(MINIMAL + '[plugins.p]\nx = "${1 }"\n')["plugins.p.x"].text


def test_file_references_read_a_file_beside_the_config(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}\n")

    config = load_text(KAFKA + '"sasl.password" = "file:password"\n' + GROUP)

    assert config.kafka["sasl.password"] == SECRET


def test_file_references_may_hold_variables(load_text: Loader, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)

    config = load_text(MINIMAL + '[plugins.p]\ntoken = "file:${DIR}/token"\n', {"DIR": str(tmp_path)})

    assert config.plugins["p"] == {"token": SECRET}


def test_file_is_a_plain_word_outside_pass_through_tables(problems: Checker) -> None:
    assert (
        "not of the form module" in problems(KAFKA + GROUP.replace("shop.", "file:shop."))["groups.orders.handler"].text
    )


def test_a_file_that_cannot_be_read_is_a_problem(problems: Checker, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")
    names = ("none", "folder", "large", "binary", "pipe")

    found = problems(MINIMAL + "[plugins.p]\n" + "".join(f'{name} = "file:{name}"\n' for name in names))

    assert {key.removeprefix("plugins.p."): problem.text for key, problem in found.items()} == {
        "none": "none cannot be read: no such file or directory",
        "folder": "folder is not a plain file",
        "large": "large is larger than 65536 bytes",
        "binary": "binary is not UTF-8 text",
        "pipe": "pipe is not a plain file",
    }


SECRETS = f"""
[kafka]
"bootstrap.servers" = "127.0.0.1:9092"
"sasl.username" = "shown"
"sasl.password" = "{SECRET}"
"ssl.key.pem" = "file:key.pem"
"sasl.oauthbearer.client.secret" = "${{OAUTH:-{SECRET}}}"
"sasl.oauthbearer.config" = "a ${{OAUTH:-{SECRET}}} {SECRET}"
"client.rack" = "${{RACK}}"
[groups.orders]
topics = ["orders"]
handler = "shop.orders:process"
[groups.orders.kafka]
"ssl.key.password" = "{SECRET}"
[plugins.p]
token = "{SECRET}"
url = "${{URL}}"
dsn = "postgres://me@host/{SECRET}"
base = "https://me:{SECRET}@example.com/x"
headers = {{ Authorization = "Bearer {SECRET}", Accept = "text" }}
nested = [{{ api_key = "{SECRET}" }}]
"""


@pytest.fixture
def secretive(load_text: Loader, tmp_path: Path) -> tuple[Loader, dict[str, str]]:
    (tmp_path / "key.pem").write_text(SECRET)
    return load_text, {"RACK": SECRET, "URL": f"https://example.com/{SECRET}"}


def test_no_secret_is_ever_shown(secretive: tuple[Loader, dict[str, str]]) -> None:
    loader, environ = secretive

    config = loader(SECRETS, environ)

    assert SECRET not in config.describe()
    assert SECRET not in repr(config)
    assert SECRET not in repr(worker_spec(config, "orders", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=1))
    shown = config.effective()
    assert shown["kafka"]["sasl.username"] == "shown"
    assert shown["kafka"]["sasl.password"] == "***"
    assert shown["kafka"]["ssl.key.pem"] == "file:key.pem"
    assert shown["kafka"]["sasl.oauthbearer.client.secret"] == "${OAUTH:-***}"
    assert shown["kafka"]["sasl.oauthbearer.config"] == "***"
    assert shown["kafka"]["client.rack"] == "${RACK}"
    assert shown["plugins"]["p"] == {
        "token": "***",
        "url": "${URL}",
        "dsn": "***",
        "base": "https://***@example.com/***",
        "headers": {"Authorization": "***", "Accept": "***"},
        "nested": [{"api_key": "***"}],
    }


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://hooks.example.org/T0/{}", "https://hooks.example.org/***"),
        ("https://example.org?token={}", "https://example.org/***"),
        ("https://me:{}@example.org:8443/", "https://***@example.org:8443/"),
        ("https://me:a/{}@example.org", "https://***"),
        ("https://example.org/${{URL}}/{}", "https://example.org/***"),
        ("${{URL:-https://example.org/{}}}", "${{URL:-https://example.org/***}}"),
        ("tgram://{}/chat", "tgram://***"),
        ("look at http://127.0.0.1:4318/{} there", "look at http://127.0.0.1:4318/*** there"),
        ("http://registry:8081", "http://registry:8081"),
    ],
)
def test_p10_of_a_plugins_urls_the_host_alone_is_shown(load_text: Loader, written: str, shown: str) -> None:
    text = MINIMAL + f'[plugins.p]\nto = ["{written.format(SECRET)}"]\nrouting_key = "{SECRET}"\n'

    config = load_text(text, {"URL": SECRET})

    assert config.effective()["plugins"]["p"] == {"to": [shown.format()], "routing_key": "***"}


def test_a_reference_in_defaults_is_hidden_in_every_group(load_text: Loader) -> None:
    config = load_text(KAFKA + '[defaults.kafka]\n"client.rack" = "${RACK}"\n' + GROUP, {"RACK": SECRET})

    assert config.groups["orders"].kafka == {"client.rack": SECRET}
    assert config.effective()["groups"]["orders"]["kafka"] == {"client.rack": "${RACK}"}


def test_a_pattern_from_the_environment_is_hidden_as_a_list_too(load_text: Loader) -> None:
    config = load_text(KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = '${P}'\n", {"P": f"^{SECRET}$"})

    assert config.effective()["groups"]["a"]["topics"] == ["${P}"]


KEYS = (
    "handler_timeout", "queue_bytes", "workers", "ordering", "protocol", "topics", "plugins", "retry", "enabled",
    "concurrency", "dead_letters.sink", "dead_letters.topic", "retry.permanent", "retry.initial", "commit.mode",
    "kafka.'group.id'", "kafka.'ssl.key.password'", "kafka.'max.poll.interval.ms'", "no_such_key",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("written", ["x ${S}", "^${S}.*", "^[${S}"])
def test_no_error_tells_what_a_reference_stood_for(tmp_path: Path, key: str, written: str) -> None:
    file = tmp_path / "supervisor.toml"
    first = KAFKA + "[groups.a]\nhandler = 'a:b'\nprotocol = 'consumer'\n"
    file.write_text(first.replace("protocol", "#" if key == "protocol" else "protocol") + f'{key} = "{written}"\n')

    with pytest.raises(ConfigError) as caught:
        load(file, environ={"S": SECRET})

    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_literal_secrets_are_hidden_in_errors(problems: Checker) -> None:
    found = problems(MINIMAL + f'[groups.orders.kafka]\n"sasl.password" = ["{SECRET}"]\n')

    (problem,) = found.values()
    assert problem.found == '["***"]'


def test_literal_secrets_in_a_file_others_may_read_bring_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text(KAFKA + f'"sasl.password" = "{SECRET}"\n' + GROUP)

    file.chmod(0o640)
    (warning,) = load(file, environ={}).warnings
    assert (warning.key, warning.found) == ('kafka."sasl.password"', '"***"')

    file.chmod(0o600)
    assert load(file, environ={}).warnings == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30))
def test_any_environment_value_arrives_unchanged(load_text: Loader, value: str) -> None:
    config = load_text(MINIMAL + '[plugins.p]\nx = "${X}"\n', {"X": value})

    assert config.plugins["p"]["x"] == value


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.config",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    ],
)
def test_p10_every_secret_that_librdkafka_takes_is_let_through_and_hidden(load_text: Loader, key: str) -> None:
    config = load_text(KAFKA + f'"{key}" = "{SECRET}"\n' + GROUP)

    assert config.kafka[key] == SECRET
    assert SECRET not in config.describe()
    assert SECRET not in repr(config)
