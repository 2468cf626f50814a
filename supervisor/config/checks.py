"""Rules that no single key can tell: librdkafka's keys, dead letters that would be read again, plugins nobody lists."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from supervisor.config import kafka_keys
from supervisor.config.kafka_keys import KafkaValue, milliseconds
from supervisor.config.limit_specs import check_limits
from supervisor.config.models import Defaults, Group
from supervisor.config.problems import KeyPath, key_text
from supervisor.config.references import is_secret_key
from supervisor.config.retry_checks import check_retry, check_retry_topics
from supervisor.config.source import Source
from supervisor.config.values import KAFKA_NAME_LENGTH, compile_pattern, decoder_plugin, is_pattern
from supervisor.core.suggest import closest

TYPO = 0.8
"""So like a plugin that nobody wrote must a name be to be meant for it: no other plugin's name is."""


def check_kafka_table(source: Source, table: Mapping[str, Any], path: KeyPath) -> None:
    """Report keys of one pass-through table that the supervisor owns, and values librdkafka cannot take."""
    for key, value in table.items():
        where = (*path, key)
        instead = kafka_keys.owned(key)
        if instead:
            source.report(where, "the supervisor sets this key itself", instead)
        elif isinstance(value, list):
            source.report(where, "librdkafka takes no lists", 'write one string with commas: "a:9092,b:9092"')
        elif not isinstance(value, str | int | float | bool):
            source.report(where, "librdkafka takes a string, a number, true or false", 'write it in quotes: "..."')


def check_values(source: Source, values: Defaults, where: Callable[..., KeyPath]) -> None:
    """Report keys that do not fit each other; ``where`` says in which table a key stands."""
    check_retry(source, values, where)
    if values.restart.initial > values.restart.max:
        source.report(where("restart"), "initial is longer than max", "raise max, or lower initial")
    if values.batch.size > values.queue_records:
        size, queue = where("batch", "size"), where("queue_records")
        text = f"batch.size ({values.batch.size}) is above queue_records ({values.queue_records})"
        source.report(size if source.has(size) else queue, text, "raise queue_records, or lower batch.size")
    _check_delivery(source, values, where)
    check_limits(source, values.limits, where)


def _check_delivery(source: Source, values: Defaults, where: Callable[..., KeyPath]) -> None:
    mode, delivery, metadata = where("commit", "mode"), where("delivery"), where("commit", "metadata")
    exactly_once, automatic = values.delivery == "exactly-once", values.commit.mode == "automatic"
    if exactly_once and automatic:
        text = 'commit.mode = "automatic" does not go with delivery = "exactly-once": transactions commit the offsets'
        source.report(mode if source.has(mode) else delivery, text, 'write mode = "manual", or leave it out')
    if exactly_once and values.idempotency.store:
        store = where("idempotency", "store")
        text = 'not with delivery = "exactly-once": what a transaction takes back would be remembered as done'
        source.report(store if source.has(store) else delivery, text, "leave out one of both")
    if values.commit.metadata and automatic:
        text = 'not with commit.mode = "automatic": librdkafka\'s timer commits only offsets that moved'
        source.report(metadata if source.has(metadata) else mode, text, 'write commit.mode = "manual"')
    if values.commit.metadata and exactly_once:
        text = 'not with delivery = "exactly-once": what is settled above the committed offset has not been sent yet'
        source.report(metadata if source.has(metadata) else delivery, text, "leave it out")


def check_group_values(source: Source, name: str, group: Group) -> None:
    """Report keys of a group that do not fit each other, where they stand: its own table, or ``[defaults]``."""
    check_values(source, group, lambda *key: _setting(source, name, *key))


def check_handler(source: Source, name: str, table: Mapping[str, Any]) -> None:
    """Report a group whose table, as written, names nothing that works its records."""
    if not table.get("handler") and not table.get("plugins"):
        text = "neither a handler nor plugins: nothing would work the records"
        instead = 'write handler = "module:function", or list a plugin with a process hook'
        source.report(("groups", name), text, instead)


