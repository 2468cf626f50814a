import pytest

from supervisor.core.lag import GroupMember, lag_of, slot_of, supervisors


@pytest.mark.parametrize(
    ("committed", "begins", "lag"),
    [
        (15, "earliest", 5),
        (20, "earliest", 0),
        (25, "earliest", 0),
        (3, "earliest", 10),
        (-1, "earliest", 10),
        (-1, "latest", None),
        (-1, "stop", None),
        (0, "latest", 10),
    ],
)
def test_lag_is_what_the_group_still_has_before_it_in_ten_to_twenty(
    committed: int, begins: str, lag: int | None
) -> None:
    assert lag_of(committed, 10, 20, begins=begins) == lag


@pytest.mark.parametrize(
    ("client_id", "slot"),
    [
        ("web-1-orders-0", ("web-1", 0)),
        ("a-orders-b-orders-12", ("a-orders-b", 12)),
        ("orders-0", None),
        ("-orders-0", None),
        ("web-1-orders-x", None),
        ("rdkafka", None),
    ],
)
def test_a_slot_is_known_by_its_client_id(client_id: str, slot: tuple[str, int] | None) -> None:
    assert slot_of(client_id, "orders") == slot


def test_other_supervisors_are_counted_once_whatever_their_slots() -> None:
    members = [
        GroupMember("a-orders-0", "/10.0.0.1", 1, is_ours=True),
        GroupMember("b-orders-0", "/10.0.0.2", 1),
        GroupMember("b-orders-1", "/10.0.0.2", 1),
        GroupMember("rdkafka", "/10.0.0.3", 1),
        GroupMember("rdkafka", "/10.0.0.4", 1),
    ]

    assert supervisors(members, "orders", own="a") == 4
    assert supervisors([], "orders", own="a") == 1
