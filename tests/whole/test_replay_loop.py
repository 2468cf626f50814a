"""A letter that is replayed into a running group and fails again and again ends in the parking topic."""

from supervisor.core.letter_view import view
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce, read_topic
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger


def test_p7_a_letter_that_fails_after_each_replay_is_parked_and_every_step_is_told(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger
) -> None:
    for topic in (name, f"{name}.dlq"):
        create_topic(broker.bootstrap, topic)
    produce(broker.bootstrap, name, ["good", "raise", "good"], key=lambda at: b"key-%d" % at)
    program = supervise(broker, "workers = 1\nretry.attempts = 1")
    program.wait(lambda: committed(broker.bootstrap, name, name) == {0: 3}, what="all is committed")

    for replays in (1, 2):
        done = program.cli("dlq", "replay", name, "--max-replays", "2", timeout=60)
        assert done.returncode == 0, done.stderr
        program.wait(lambda: len(read_topic(broker.bootstrap, f"{name}.dlq")) == 1 + replays, what="it fails again")  # noqa: B023 - waited for here
    parked = program.cli("dlq", "replay", name, "--max-replays", "2", timeout=60)

    assert parked.returncode == 0, parked.stderr
    letters = [view(one.headers) for one in read_topic(broker.bootstrap, f"{name}.dlq")]
    assert [(letter.replays, letter.offset) for letter in letters] == [(0, 1), (1, 3), (2, 4)]
    (left,) = read_topic(broker.bootstrap, f"{name}.parked")
    assert (left.key, left.value) == (b"key-1", b"raise")
    assert left.header["supervisor.dlq.replay-of"] == f"{name}/{name}/0/1"
    ended = program.events("dlq.replayed")
    assert [(event.fields.get("sent"), event.fields.get("parked")) for event in ended] == [
        (1, None),
        (1, None),
        (None, 1),
    ]
    assert ended[0].fields["uid"] is not None
    assert ledger.offsets(0) == [0, 2]
    assert program.terminate() == 0
