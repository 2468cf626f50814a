from pathlib import Path

import pytest

from supervisor.config import ConfigError, load
from tests.unit.config.texts import GROUP, KAFKA, MINIMAL, Checker


def test_an_error_says_where_what_was_found_and_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text(MINIMAL + 'ordering = "keys"\nworkers = 0\n')

    with pytest.raises(ConfigError) as caught:
        load(file, environ={})

    assert str(caught.value).replace(str(file), "supervisor.toml") == (
        "supervisor.toml: 2 problems\n"
        '  supervisor.toml:6  groups.orders.ordering = "keys"\n'
        '    not one of "partition", "key", "none"\n'
        '    help: did you mean "key"?\n'
        "  supervisor.toml:7  groups.orders.workers = 0\n"
        "    a group needs at least 1 worker\n"
        "    help: remove the group, or set enabled = false"
    )


def test_every_problem_of_every_table_is_reported_at_once(problems: Checker) -> None:
    found = problems(
        '[supervisor]\nlog_level = "loud"\n'
        '[kafka]\n"group.id" = "x"\n'
        "[defaults]\nconcurrency = 0\n"
        '[groups.a]\nhandler = "a"\ntopics = ["a", "b c"]\n'
        '[groups.b]\nhandler = "a:b"\ntopics = ["b", "b.dlq"]\n'
        '[groups.b.kafka]\nerror_cb = "x"\n'
        "[grups]\n"
    )

    assert set(found) == {
        "supervisor.log_level",
        'kafka."group.id"',
        'kafka."bootstrap.servers"',
        "defaults.concurrency",
        "groups.a.handler",
        "groups.a.topics[1]",
        "groups.b.dead_letters.topic",
        "groups.b.kafka.error_cb",
        "grups",
    }


def test_what_a_group_lacks_is_told_beside_what_is_wrong_in_it(problems: Checker) -> None:
    lacking = problems('[groups.a]\nordering = "keys"\nworkers = 0\n')
    unfit = problems('[groups.a]\ntopics = 3\nhandler = "a"\nretry.initial = "1m"\nbatch.size = 50000\n')

    assert set(lacking) == {
        'kafka."bootstrap.servers"',
        "groups.a",
        "groups.a.topics",
        "groups.a.ordering",
        "groups.a.workers",
    }
    assert set(unfit) == {
        'kafka."bootstrap.servers"',
        "groups.a.topics",
        "groups.a.handler",
        "groups.a.retry",
        "groups.a.batch.size",
    }


def test_values_of_the_defaults_that_do_not_fit_each_other_are_told_once(problems: Checker) -> None:
    two = GROUP + GROUP.replace("groups.orders", "groups.more")

    found = problems(KAFKA + '[defaults]\nretry.initial = "1m"\nbatch.size = 50000\n' + two)

    assert list(found) == ["defaults.retry", "defaults.batch.size"]


