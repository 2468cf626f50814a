from tests.unit.config.texts import KAFKA, Checker, Loader

GROUP = """
[groups.{name}]
topics = ["orders"]
handler = "shop:process"
ordering = "none"
retry.topics = ["5s"]
"""


def test_two_groups_must_not_share_retry_topics_unless_one_is_not_run(problems: Checker, load_text: Loader) -> None:
    both = KAFKA + GROUP.format(name="a") + GROUP.format(name="b")

    (problem,) = problems(both).values()

    assert problem.key == "groups.b.retry.topic"
    assert "group a has the same retry topic" in problem.text
    assert "{group}" in problem.help
    assert problems(both + "enabled = false\n") == {}
    assert problems(both + 'retry.topic = "{topic}.{group}.retry.{delay}"\n') == {}


def test_a_pattern_has_no_retry_topics(problems: Checker) -> None:
    (problem,) = problems(KAFKA + GROUP.format(name="a").replace('["orders"]', '"^orders$"')).values()

    assert problem.key == "groups.a.retry.topics"


def test_a_retry_topic_is_neither_a_topic_of_the_group_nor_its_dead_letters(problems: Checker) -> None:
    read = KAFKA + GROUP.format(name="a").replace('["orders"]', '["orders", "orders.retry.5s"]')
    letters = KAFKA + GROUP.format(name="a") + 'dead_letters.topic = "{topic}.retry.5s"\n'

    assert "one of its topics" in problems(read)["groups.a.retry.topic"].text
    assert "dead-letter topic" in problems(letters)["groups.a.retry.topic"].text


def test_reorder_lets_retry_topics_break_the_order(problems: Checker) -> None:
    keyed = KAFKA + GROUP.format(name="a").replace('"none"', '"key"')

    assert list(problems(keyed)) == ["groups.a.retry.topics"]
    assert problems(keyed + "retry.reorder = true\n") == {}
