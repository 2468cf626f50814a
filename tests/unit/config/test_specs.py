import json
from pathlib import Path

import pytest

from supervisor.config import (
    group_spec,
    inspector_spec,
    notifier_spec,
    plugins_request,
    scaling_rules,
    slot_policy,
    worker_spec,
)
from supervisor.core.autoscale import WorkerRange
from supervisor.core.backoff import Backoff
from supervisor.core.jsonable import from_json, to_json
from supervisor.core.retry_topics import subscription
from supervisor.core.spec import Mode, Ordering, PluginSpec, RetryRule, RetryTier, Then, WorkerSpec
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Loader


@pytest.mark.parametrize(
    ("decode", "plugin"),
    [
        ("bytes", ""),
        ("json", "decode_json"),
        ("json-schema", "decode_json_schema"),
        ("shop.codec:Codec", "shop.codec:Codec"),
    ],
)
def test_decode_names_a_plugin_of_the_workers_by_its_short_name_or_its_own(
    load_text: Loader, decode: str, plugin: str
) -> None:
    spec = group_spec(load_text(MINIMAL + f'decode = "{decode}"\n'), "orders")

    assert spec.decoder == plugin
    assert plugin in {"", *(one.target for one in spec.plugins.plugins)}


def test_a_group_gets_its_plugins_its_sink_and_its_fallback_with_their_options(load_text: Loader) -> None:
    config = load_text(
        MINIMAL
        + 'plugins = ["a", "dlq_file"]\ndead_letters.fallback = "dlq_file"\n'
        + "[plugins.a]\nx = 1\n[plugins.dlq_file]\ny = 2\n[plugins.unused]\n"
    )

    plugins = group_spec(config, "orders").plugins.plugins

    assert plugins == (PluginSpec("a", {"x": 1}), PluginSpec("dlq_file", {"y": 2}), PluginSpec("dlq_kafka"))


def test_plugins_are_looked_for_beside_the_config_and_in_its_plugins_folder(load_text: Loader, tmp_path: Path) -> None:
    assert group_spec(load_text(MINIMAL), "orders").plugins.search_path == (str(tmp_path),)

    (tmp_path / "plugins").mkdir()

    expected = (str(tmp_path), str(tmp_path / "plugins"))
    assert group_spec(load_text(MINIMAL), "orders").plugins.search_path == expected


def test_a_groups_kafka_keys_win_and_nothing_is_added(load_text: Loader) -> None:
    config = load_text(KAFKA + '"client.rack" = "a"\n' + GROUP + 'kafka."client.rack" = "b"\n')

    assert group_spec(config, "orders").kafka == {"bootstrap.servers": "127.0.0.1:9092", "client.rack": "b"}


def test_a_worker_spec_carries_all_values_and_survives_the_way_through_json(load_text: Loader, tmp_path: Path) -> None:
    text = '[supervisor]\nlog_format = "json"\nstate_dir = "s"\n' + MINIMAL
    text += 'ordering = "key"\nconcurrency = 8\nretry.attempts = 2\ncommit.mode = "automatic"\nbatch.age = "2s"\n'

    spec = worker_spec(load_text(text), "orders", slot=3, incarnation=7, mode=Mode.LEAVE, parent_pid=42)

    assert spec.instance_id == "web-1-orders-3"
    assert (spec.incarnation, spec.mode, spec.parent_pid, spec.is_static) == (7, Mode.LEAVE, 42, True)
    assert (spec.log_format, spec.orphan_grace, spec.state_dir) == ("json", 10.0, str(tmp_path / "s"))
    assert (spec.group.ordering, spec.group.concurrency) == (Ordering.KEY, 8)
    assert spec.group.retry.backoff == Backoff(initial=0.2, factor=2.0, max=30.0, jitter=1.0)
    assert (spec.group.commit.mode, spec.group.batch.age) == ("automatic", 2.0)
    assert from_json(WorkerSpec, json.loads(json.dumps(to_json(spec)))) == spec


def test_the_notifier_gets_the_alert_plugins_only(load_text: Loader) -> None:
    config = load_text('[supervisor]\nalerts = ["slack"]\n' + MINIMAL + '[plugins.slack]\nurl = "u"\n')

    spec = notifier_spec(config, 42)

    assert spec.plugins.plugins == (PluginSpec("slack", {"url": "u"}),)
    assert spec.parent_pid == 42


def test_the_parent_gets_the_numbers_it_runs_slots_by(load_text: Loader) -> None:
    config = load_text(MINIMAL + 'workers = 3\nprotocol = "consumer"\nrestart.max = "2m"\nhandler_timeout = "7s"\n')

    policy = slot_policy(config, "orders")

    assert (policy.workers, policy.is_static, policy.handler_timeout) == (3, False, 7.0)
    assert policy.backoff == Backoff(initial=1.0, factor=2.0, max=120.0, jitter=0.5)
    assert (policy.never_ready_limit, policy.start_timeout, policy.failover_after) == (5, 60.0, 5.0)


