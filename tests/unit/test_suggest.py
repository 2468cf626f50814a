from supervisor.core.suggest import did_you_mean


def test_a_slip_of_the_hand_is_recognised() -> None:
    assert did_you_mean("dlq_flie", ["dlq_file", "dlq_kafka"]) == "did you mean 'dlq_file'? "


def test_only_the_closest_is_named() -> None:
    assert did_you_mean("keys", ["key", "keyed", "none"]) == "did you mean 'key'? "


def test_nothing_is_guessed_when_nothing_is_close() -> None:
    assert did_you_mean("xyz", ["partition", "key", "none"]) == ""
    assert did_you_mean("xyz", []) == ""


def test_candidates_may_come_from_an_iterator() -> None:
    assert did_you_mean("orderz", iter(["orders"])) == "did you mean 'orders'? "
