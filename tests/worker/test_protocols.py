"""Both group protocols on a real broker: what the other members hear of each thing that can happen to one (P2, P3)."""

from collections.abc import Callable

import pytest

from supervisor.core.spec import GroupSpec
from tests.broker.real import RealBroker
from tests.broker.records import committed, create_topic, produce
from tests.worker.conftest import Ledger, Start
from tests.worker.direct import DirectWorker, group_spec

PARTITIONS = 6
EACH = 10
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", "consumer"])
CALLBACKS = ("partitions.assigned", "partitions.revoked", "partitions.lost")


class Group:
    """Members of one group, and what each heard since ``listen``."""

    def __init__(self, broker: RealBroker, name: str, start: Start, ledger: Ledger, protocol: str) -> None:
        self.bootstrap, self.name, self._start, self.ledger = broker.bootstrap, name, start, ledger
        # The test broker's KIP-848 session is 6 s: a client that backs off for 10 s would be thrown out.
        soon = {"reconnect.backoff.max.ms": 500}
        if protocol == "classic":
            soon["heartbeat.interval.ms"] = 300
        self.spec: GroupSpec = group_spec(
            broker.bootstrap, name, (name,), "handlers:by_value", protocol=protocol, kafka=soon
        )
        create_topic(broker.bootstrap, name, partitions=PARTITIONS)
        self.produced = 0
        self.members: dict[int, DirectWorker] = {}
        self._before: dict[int, int] = {}

    def join(self, slot: int, incarnation: int = 1) -> DirectWorker:
        self.members[slot] = self._start(self.spec, slot=slot, incarnation=incarnation)
        return self.members[slot]

    def shared_out(self) -> bool:
        """Tell whether all members have an equal share and nothing is with two or none."""
        owned = [place for member in self.members.values() for place in member.owned]
        shares = {len(member.owned) for member in self.members.values()}
        return len(owned) == len(set(owned)) == PARTITIONS and len(shares) == 1

    def settle(self) -> None:
        """Wait until all is shared out."""
        next(iter(self.members.values())).wait(self.shared_out, timeout=40)

    def work(self) -> None:
        """Have records of every partition worked and committed."""
        produce(self.bootstrap, self.name, ["good"] * PARTITIONS * EACH, partition=lambda at: at % PARTITIONS)
        self.produced += PARTITIONS * EACH
        next(iter(self.members.values())).wait(
            lambda: sum(committed(self.bootstrap, self.name, self.name).values()) == self.produced, timeout=40
        )

    def listen(self) -> None:
        self._before = {slot: len(_callbacks(member)) for slot, member in self.members.items()}

    def heard(self, *slots: int) -> list[tuple[str, str]]:
        """Return each callback in these members since ``listen``: its kind, and the partitions it was about."""
        return [one for slot in slots for one in _callbacks(self.members[slot])[self._before[slot] :]]

    def kinds(self, *slots: int) -> set[str]:
        """Return the kinds of callbacks that were about any partition."""
        return {kind.partition(".")[2] for kind, places in self.heard(*slots) if places != "none"}

    def judge(self) -> None:
        """Find nothing lost, nothing done twice, and each partition in its order."""
        for partition in range(PARTITIONS):
            assert self.ledger.offsets(partition) == list(range(self.produced // PARTITIONS))


def _callbacks(member: DirectWorker) -> list[tuple[str, str]]:
    lines = [line for line in member.log.read_text(errors="replace").splitlines() if "partitions." in line]
    return [
        (kind, line.partition("partitions=")[2].strip('"'))
        for line in lines
        for kind in CALLBACKS
        if f" {kind} " in line
    ]


Make = Callable[..., Group]


@pytest.fixture
def make(broker: RealBroker, name: str, start: Start, ledger: Ledger) -> Make:
    """Make a group whose members share six partitions and have worked: ``make(protocol, members)``."""
    return _maker(broker, name, start, ledger)


@pytest.fixture
def make_own(own_broker: RealBroker, name: str, start: Start, ledger: Ledger) -> Make:
    """Do the same on a broker of the test's own."""
    return _maker(own_broker, name, start, ledger)


def _maker(broker: RealBroker, name: str, start: Start, ledger: Ledger) -> Make:
    def made(protocol: str, members: int = 3) -> Group:
        group = Group(broker, name, start, ledger, protocol)
        for slot in range(members):
            group.join(slot)
        group.settle()
        group.work()
        group.listen()
        return group

    return made


def restarted(group: Group, how: str) -> None:
    """End slot 0 and start it again, as its supervisor does."""
    if how == "kill":
        group.members[0].kill()
    else:
        assert group.members[0].stop("keep") == 0
    group.join(0, incarnation=2)


@pytest.mark.parametrize("how", ["kill", "keep"])
def test_p2_p3_classic_members_hear_nothing_of_one_that_restarts(make: Make, how: str) -> None:
    group = make("classic")
    mine = sorted(group.members[0].owned)

    restarted(group, how)
    group.settle()
    group.work()

    assert sorted(group.members[0].owned) == mine
    assert group.heard(1, 2) == []
    group.judge()


def test_p2_p3_kip_848_members_work_a_killed_ones_partitions_after_its_session(make: Make) -> None:
    group = make("consumer")

    restarted(group, "kill")
    group.settle()  # after the broker's session timeout: a killed member of this protocol has no way to come back
    group.work()

    assert group.kinds(1, 2) <= {"assigned", "revoked"}
    group.judge()


def test_p2_p3_a_kip_848_member_that_restarts_leaves_and_joins(make: Make) -> None:
    group = make("consumer")

    restarted(group, "keep")
    group.settle()
    group.work()

    assert group.kinds(1, 2) <= {"assigned", "revoked"}
    group.judge()


@PROTOCOLS
def test_p2_p3_when_a_member_leaves_the_others_only_gain(make: Make, protocol: str) -> None:
    group = make(protocol)
    mine = {f"{topic}/{partition}" for topic, partition in group.members[0].owned}

    assert group.members.pop(0).stop("leave") == 0
    group.settle()
    group.work()

    assert group.kinds(1, 2) == {"assigned"}
    gained = [place for _, places in group.heard(1, 2) for place in places.split() if places != "none"]
    assert sorted(gained) == sorted(mine), "each of its partitions went to one of them, once"
    group.judge()


@PROTOCOLS
def test_p2_p3_when_a_member_joins_the_others_give_up_its_share_and_no_more(make: Make, protocol: str) -> None:
    group = make(protocol, 2)

    newcomer = group.join(2)
    group.settle()
    group.work()

    given = [place for kind, places in group.heard(0, 1) if kind.endswith("revoked") for place in places.split()]
    assert sorted(given) == sorted(f"{topic}/{partition}" for topic, partition in newcomer.owned)
    assert "lost" not in group.kinds(0, 1)
    group.judge()


@PROTOCOLS
@pytest.mark.parametrize("how", ["kill", "restart"])
def test_p2_p3_members_keep_what_they_have_while_the_broker_is_away(
    make_own: Make, own_broker: RealBroker, protocol: str, how: str
) -> None:
    group = make_own(protocol)
    shares = {slot: sorted(member.owned) for slot, member in group.members.items()}

    if how == "kill":
        own_broker.kill()
        own_broker.start()
    else:
        own_broker.restart()
    group.work()

    assert group.kinds(0, 1, 2) == set(), group.heard(0, 1, 2)
    assert {slot: sorted(member.owned) for slot, member in group.members.items()} == shares
    assert [member.process.poll() for member in group.members.values()] == [None] * 3
    group.judge()