def test_plugins_of_enabled_groups_are_checked(load_text: Loader) -> None:
    config = load_text(MINIMAL + "[groups.off]\ntopics = ['a']\nhandler = 'a:b'\nenabled = false\n")

    request = json.loads(json.dumps(plugins_request(config)))

    assert list(request["groups"]) == ["orders"]
    assert request["groups"]["orders"]["handler"] == "shop.orders:process"
    assert [plugin["target"] for plugin in request["notifier"]["plugins"]] == ["alert_log"]


def test_options_are_copies(load_text: Loader) -> None:
    config = load_text(MINIMAL + "[plugins.dlq_kafka]\nx = 1\n")

    group_spec(config, "orders").plugins.plugins[0].options["x"] = 2

    assert config.plugins["dlq_kafka"] == {"x": 1}


def test_an_unknown_group_is_a_mistake_of_the_caller(load_text: Loader) -> None:
    with pytest.raises(KeyError):
        group_spec(load_text(MINIMAL), "other")


def test_a_range_of_workers_begins_with_its_least_and_says_how_it_goes_on(load_text: Loader) -> None:
    more = 'workers = { min = 2, max = 8, target_lag = 1000 }\nhandler_timeout = "5m"\n'
    config = load_text(MINIMAL + more)

    rules = scaling_rules(config, "orders")
    assert slot_policy(config, "orders").workers == 2
    assert rules is not None
    assert (rules.range, rules.stuck_after) == (WorkerRange(2, 8, 1000), 600.0)
    assert config.effective()["groups"]["orders"]["workers"] == {"min": 2, "max": 8, "target_lag": 1000}
    assert (rules.cooldown, rules.grow_every) == (300.0, 30.0)
    assert scaling_rules(load_text(MINIMAL + "workers = 3\n"), "orders") is None


def test_a_range_may_say_how_fast_it_follows_the_lag(load_text: Loader) -> None:
    times = {"cooldown": "10m", "grow_every": "1m", "stuck_after": "90s"}
    written = {"min": 1, "max": 8, "target_lag": 1000, **times}
    keys = ", ".join(f"{key} = {json.dumps(value)}" for key, value in written.items())
    config = load_text(MINIMAL + f"workers = {{ {keys} }}\n")

    rules = scaling_rules(config, "orders")

    assert rules is not None
    assert (rules.cooldown, rules.grow_every, rules.stuck_after) == (600.0, 60.0, 90.0)
    assert config.effective()["groups"]["orders"]["workers"] == written


def test_the_inspector_looks_at_the_groups_that_are_run_or_not_at_all(load_text: Loader) -> None:
    spec = inspector_spec(load_text(MINIMAL), 1)
    assert spec is not None
    assert ([group.name for group in spec.groups], spec.interval) == (["orders"], 5.0)
    assert inspector_spec(load_text('[supervisor]\nlag_interval = "0s"\n' + MINIMAL), 1) is None


def test_what_a_retry_rule_does_not_say_is_as_in_the_table_around_it(load_text: Loader) -> None:
    text = """
    [groups.orders.retry]
    attempts = 9
    jitter = 0.0
    then = "drop"
    [[groups.orders.retry.rules]]
    error = "shop:Busy"
    max = "2m"
    [[groups.orders.retry.rules]]
    error = "shop:Broken"
    attempts = 1
    then = "crash"
    """

    retry = group_spec(load_text(MINIMAL + text), "orders").retry

    assert retry.then is Then.DROP
    assert retry.rules == (
        RetryRule("shop:Busy", 9, Backoff(0.2, 2.0, 120.0, 0.0), Then.DROP),
        RetryRule("shop:Broken", 1, Backoff(0.2, 2.0, 30.0, 0.0), Then.CRASH),
    )


def test_with_retry_topics_a_record_goes_there_unless_a_rule_says_otherwise(load_text: Loader) -> None:
    text = """
    ordering = "none"
    [groups.orders.retry]
    topics = ["5s", "90s"]
    [[groups.orders.retry.rules]]
    error = "shop:Busy"
    [[groups.orders.retry.rules]]
    error = "shop:Broken"
    then = "dead-letter"
    """

    spec = group_spec(load_text(MINIMAL + text), "orders")

    assert spec.retry.tiers == (RetryTier("5s", 5.0), RetryTier("90s", 90.0))
    assert [spec.retry.then, *(rule.then for rule in spec.retry.rules)] == [Then.TOPIC, Then.TOPIC, Then.DEAD_LETTER]
    assert subscription(spec) == ("orders", "orders.retry.5s", "orders.retry.90s")