def check_group_kafka(source: Source, name: str, group: Group, kafka: Mapping[str, KafkaValue]) -> None:
    """Report what is wrong with the keys one group ends up with, over all tables they come from."""
    if not str(kafka.get("bootstrap.servers", "")).strip():
        text = "nobody says where Kafka is"
        source.report(("kafka", "bootstrap.servers"), text, '"bootstrap.servers" = "host:9092" under [kafka]')
    if group.delivery == "exactly-once" and str(kafka.get("isolation.level")) == "read_uncommitted":
        # librdkafka then reads committed offsets past open transactions, and the next owner would work again.
        text = f'not with delivery = "exactly-once" of [groups.{name}]: what is being committed would be done again'
        source.report(_origin(source, name, "isolation.level"), text, "leave this key out")
    if source.is_reported(_setting(source, name, "protocol")):
        return
    if group.protocol == "consumer":
        for key in kafka_keys.NOT_WITH_CONSUMER.keys() & kafka.keys():
            text = f'not with protocol = "consumer" of [groups.{name}]'
            instead = kafka_keys.NOT_WITH_CONSUMER[key]
            source.report(
                _origin(source, name, key), text, f"{instead}; for classic groups, put it in their kafka table"
            )
        return
    if kafka_keys.ONLY_WITH_CONSUMER in kafka:
        where = _origin(source, name, kafka_keys.ONLY_WITH_CONSUMER)
        source.report(
            where, "has no effect in a classic group", 'write "partition.assignment.strategy", or leave it out'
        )
    _check_classic_times(source, name, group, kafka)


def _check_classic_times(source: Source, name: str, group: Group, kafka: Mapping[str, KafkaValue]) -> None:
    times = (
        ("session.timeout.ms", kafka_keys.SESSION_TIMEOUT_MS),
        ("max.poll.interval.ms", kafka_keys.MAX_POLL_INTERVAL_MS),
        ("heartbeat.interval.ms", kafka_keys.HEARTBEAT_INTERVAL_MS),
    )
    values = [milliseconds(kafka, key, default) for key, default in times]
    for (key, _), value in zip(times, values, strict=True):
        if value is None:
            source.report(_origin(source, name, key), "not a whole number of milliseconds", "write it as 45000")
    session, poll, heartbeat = values
    if session is None or poll is None or heartbeat is None:
        return
    if poll < session:
        key = "max.poll.interval.ms" if "max.poll.interval.ms" in kafka else "session.timeout.ms"
        text = f"max.poll.interval.ms ({poll}) is below session.timeout.ms ({session}): librdkafka refuses that"
        source.report(_origin(source, name, key), text, "raise max.poll.interval.ms, or lower session.timeout.ms")
    if group.revoke_timeout * 1000 >= poll:
        text = "not below max.poll.interval.ms: the member would be thrown out while it waits"
        source.report(_setting(source, name, "revoke_timeout"), text, f"write less than {poll / 1000:g}s")
    if heartbeat * 3 > session:
        text = f"fewer than three heartbeats ({heartbeat} ms each) fit in session.timeout.ms ({session})"
        source.warn(_origin(source, name, "session.timeout.ms"), text, "raise it, or lower heartbeat.interval.ms")
    if group.failover_after * 1000 >= session:
        text = f"not below session.timeout.ms ({session}): brokers give a dead slot's partitions away before that"
        source.warn(_setting(source, name, "failover_after"), text, "lower failover_after, or raise session.timeout.ms")


def check_patterns(source: Source, name: str, group: Group) -> None:
    """Report patterns that take in Kafka's own topics: their records would reach the handler (both protocols)."""
    for index, topic in enumerate(group.topics):
        if not is_pattern(topic):
            continue
        compiled = compile_pattern(topic)
        matches = compiled.fullmatch if group.protocol == "consumer" else compiled.match
        found = next((one for one in kafka_keys.INTERNAL_TOPICS if matches(one)), "")
        if found:
            path = ("groups", name, "topics")
            where = (*path, index) if source.has((*path, index)) else path
            text = f"the pattern matches Kafka's own topic {found}"
            source.report(where, text, 'begin it so that it leaves those out: "^[^_].*", or name the topics')


def check_dead_letters(source: Source, name: str, group: Group) -> None:
    """Report dead letters that would come back to their own group, and a fallback that is no second way."""
    letters = group.dead_letters
    where = _setting(source, name, "dead_letters", "topic")
    if letters.fallback and letters.fallback == letters.sink:
        fallback = _setting(source, name, "dead_letters", "fallback")
        source.report(fallback, "the same plugin as the sink", 'write another one ("dlq_file"), or leave it out')
    is_hidden = any(path[2:] == ("topics",) or path[-2:-1] == ("topics",) for path in source.references)
    is_hidden = is_hidden or any(path[-2:] == ("dead_letters", "topic") for path in source.references)
    for topic in group.topics:
        text, names, instead = _wrong_target(group, topic)
        if text:
            source.report(where, text if is_hidden else f"{text}: {names}", instead)


def _wrong_target(group: Group, topic: str) -> tuple[str, str, str]:
    """Return why dead letters of a subscription cannot go where they would, the names it is about, and the help."""
    template = group.dead_letters.topic
    if is_pattern(topic):
        example = _own_dead_letters(topic, template, whole=group.protocol == "consumer")
        if example:
            instead = 'write a name outside the pattern: topic = "dlq.{topic}", or narrow the pattern'
            return "the group's pattern matches its own dead letters, it would read them again", example, instead
        return "", "", ""
    target = template.replace("{topic}", topic)
    names = f"{topic} -> {target}"
    if target in group.topics:
        return "the group reads its own dead letters", names, 'write another topic: "{topic}.dlq"'
    if len(target) > KAFKA_NAME_LENGTH:
        return f"a dead-letter topic is longer than {KAFKA_NAME_LENGTH} characters", names, "write a shorter name"
    return "", "", ""


