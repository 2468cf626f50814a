"""Rules over the keys of ``[groups.NAME.retry]``: what breaks a promise, or one group's retry topics another's."""

from collections.abc import Callable, Mapping
from itertools import pairwise

from supervisor.config.models import Defaults, Group
from supervisor.config.problems import KeyPath
from supervisor.config.source import Source
from supervisor.config.values import KAFKA_NAME_LENGTH, duration_text, is_pattern
from supervisor.core.retry_topics import topic_name
from supervisor.core.spec import RetryTier

Where = Callable[..., KeyPath]


def check_retry(source: Source, values: Defaults, where: Where) -> None:
    """Report what does not fit in one group's table; ``where`` says in which table a key stands."""
    retry = values.retry
    if retry.initial > retry.max:
        source.report(where("retry"), "initial is longer than max", "raise max, or lower initial")
    for index, one in enumerate(retry.rules):
        initial = retry.initial if one.initial is None else one.initial
        longest = retry.max if one.max is None else one.max
        if initial > longest and (one.initial, one.max) != (None, None):
            at = where("retry", "rules", index)
            source.report(at, "initial is longer than max", "raise max, or lower initial")
        if one.then == "topic" and not retry.topics:
            _report_no_topics(source, where("retry", "rules", index, "then"))
    if retry.then == "topic" and not retry.topics:
        _report_no_topics(source, where("retry", "then"))
    if any(after <= before for before, after in pairwise(retry.topics)):
        text = "each delay must be longer than the one before: a record never goes back to an earlier one"
        source.report(where("retry", "topics"), text, 'write them rising: ["5s", "1m", "10m"]')
    if retry.topics and values.ordering != "none" and not retry.reorder:
        text = f'a record in a retry topic is overtaken, which ordering = "{values.ordering}" rules out'
        source.report(where("retry", "topics"), text, 'write ordering = "none", or retry.reorder = true')


def check_retry_topics(source: Source, groups: Mapping[str, Group], where: Callable[..., KeyPath]) -> None:
    """Report retry topics that cannot be, or that are something else, too; ``where`` takes the group's name first."""
    users: dict[str, str] = {}
    for name, group in groups.items():
        if not group.retry.topics:
            continue
        at = where(name, "retry", "topics")
        if any(is_pattern(topic) for topic in group.topics):
            text = "a group that reads a pattern can have no retry topics: nobody knows their names before"
            source.report(at, text, 'name the topics: topics = ["orders", "bills"]')
            continue
        for topic in dict.fromkeys(names(name, group)):
            found, instead = _wrong_name(topic, group, users.get(topic, "") if group.enabled else "")
            if found:
                source.report(where(name, "retry", "topic"), f"{found}: {topic}", instead)
            if group.enabled:
                users[topic] = name


def names(name: str, group: Group) -> list[str]:
    """Return what the retry topics of a group are called."""
    tiers = [RetryTier(duration_text(delay), delay) for delay in group.retry.topics]
    return [topic_name(group.retry.topic, name, topic, tier) for tier in tiers for topic in group.topics]


def _wrong_name(topic: str, group: Group, user: str) -> tuple[str, str]:
    if topic in group.topics:
        return "the group reads a retry topic of its own as one of its topics", 'write another name in "topic"'
    if topic in {group.dead_letters.topic.replace("{topic}", one) for one in group.topics}:
        return "a retry topic is called as a dead-letter topic", 'write another name in "topic"'
    if len(topic) > KAFKA_NAME_LENGTH:
        return f"a retry topic is longer than {KAFKA_NAME_LENGTH} characters", "write a shorter name"
    if user:
        instead = 'keep them apart: topic = "{topic}.{group}.retry.{delay}"'
        return f"group {user} has the same retry topic, each would read the other's records", instead
    return "", ""


def _report_no_topics(source: Source, at: KeyPath) -> None:
    source.report(at, "there are no retry topics", 'say how long a record waits: topics = ["5s", "1m", "10m"]')
