"""A KIP-848 group: the coordinator moves partitions one member at a time; members are dynamic."""

from dataclasses import dataclass, field

from tests.simulation.broker import Broker, Client, Place, share_out
from tests.simulation.classic import UNKNOWN, Owner


@dataclass(frozen=True, slots=True)
class Beat:
    """What the coordinator answers to a heartbeat; ``assigned`` is all that the member may own now."""

    code: str | None
    member: str = ""
    epoch: int = 0
    assigned: tuple[Place, ...] = ()


@dataclass(slots=True, eq=False)
class ModernMember:
    """What the coordinator knows of one member. ``current`` is what it may own until it says that it gave it up."""

    name: str
    seen: float
    epoch: int = 0
    current: set[Place] = field(default_factory=set)
    target: set[Place] = field(default_factory=set)


class ModernGroup:
    """The coordinator's half."""

    def __init__(self, broker: Broker, *, session: float) -> None:
        self.broker = broker
        self.machine = broker.machine
        self.members: dict[str, ModernMember] = {}
        self._epoch = 0
        self._names = 0
        self._session = session
        self._owner: dict[Place, str] = {}
        broker.group = self
        self.machine.at(session / 4, self._expire)

    def beat(self, name: str | None, owned: frozenset[Place]) -> Beat:
        """Take a heartbeat, which is also a join, and what says that partitions were given up."""
        if name is None:
            self._names += 1
            name = f"n{self._names}"
            self.members[name] = ModernMember(name, self.machine.now)
            self._retarget()
        member = self.members.get(name)
        if member is None:
            return Beat(UNKNOWN)
        member.seen = self.machine.now
        leaving = member.current - member.target
        if leaving & owned:
            return Beat(None, name, member.epoch, tuple(sorted(member.current & member.target)))
        for place in leaving:
            self._owner.pop(place, None)
        member.current -= leaving
        gained = {place for place in member.target if self._owner.get(place, name) == name}
        self._owner.update(dict.fromkeys(gained, name))
        member.current |= gained
        member.epoch = self._epoch
        return Beat(None, name, member.epoch, tuple(sorted(member.current)))

    def leave(self, name: str | None) -> None:
        """Take a member out for good."""
        member = self.members.pop(name or "", None)
        if member is None:
            return
        self.machine.note("group", "without", member.name)
        for place in member.current:
            self._owner.pop(place, None)
        self._retarget()

    def check_commit(self, identity: tuple[str, str | None, int]) -> str | None:
        """See ``broker.Group``."""
        name, _, epoch = identity
        member = self.members.get(name)
        if member is None:
            return UNKNOWN
        return None if member.epoch == epoch else "STALE_MEMBER_EPOCH"

    def forgive(self) -> None:
        """See ``broker.Group``."""
        for member in self.members.values():
            member.seen = self.machine.now

    def share_anew(self) -> None:
        """See ``broker.Group``."""
        self._retarget()

    def _retarget(self) -> None:
        self._epoch += 1
        for name, places in share_out(sorted(self.broker.logs), list(self.members), self._owner).items():
            self.members[name].target = set(places)

    def _expire(self) -> None:
        self.machine.at(self._session / 4, self._expire)
        if self.broker.is_away:
            return
        late = self.machine.now - self._session
        for member in list(self.members.values()):
            if member.seen < late:
                self.leave(member.name)


class ModernMembership:
    """The client's half."""

    def __init__(self, client: Client, owner: Owner, group: ModernGroup, *, beat: float) -> None:
        self._client = client
        self._owner = owner
        self._group = group
        self._broker = group.broker
        self._beat = beat
        self._name: str | None = None
        self._epoch = 0
        self._is_in = False
        self._is_asking = False
        self._told: frozenset[Place] = frozenset()
        """The assignment that is being served, or was last: another that comes meanwhile is told again."""
        self._broker.machine.at(beat, self._tick)

    @property
    def identity(self) -> tuple[str, str | None, int]:
        """What a commit carries."""
        return (self._name or "", None, self._epoch)

    def join(self) -> None:
        """Join the group."""
        self._is_in = True
        self._ask()

    def served(self, *, gave_up: bool) -> None:
        """Tell the coordinator at once what was given up."""
        if self._is_in and (gave_up or self._name is None):
            self._ask()

    def leave(self) -> None:
        """Leave for good."""
        self._is_in = False
        name, self._name = self._name, None
        if name is not None:
            self._broker.ask(self._client, lambda: self._group.leave(name), lambda _: None)

    stay_behind = leave

    def _tick(self) -> None:
        if self._client.is_gone or not self._client.process.is_alive:
            return
        self._broker.machine.at(self._beat, self._tick)
        if not self._client.process.is_frozen:
            self._ask()

    def _ask(self) -> None:
        if not self._is_in or self._is_asking or (self._name is None and self._owner.is_busy):
            return
        self._is_asking = True
        # What was assigned and is not served yet, is not given up either.
        name, owned = self._name, self._owner.owned() | (self._told if self._owner.is_busy else frozenset())
        self._broker.ask(self._client, lambda: self._group.beat(name, owned), self._answered)

    def _answered(self, beat: Beat) -> None:
        self._is_asking = False
        if not self._is_in:
            return
        if beat.code is not None:
            self._name, self._told = None, frozenset()
            self._owner.lost()
            self._ask()
            return
        self._name, self._epoch = beat.member, beat.epoch
        if not self._owner.is_busy and set(beat.assigned) != self._owner.owned():
            self._told = frozenset(beat.assigned)
            self._owner.assigned(beat.assigned)
