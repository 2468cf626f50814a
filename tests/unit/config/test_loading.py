from pathlib import Path

import pytest

from supervisor.config import ConfigError, load
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Loader


def test_the_least_config_has_every_default(load_text: Loader) -> None:
    config = load_text(MINIMAL)

    orders = config.groups["orders"]
    assert (orders.topics, orders.handler) == (("orders",), "shop.orders:process")
    assert (orders.workers, orders.ordering, orders.concurrency, orders.protocol) == (1, "partition", 1, "classic")
    assert (orders.handler_timeout, orders.queue_bytes) == (300.0, 16 * 1024 * 1024)
    assert (orders.retry.attempts, orders.retry.initial, orders.retry.max) == (5, 0.2, 30.0)
    assert (orders.dead_letters.sink, orders.dead_letters.topic) == ("dlq_kafka", "{topic}.dlq")
    assert (config.supervisor.name, config.supervisor.stop_timeout) == ("web-1", 30.0)
    assert config.warnings == ()


def test_a_string_that_begins_with_a_caret_is_a_pattern(load_text: Loader) -> None:
    config = load_text(KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = '^orders-[a-z]+$'\n")

    assert config.groups["a"].topics == ("^orders-[a-z]+$",)


def test_librdkafka_keys_may_be_written_without_quotes(load_text: Loader) -> None:
    config = load_text('[kafka]\nbootstrap.servers = "a:9092"\nsasl.oauthbearer.method = "oidc"\n' + GROUP)

    assert config.kafka == {"bootstrap.servers": "a:9092", "sasl.oauthbearer.method": "oidc"}


def test_groups_inherit_defaults_key_by_key(load_text: Loader) -> None:
    config = load_text(
        KAFKA
        + '[defaults]\nworkers = 3\nplugins = ["a"]\nretry = { attempts = 2, initial = "1s" }\n'
        + '[defaults.kafka]\n"client.rack" = "r1"\n"fetch.wait.max.ms" = 10\n'
        + GROUP
        + 'plugins = ["b"]\nretry.attempts = 9\nkafka."client.rack" = "r2"\n'
    )

    orders = config.groups["orders"]
    assert orders.workers == 3
    assert orders.plugins == ("b",)
    assert (orders.retry.attempts, orders.retry.initial) == (9, 1.0)
    assert orders.kafka == {"client.rack": "r2", "fetch.wait.max.ms": 10}


def test_a_disabled_group_is_checked_but_not_run(load_text: Loader) -> None:
    config = load_text(MINIMAL + '[groups.old]\ntopics = ["x"]\nhandler = "a:b"\nenabled = false\n')

    assert list(config.groups) == ["orders", "old"]
    assert config.enabled == ("orders",)


def test_all_groups_disabled_is_worth_a_warning(load_text: Loader) -> None:
    config = load_text(MINIMAL + "enabled = false\n")

    assert [warning.key for warning in config.warnings] == ["groups"]


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ('[supervisor]\nalerts = ["alert_log", "alert_slak"]\n', "supervisor.alerts[1] names 'alert_slak'"),
        ('[defaults]\nplugins = ["alert_slak"]\n', "defaults.plugins[0] names 'alert_slak'"),
        ('[defaults]\ndead_letters.fallback = "alert_slak"\n', "defaults.dead_letters.fallback names 'alert_slak'"),
        ('[defaults]\ndecode = "bytes"\ndead_letters.fallback = ""\n', ""),
        ("", ""),
    ],
)
def test_options_of_a_plugin_that_is_listed_by_nearly_that_name_say_where_it_is(
    load_text: Loader, lists: str, names: str
) -> None:
    (warning,) = load_text(lists + MINIMAL + "[plugins.alert_slack]\nurl = 'x'\n").warnings

    both = f"{names}: if this one is meant, write one name in both; else " if names else ""
    assert warning.key == "plugins.alert_slack"
    assert warning.help == f"{both}list it in plugins, sink, fallback or alerts"


def test_options_of_nearly_the_name_of_a_plugin_that_nobody_wrote_ask_whether_that_is_meant(load_text: Loader) -> None:
    near = 'plugins = ["dlq_kafka_audit"]\n'

    (warning,) = load_text(MINIMAL + near + "[plugins.dlq_kafak]\nx = 1\n").warnings

    assert warning.help == "did you mean 'dlq_kafka'? else list it in plugins, sink, fallback or alerts"


@pytest.mark.parametrize("others", ["", 'dead_letters.sink = "dlq_kafka"\n'])
def test_where_one_group_wrote_a_plugin_is_told_whatever_the_groups_after_it_leave_out(
    load_text: Loader, others: str
) -> None:
    groups = "".join(GROUP.replace("orders", name) + others for name in ("more", "bills"))

    (warning,) = load_text(
        MINIMAL + 'dead_letters.sink = "dlq_kafka"\n' + groups + "[plugins.dlq_kafak]\nx = 1\n"
    ).warnings

    assert warning.help.startswith("groups.orders.dead_letters.sink names 'dlq_kafka': if this one is meant, ")


def test_a_hostname_that_kafka_would_refuse_is_made_to_fit(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text(MINIMAL)

    assert load(file, environ={}, hostname="büro 1").supervisor.name == "b-ro-1"


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())

    assert load(file, environ={}).enabled == ("orders",)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)there is no such file.*help: .*supervisor init"):
        load(tmp_path / "supervisor.toml")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load(tmp_path)


def test_bytes_that_are_no_text_are_reported_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_bytes(b"[kafka]\nx = '\xff'\n")

    with pytest.raises(ConfigError, match=r"supervisor.toml:2\n +not UTF-8"):
        load(file)


def test_a_syntax_error_has_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text("[kafka]\nx = nothing\n")

    with pytest.raises(ConfigError, match=r"supervisor.toml:2:5\s+not valid TOML: invalid value"):
        load(file)


def test_loading_makes_no_folder_and_no_file(load_text: Loader, tmp_path: Path) -> None:
    load_text(MINIMAL)

    assert [entry.name for entry in tmp_path.iterdir()] == ["supervisor.toml"]