def _own_dead_letters(pattern: str, template: str, *, whole: bool) -> str:
    """Return a dead-letter topic that a topic pattern matches too, or an empty string.

    Tries topic names made from the pattern itself: not a proof, but it finds the patterns people write.
    ``whole``: the pattern must match the entire name (KIP-848), else its beginning (librdkafka).
    """
    compiled = compile_pattern(pattern)
    matches = compiled.fullmatch if whole else compiled.match
    for filler in ("x", "1", "x.x"):
        topic = _example(pattern, filler)
        target = template.replace("{topic}", topic)
        if matches(topic) and matches(target):
            return target
    return ""


def _example(pattern: str, filler: str) -> str:
    """Return a text the pattern may match: its first alternative, ``filler`` for whatever stands for many texts."""

    def replace(token: re.Match[str]) -> str:
        return filler if token[0][0] in "[\\." else ""

    pattern = re.sub(r"\((?:\?:)?([^()|]*)\|[^()]*\)", r"\1", pattern)
    filled = re.sub(r"\[[^\]]*\][*+?]?|\\[wd][*+?]?|\.[*+?]|\(\?:|[()^$]", replace, pattern)
    return re.sub(r"\\(.)|[*+?]", r"\1", filled).split("|")[0]


def check_retries(source: Source, groups: Mapping[str, Group]) -> None:
    """Report retry topics that cannot be, or that two groups would share."""
    check_retry_topics(source, groups, lambda name, *key: _setting(source, name, *key))


def check_plugins(
    source: Source, groups: Mapping[str, Group], alerts: tuple[str, ...], options: Mapping[str, Any]
) -> None:
    """Report plugins listed twice; warn of options for a plugin that is active nowhere."""
    named: list[tuple[str, KeyPath]] = [(one, ("supervisor", "alerts", at)) for at, one in enumerate(alerts)]
    for name, group in groups.items():
        letters = group.dead_letters
        named += [
            (letters.sink, _setting(source, name, "dead_letters", "sink")),
            (letters.fallback, _setting(source, name, "dead_letters", "fallback")),
            (decoder_plugin(group.decode), _setting(source, name, "decode")),
            (group.idempotency.store, _setting(source, name, "idempotency", "store")),
            *((one, (*_setting(source, name, "plugins"), at)) for at, one in enumerate(group.plugins)),
        ]
        _check_twice(source, _setting(source, name, "plugins"), group.plugins)
    _check_twice(source, ("supervisor", "alerts"), alerts)
    active = {one for one, _ in named if one}
    written = {one: path for one, path in reversed(named) if one and source.has(path)}
    for plugin in options:
        if plugin not in active:
            near = closest(plugin, sorted(active), likeness=TYPO) or closest(plugin, sorted(written))
            guess = f"did you mean {near!r}? else " if near else ""
            if near in written:
                guess = f"{key_text(written[near])} names {near!r}: if this one is meant, write one name in both; else "
            text = "no group and no alert lists this plugin: its options have no effect"
            source.warn(("plugins", plugin), text, f"{guess}list it in plugins, sink, fallback or alerts")


def _check_twice(source: Source, path: KeyPath, plugins: tuple[str, ...]) -> None:
    for index, plugin in enumerate(plugins):
        if plugin in plugins[:index]:
            source.report((*path, index), "listed twice", "leave it out: each plugin runs once")


def warn_of_readable_secrets(source: Source, tables: Mapping[KeyPath, Mapping[str, Any]]) -> None:
    """Warn of secrets written in clear; the caller knows that others may read the file."""
    for path, table in tables.items():
        for key, value in table.items():
            where = (*path, key)
            if is_secret_key(key) and isinstance(value, str) and value and where not in source.references:
                text = "a secret in a file that others may read"
                source.warn(where, text, 'write "${NAME}" or "file:/path", or take the right to read from others')


def _origin(source: Source, name: str, key: str) -> KeyPath:
    """Return where a group's librdkafka key comes from."""
    for path in (("groups", name, "kafka", key), ("defaults", "kafka", key)):
        if source.has(path):
            return path
    return ("kafka", key)


def _setting(source: Source, name: str, *key: str) -> KeyPath:
    """Return where a group's setting comes from: its own table unless only ``[defaults]`` has it."""
    own, shared = ("groups", name, *key), ("defaults", *key)
    return shared if source.has(shared) and not source.has(own) else own
