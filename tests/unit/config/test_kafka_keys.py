import pytest

from supervisor.config import worker_spec
from supervisor.config.kafka_keys import OWNED, owned
from supervisor.core.spec import Mode
from supervisor.kafka.settings import client_settings, consumer_settings, output_settings, producer_settings
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Checker, Loader


@pytest.mark.parametrize("key", [*OWNED, "error_cb", "stats_cb", "oauth_cb"])
@pytest.mark.parametrize("table", ["kafka", "defaults.kafka", "groups.orders.kafka"])
def test_keys_of_the_supervisor_are_refused_by_name_in_every_table(problems: Checker, key: str, table: str) -> None:
    text = KAFKA.replace("[kafka]\n", f"[kafka]\n'{key}' = 'x'\n") if table == "kafka" else KAFKA
    text += GROUP + ("" if table == "kafka" else f"[{table}]\n'{key}' = 'x'\n")

    (problem,) = problems(text).values()

    assert problem.key.replace('"', "") == f"{table}.{key}"
    assert problem.text == "the supervisor sets this key itself"
    assert problem.help


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("mode", ["manual", "automatic"])
def test_no_key_a_user_may_write_is_overridden_in_silence(load_text: Loader, protocol: str, mode: str) -> None:
    spec = worker_spec(
        load_text(MINIMAL + f"protocol = '{protocol}'\ncommit.mode = '{mode}'\n"),
        "orders",
        slot=0,
        incarnation=1,
        mode=Mode.WORK,
        parent_pid=1,
    )

    for make in (consumer_settings, producer_settings, output_settings):
        for key in make(spec):
            spec.group.kafka[key] = "the user's"
            if make(spec)[key] != "the user's" and key != "auto.offset.reset":  # worker.beginnings does as it says
                assert owned(key), f"{key} is set over the user's own value; refuse it in the config"
            del spec.group.kafka[key]


def test_no_client_keeps_metrics_for_brokers_unless_told_to(load_text: Loader) -> None:
    for text, pushes in ((MINIMAL, False), (MINIMAL + 'kafka."enable.metrics.push" = true\n', True)):
        spec = worker_spec(load_text(text), "orders", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=1)

        made = [make(spec) for make in (consumer_settings, producer_settings, output_settings)]
        made.append(client_settings(spec.group.kafka, client_id="c"))
        assert [settings["enable.metrics.push"] for settings in made] == [pushes] * 4


def test_every_client_finds_its_coordinator_soon_unless_told_otherwise(load_text: Loader) -> None:
    for text, backoff in ((MINIMAL, 22), (MINIMAL + 'kafka."reconnect.backoff.ms" = 100\n', 100)):
        spec = worker_spec(load_text(text), "orders", slot=0, incarnation=1, mode=Mode.WORK, parent_pid=1)

        made = [make(spec) for make in (consumer_settings, producer_settings, output_settings)]
        made.append(client_settings(spec.group.kafka, client_id="c"))
        assert [settings["reconnect.backoff.ms"] for settings in made] == [backoff] * 4


@pytest.mark.parametrize("key", ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"])
def test_classic_keys_are_refused_in_consumer_groups_wherever_they_stand(problems: Checker, key: str) -> None:
    group = GROUP + 'protocol = "consumer"\n'

    assert set(problems(KAFKA + f'"{key}" = "45000"\n' + group)) == {f'kafka."{key}"'}
    assert set(problems(KAFKA + group + f'kafka."{key}" = "45000"\n')) == {f'groups.orders.kafka."{key}"'}
    assert set(problems(KAFKA + f'[defaults.kafka]\n"{key}" = "45000"\n' + group)) == {f'defaults.kafka."{key}"'}
    assert problems(KAFKA + f'"{key}" = "45000"\n' + GROUP) == {}


def test_a_remote_assignor_without_the_consumer_protocol_is_refused(problems: Checker) -> None:
    text = KAFKA + '"group.remote.assignor" = "uniform"\n' + GROUP

    assert "has no effect" in problems(text)['kafka."group.remote.assignor"'].text
    assert problems(text + 'protocol = "consumer"\n') == {}


def test_bootstrap_servers_are_needed_once(problems: Checker) -> None:
    found = problems(GROUP + GROUP.replace("groups.orders", "groups.more"))

    assert list(found) == ['kafka."bootstrap.servers"']


def test_groups_may_each_have_a_cluster_of_their_own(problems: Checker) -> None:
    assert problems(GROUP + 'kafka."bootstrap.servers" = "a:9092"\n') == {}


def test_empty_bootstrap_servers_are_none(problems: Checker) -> None:
    assert 'kafka."bootstrap.servers"' in problems(GROUP + '[kafka]\n"bootstrap.servers" = ""\n')


@pytest.mark.parametrize(("value", "words"), [("['a:1', 'b:2']", "with commas"), ("1979-05-27", "in quotes")])
def test_values_librdkafka_cannot_take_are_refused(problems: Checker, value: str, words: str) -> None:
    found = problems(KAFKA + f"'client.rack' = {value}\n" + GROUP)

    assert words in found['kafka."client.rack"'].help


def test_max_poll_interval_below_the_session_timeout_is_refused_as_librdkafka_does(problems: Checker) -> None:
    short_poll = problems(MINIMAL + 'kafka."max.poll.interval.ms" = 30000\n')
    long_session = problems(MINIMAL + 'kafka."session.timeout.ms" = "300001"\n')

    assert list(short_poll) == ['groups.orders.kafka."max.poll.interval.ms"']
    assert list(long_session) == ['groups.orders.kafka."session.timeout.ms"']
    assert problems(MINIMAL + 'protocol = "consumer"\nkafka."max.poll.interval.ms" = 30000\n') == {}


def test_a_time_that_is_no_number_is_refused(problems: Checker) -> None:
    assert list(problems(MINIMAL + 'kafka."session.timeout.ms" = "45s"\n')) == [
        'groups.orders.kafka."session.timeout.ms"'
    ]


def test_waiting_on_revoke_longer_than_the_poll_interval_is_refused(problems: Checker) -> None:
    assert list(problems(MINIMAL + 'revoke_timeout = "5m"\n')) == ["groups.orders.revoke_timeout"]


def test_a_session_shorter_than_failover_after_brings_a_warning(load_text: Loader) -> None:
    config = load_text(MINIMAL + 'failover_after = "10s"\nkafka."session.timeout.ms" = 6000\n')

    assert [warning.key for warning in config.warnings] == ["groups.orders.failover_after"]


def test_too_few_heartbeats_in_a_session_bring_a_warning(load_text: Loader) -> None:
    config = load_text(MINIMAL + 'failover_after = "1s"\nkafka."session.timeout.ms" = 2000\n')

    assert [warning.key for warning in config.warnings] == ['groups.orders.kafka."session.timeout.ms"']


def test_p3_exactly_once_is_refused_to_consumers_that_read_past_open_transactions(problems: Checker) -> None:
    text = KAFKA + '"isolation.level" = "read_uncommitted"\n' + GROUP

    assert problems(text) == {}
    assert "exactly-once" in problems(text + 'delivery = "exactly-once"\n')['kafka."isolation.level"'].text
    fine = text.replace("read_uncommitted", "read_committed")
    assert problems(fine + 'delivery = "exactly-once"\n') == {}