def test_nothing_is_concluded_from_a_protocol_that_is_wrong_itself(problems: Checker) -> None:
    text = MINIMAL + 'protocol = "consume"\n[groups.orders.kafka]\n"group.remote.assignor" = "uniform"\n'

    assert list(problems(text)) == ["groups.orders.protocol"]


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("workers = 4.0", "workers", "a whole number"),
        ('workers = "4"', "workers", "a whole number"),
        ("workers = true", "workers", "a whole number"),
        ("workers = 5000", "workers", "more than 1024"),
        ("workers = { min = 1, max = 8 }", "workers", "the keys min, max and target_lag"),
        ("workers = { min = 1, max = 8, target_lag = 9, cool = 1 }", "workers", "may have cooldown, grow_every"),
        ("workers = { min = 1, max = 8, target_lag = 9, cooldown = 60 }", "workers", "needs a unit"),
        ('workers = { min = 1, max = 8, target_lag = 9, grow_every = "1x" }', "workers", "not a duration"),
        ("workers = { min = 8, max = 1, target_lag = 10 }", "workers", "max is less than min"),
        ("workers = { min = 0, max = 1, target_lag = 10 }", "workers", "at least 1 worker"),
        ("workers = { min = 1, max = 5000, target_lag = 10 }", "workers", "more than 1024"),
        ("workers = { min = 1, max = 8, target_lag = 0 }", "workers", "1 or more"),
        ('workers = { min = 1, max = 8, target_lag = "10k" }', "workers", "1 or more"),
        ('enabled = "yes"', "enabled", "true or false"),
        ("enabled = 1", "enabled", "true or false"),
        ("handler_timeout = 30", "handler_timeout", 'write "30s"'),
        ('handler_timeout = "30"', "handler_timeout", "a number with a unit"),
        ('handler_timeout = "0s"', "handler_timeout", "above zero"),
        ('handler_timeout = "9999d"', "handler_timeout", "longer than a year"),
        ("handler_timeout = true", "handler_timeout", "not a duration"),
        ("queue_bytes = 1024", "queue_bytes", '"16MiB"'),
        ('queue_bytes = "16"', "queue_bytes", '"16MiB"'),
        ('queue_bytes = "1B"', "queue_bytes", "less than 1024"),
        ('ordering = "prtition"', "ordering", 'did you mean "partition"?'),
        ("ordering = 1", "ordering", 'write "partition"'),
        ("max_gap = 0", "max_gap", "less than 1"),
        ('plugins = "mine"', "plugins", "in brackets"),
        ('plugins = ["a", "a"]', "plugins[1]", "listed twice"),
        ('plugins = ["a b"]', "plugins[0]", "name of a plugin"),
        ("plugins = [1]", "plugins[0]", "in quotes"),
        ("retry = 3", "retry", "a table is wanted"),
        ('retry.initial = "1m"', "retry", "initial is longer than max"),
        ("retry.jitter = 1.5", "retry.jitter", "more than 1"),
        ('retry.factor = "2"', "retry.factor", "a number is wanted"),
        ('retry.permanent = ["ValueError"]', "retry.permanent[0]", "builtins:ValueError"),
        ("retry.rules = 3", "retry.rules", "a list is wanted"),
        ("retry.rules = [{ attempts = 2 }]", "retry.rules[0].error", "shop.errors:Busy"),
        ('retry.rules = [{ error = "Busy" }]', "retry.rules[0].error", "builtins:ValueError"),
        ('retry.rules = [{ error = "a:B", the = "drop" }]', "retry.rules[0].the", "did you mean 'then'?"),
        ('retry.rules = [{ error = "a:B", then = "droop" }]', "retry.rules[0].then", 'did you mean "drop"?'),
        ('retry.rules = [{ error = "a:B", initial = "1m" }]', "retry.rules[0]", "initial is longer than max"),
        ('retry.then = "topic"', "retry.then", "there are no retry topics"),
        ('retry.rules = [{ error = "a:B", then = "topic" }]', "retry.rules[0].then", "there are no retry topics"),
        ('retry.topics = ["5s"]', "retry.topics", 'write ordering = "none", or retry.reorder = true'),
        ('retry = { reorder = true, topics = ["1m", "5s"] }', "retry.topics", "longer than the one before"),
        ('retry = { reorder = true, topics = ["0s"] }', "retry.topics[0]", "above zero"),
        ('retry.topic = "{topic}.retry"', "retry.topic", "tell retry topics apart"),
        ('retry.topic = "{topic}.{delay}.{slot}"', "retry.topic", "placeholders are"),
        ('retry.topic = "{topic}.{delay}#"', "retry.topic", "not a name Kafka"),
        ('retry.then = "retry"', "retry.then", 'write "dead-letter"'),
        ('dead_letters.sink = ""', "dead_letters.sink", "name of a plugin"),
        ('dead_letters.fallback = "dlq_kafka"', "dead_letters.fallback", "same plugin as the sink"),
        ('dead_letters.topic = "{group}.dlq"', "dead_letters.topic", "the only placeholder"),
        ('dead_letters.topic = "a b"', "dead_letters.topic", "not a name Kafka takes"),
        ('commit.mode = "auto"', "commit.mode", 'did you mean "automatic"?'),
        (
            "commit = { mode = 'automatic', metadata = true }",
            "commit.metadata",
            'not with commit.mode = "automatic": librdkafka\'s timer commits only offsets that moved',
        ),
        ("batch.size = 50000", "batch.size", "batch.size (50000) is above queue_records (10000)"),
        ("queue_records = 10", "queue_records", "batch.size (500) is above queue_records (10)"),
        ("attempts = 3", "attempts", "retry.attempts"),
        ("worker = 3", "worker", "workers"),
        ("retry.attemps = 3", "retry.attemps", "attempts"),
        ("xyzzy = 3", "xyzzy", "known here: "),
        ('auto.offset.reset = "latest"', "auto", "[groups.NAME.kafka]"),
        ('"auto.offset.reset" = "latest"', '"auto.offset.reset"', "[groups.NAME.kafka]"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_write(problems: Checker, line: str, key: str, words: str) -> None:
    found = problems(MINIMAL + line + "\n")

    name = f"groups.orders.{key}" if key else "groups.orders"
    assert list(found) == [name]
    assert words in f"{found[name].text}\n{found[name].help}"
    assert found[name].line == (6 if key else 3)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (KAFKA, "groups", "no group is configured"),
        (KAFKA + "[groups.a]\nhandler = 'a:b'\n", "groups.a.topics", "say what to read"),
        (KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = []\n", "groups.a.topics", "at least one"),
        (KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = 'a'\n", "groups.a.topics", "begins with ^"),
        (KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = '^(?!x).*'\n", "groups.a.topics", "no look-ahead"),
        (KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = '^[a'\n", "groups.a.topics", "not a regular expression"),
        (KAFKA + "[groups.a]\ntopics = ['a']\n", "groups.a", "neither a handler nor plugins"),
        (KAFKA + "[groups.a]\nhandler = 'a.b.c'\ntopics = ['a']\n", "groups.a.handler", "module:attribute"),
        (KAFKA + GROUP.replace("groups.orders", "groups.'a b'"), 'groups."a b"', "not a name for a group"),
        (KAFKA + GROUP.replace("groups.orders", "groups.'..'"), 'groups.".."', "not a name for a group"),
        (KAFKA + GROUP.replace("groups.orders", "groups.'a/b'"), 'groups."a/b"', "not a name for a group"),
        (KAFKA + "groups = 3\n", "kafka.groups", ""),
        ("groups = 3\n" + KAFKA, "groups", "a table is wanted"),
        (KAFKA + "[groups]\na = 3\n", "groups.a", "a table is wanted"),
        (MINIMAL + "[kafk]\n", "kafk", "did you mean 'kafka'?"),
        ("[supervisor]\nname = 'a b'\n" + MINIMAL, "supervisor.name", "not a name Kafka takes"),
        ("[supervisor]\nalerts = ['a', 'a']\n" + MINIMAL, "supervisor.alerts[1]", "listed twice"),
        ("[defaults]\nhandler = 'a:b'\n" + MINIMAL, "defaults.handler", "move it into [groups.NAME]"),
        (MINIMAL + "[plugins]\nslack = 'x'\n", "plugins.slack", "a table is wanted"),
    ],
)
def test_a_wrong_table_is_refused_with_what_to_write(problems: Checker, text: str, key: str, words: str) -> None:
    found = problems(text)

    assert key in found or not words
    assert not words or words in f"{found[key].text}\n{found[key].help}"


def test_a_wrong_default_is_told_once_and_where_it_stands(problems: Checker) -> None:
    two = GROUP + GROUP.replace("groups.orders", "groups.more")

    found = problems(KAFKA + "[defaults.retry]\nattempts = 0\n" + two)

    assert list(found) == ["defaults.retry.attempts"]


def test_a_group_that_overrides_a_wrong_default_wrongly_is_told_too(problems: Checker) -> None:
    found = problems(KAFKA + "[defaults]\nworkers = 0\n" + GROUP + "workers = -1\n")

    assert set(found) == {"defaults.workers", "groups.orders.workers"}


@pytest.mark.parametrize(
    ("topics", "template", "refused"),
    [
        ("['a', 'a.dlq']", "{topic}.dlq", True),
        ("['a', 'dead']", "dead", True),
        ("['a']", "a", True),
        ("['a', 'b.dlq']", "{topic}.dlq", False),
        ("'^orders.*'", "{topic}.dlq", True),
        ("'^orders\\..*'", "{topic}.dlq", True),
        ("'^orders'", "{topic}.dlq", True),
        ("'^.*\\.events$'", "{topic}.dlq", False),
        ("'^orders-[a-z]+$'", "{topic}.dlq", False),
        ("'^orders\\..*'", "dlq.{topic}", False),
        ("'^dead.*'", "dead.all", True),
        ("'^.*'", "dlq.{topic}", True),
        ("'^(orders|payments)\\.[a-z.]+$'", "{topic}.dlq", True),
    ],
)
def test_dead_letters_may_not_come_back_to_their_own_group(
    problems: Checker, topics: str, template: str, refused: bool
) -> None:
    found = problems(KAFKA + f"[groups.a]\nhandler = 'a:b'\ntopics = {topics}\ndead_letters.topic = '{template}'\n")

    assert [key for key in found if key != "groups.a.topics"] == (["groups.a.dead_letters.topic"] if refused else [])


@pytest.mark.parametrize(
    ("topics", "protocol", "where"),
    [
        ("'^[a-z_]+$'", "classic", "groups.a.topics"),
        ("'^[a-z_]+'", "consumer", "groups.a.topics"),
        ("['a', '^__.*']", "classic", "groups.a.topics[1]"),
        ("'^_'", "classic", "groups.a.topics"),
        ("'^_'", "consumer", None),
        ("'^[^_][a-z_]*$'", "classic", None),
        ("['__consumer_offsets']", "classic", None),
    ],
)
def test_a_pattern_may_not_take_in_kafkas_own_topics(
    problems: Checker, topics: str, protocol: str, where: str | None
) -> None:
    group = f"[groups.a]\nhandler = 'a:b'\ntopics = {topics}\nprotocol = '{protocol}'\n"

    found = problems(KAFKA + group + "dead_letters.topic = 'dlq.{topic}'\n")

    assert list(found) == ([] if where is None else [where])
    assert where is None or "__consumer_offsets" in found[where].text


def test_a_consumer_protocol_pattern_must_match_the_whole_name(problems: Checker) -> None:
    text = KAFKA + "[groups.a]\nhandler = 'a:b'\ntopics = '^orders'\n"

    assert "groups.a.dead_letters.topic" in problems(text)
    assert problems(text + "protocol = 'consumer'\n") == {}


def test_a_control_socket_that_no_kernel_takes_is_refused(problems: Checker) -> None:
    fits, too_long = "/" + "r" * 93, "/" + "r" * 94

    assert problems(f"[supervisor]\nruntime_dir = '{fits}'\n" + MINIMAL) == {}
    found = problems(f"[supervisor]\nruntime_dir = '{too_long}'\n" + MINIMAL)
    assert "108 bytes" in found["supervisor.runtime_dir"].text


def test_member_ids_that_kafka_would_refuse_are_refused(problems: Checker) -> None:
    text = f"[supervisor]\nname = '{'n' * 200}'\n" + KAFKA + GROUP.replace("groups.orders", f"groups.{'g' * 60}")

    assert "member ids" in problems(text)[f"groups.{'g' * 60}"].text


def test_options_of_a_plugin_nobody_lists_bring_a_warning(load_text: object, tmp_path: Path) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text("[supervisor]\nalerts = ['slack']\n" + MINIMAL + "[plugins.slak]\nx = 1\n[plugins.slack]\nx = 1\n")

    (warning,) = load(file, environ={}).warnings

    assert warning.key == "plugins.slak"
    assert "supervisor.alerts[0] names 'slack': if this one is meant, write one name in both" in warning.help


def test_a_range_of_workers_needs_somebody_who_asks_for_the_lag(problems: Checker) -> None:
    text = '[supervisor]\nlag_interval = "0s"\n' + MINIMAL + "workers = { min = 1, max = 8, target_lag = 10 }\n"

    assert list(problems(text)) == ["groups.orders.workers"]


@pytest.mark.parametrize("platform", ["darwin", "freebsd14"])
def test_workers_cannot_be_forked_where_there_is_no_linux(tmp_path: Path, platform: str) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text('[supervisor]\nstart_method = "fork"\n' + MINIMAL)

    with pytest.raises(ConfigError) as refused:
        load(file, environ={}, platform=platform)

    (problem,) = refused.value.problems
    assert (problem.key, problem.line, problem.found) == ("supervisor.start_method", 2, '"fork"')
    assert platform in problem.text
    assert 'start_method = "exec"' in problem.help


@pytest.mark.parametrize(("method", "platform"), [("fork", "linux"), ("exec", "linux"), ("exec", "darwin")])
def test_every_other_way_to_start_workers_is_taken(tmp_path: Path, method: str, platform: str) -> None:
    file = tmp_path / "supervisor.toml"
    file.write_text(f'[supervisor]\nstart_method = "{method}"\n' + MINIMAL)

    assert load(file, environ={}, platform=platform).supervisor.start_method == method
