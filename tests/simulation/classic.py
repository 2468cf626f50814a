"""A classic consumer group: cooperative rebalances in two rounds (KIP-429), members static (KIP-345) or dynamic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tests.simulation.broker import Broker, Client, Place, share_out

BUSY, UNKNOWN, FENCED, STALE = "REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID", "ILLEGAL_GENERATION"


@dataclass(frozen=True, slots=True)
class Joined:
    """What a join ends in: a place in a generation, or a reason to try again."""

    code: str | None
    member: str = ""
    generation: int = 0
    assigned: tuple[Place, ...] = ()


@dataclass(slots=True, eq=False)
class Member:
    """What the coordinator knows of one member. ``claims`` is what it said it owns when it joined last."""

    name: str
    instance: str | None
    seen: float
    claims: frozenset[Place] = frozenset()
    claimed_in: int = 0
    assigned: tuple[Place, ...] = ()
    has_joined: bool = False
    reply: Callable[[Joined], None] | None = field(default=None, repr=False)


class ClassicGroup:
    """The coordinator's half, with the leader's assignor inside."""

    def __init__(self, broker: Broker, *, session: float, rebalance_timeout: float) -> None:
        self.broker = broker
        self.machine = broker.machine
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.state = "empty"
        self._static: dict[str, str] = {}
        self._session = session
        self._rebalance_timeout = rebalance_timeout
        self._round = 0
        self._names = 0
        broker.group = self
        self.machine.at(session / 4, self._expire)

    def join(
        self,
        name: str | None,
        instance: str | None,
        claims: frozenset[Place],
        generation: int,
        reply: Callable[[Joined], None],
    ) -> None:
        """Take a join; the reply comes when everybody has joined and the leader has shared out."""
        if name is not None and (refusal := self._refusal(name, instance)):
            reply(Joined(refusal))
            return
        member = self.members.get(name) if name is not None else None
        if member is None:
            self._names += 1
            member = Member(f"m{self._names}", instance, self.machine.now)
            former = self.members.pop(self._static.get(instance or "", ""), None)
            self.members[member.name] = member
            if instance is not None:
                self._static[instance] = member.name
            if former is not None and former.reply is not None:
                former.reply(Joined(FENCED))
            if former is not None and self.state == "stable":
                # The member is back before anybody missed it: its place and partitions are as they were.
                member.assigned = former.assigned
                reply(Joined(None, member.name, self.generation, member.assigned))
                return
        member.seen = self.machine.now
        member.claims, member.claimed_in = claims, generation
        member.has_joined, member.reply = True, reply
        if self.state == "preparing":
            self._complete_if_all_joined()
        else:
            self._prepare(besides=member)

    def beat(self, name: str, instance: str | None, generation: int) -> str | None:
        """Take a heartbeat."""
        refusal = self._refusal(name, instance)
        if refusal is not None:
            return refusal
        self.members[name].seen = self.machine.now
        if self.state == "preparing":
            return BUSY
        return None if generation == self.generation else STALE

    def leave(self, name: str | None) -> None:
        """Take a member out for good."""
        member = self.members.pop(name or "", None)
        if member is None:
            return
        self.machine.note("group", "without", member.name)
        if member.reply is not None:
            member.reply(Joined(UNKNOWN))
        if member.instance is not None and self._static.get(member.instance) == member.name:
            del self._static[member.instance]
        if self.state == "preparing":
            self._complete_if_all_joined()
        else:
            self._prepare()

    def leave_instance(self, instance: str) -> None:
        """Take a static member out by its id, as a helper in its name does."""
        self.leave(self._static.get(instance))

    def holes(self) -> set[Place] | None:
        """Return the partitions that belong to nobody; ``None`` while they are shared out."""
        if self.state != "stable" or self.broker.is_away:
            return None
        return set(self.broker.logs) - {place for member in self.members.values() for place in member.assigned}

    def check_commit(self, identity: tuple[str, str | None, int]) -> str | None:
        """See ``broker.Group``."""
        name, instance, generation = identity
        refusal = self._refusal(name, instance)
        if refusal is not None:
            return refusal
        self.members[name].seen = self.machine.now
        if generation != self.generation:
            return STALE
        return BUSY if self.state == "completing" else None

    def forgive(self) -> None:
        """See ``broker.Group``."""
        for member in self.members.values():
            member.seen = self.machine.now

    def share_anew(self) -> None:
        """See ``broker.Group``."""
        if self.state in {"completing", "stable"} and not self.broker.is_away:
            self._prepare()

    def _refusal(self, name: str, instance: str | None) -> str | None:
        if instance is not None and self._static.get(instance, name) != name:
            return FENCED
        return None if name in self.members else UNKNOWN

    def _prepare(self, besides: Member | None = None) -> None:
        """Begin a round: everybody has to join again."""
        self.machine.note("group", "prepares", self.generation + 1)
        self.state = "preparing"
        self._round += 1
        round_ = self._round
        for member in self.members.values():
            if member is not besides:
                self._send_back(member)
        self.machine.at(self._rebalance_timeout, lambda: self._give_up_waiting(round_))
        if self.generation == 0:
            self.machine.at(0.02, self._complete_if_all_joined)  # as group.initial.rebalance.delay.ms
        else:
            self._complete_if_all_joined()

    def _send_back(self, member: Member) -> None:
        reply, member.reply, member.has_joined = member.reply, None, False
        if reply is not None:
            reply(Joined(BUSY))

    def _give_up_waiting(self, round_: int) -> None:
        if self.state != "preparing" or self._round != round_ or self.broker.is_away:
            return
        for member in [member for member in self.members.values() if not member.has_joined]:
            self.machine.note("group", "gives up", member.name)
            self.members.pop(member.name)
            if member.instance is not None:
                self._static.pop(member.instance, None)
        self._complete_if_all_joined()

    def _complete_if_all_joined(self) -> None:
        if self.state != "preparing" or not all(member.has_joined for member in self.members.values()):
            return
        if not self.members:
            self.state = "empty"
            return
        self.generation += 1
        self.state = "completing"
        generation = self.generation
        self.machine.at(self.machine.chance.random() * 0.01, lambda: self._share_out(generation))

    def _share_out(self, generation: int) -> None:
        """Do the leader's part: what moves goes to nobody in this round, so that its owner gives it up first."""
        if self.state != "completing" or self.generation != generation:
            return
        owners: dict[Place, str] = {}
        for member in sorted(self.members.values(), key=lambda one: one.claimed_in):
            owners.update(dict.fromkeys(member.claims, member.name))
        target = share_out(sorted(self.broker.logs), list(self.members), owners)
        self.state = "stable"
        for member in self.members.values():
            member.assigned = tuple(place for place in target[member.name] if owners.get(place) in (None, member.name))
            member.seen = self.machine.now
            reply, member.reply, member.has_joined = member.reply, None, False
            if reply is not None:
                reply(Joined(None, member.name, generation, member.assigned))

    def _expire(self) -> None:
        self.machine.at(self._session / 4, self._expire)
        if self.broker.is_away:
            return
        late = self.machine.now - self._session
        for member in list(self.members.values()):
            if member.seen < late and not member.has_joined:
                self.leave(member.name)


class Owner(Protocol):
    """The consumer that a membership is of."""

    @property
    def is_busy(self) -> bool:
        """Whether a rebalance of its own has not been served by its polls yet."""

    def owned(self) -> frozenset[Place]: ...
    def assigned(self, places: Sequence[Place]) -> None: ...
    def lost(self) -> None: ...
    def die(self, text: str) -> None: ...


class ClassicMembership:
    """The client's half: librdkafka's background thread."""

    def __init__(self, client: Client, owner: Owner, group: ClassicGroup, *, instance: str | None, beat: float) -> None:
        self._client = client
        self._owner = owner
        self._group = group
        self._broker = group.broker
        self._instance = instance
        self._beat = beat
        self._name: str | None = None
        self._generation = 0
        self._is_joining = False
        self._must_join = False
        self._is_in = False
        self._broker.machine.at(beat, self._tick)

    @property
    def identity(self) -> tuple[str, str | None, int]:
        """What a commit carries."""
        return (self._name or "", self._instance, self._generation)

    def join(self) -> None:
        """Join the group, or join it again."""
        self._is_in = True
        if self._is_joining:
            return
        if self._owner.is_busy:
            self._must_join = True
            return
        self._is_joining, self._must_join = True, False
        claims, name, generation = self._owner.owned(), self._name, self._generation

        def reply(joined: Joined) -> None:
            self._broker.tell(self._client, lambda: self._joined(joined))

        self._broker.ask(
            self._client, lambda: self._group.join(name, self._instance, claims, generation, reply), lambda _: None
        )

    def served(self, *, gave_up: bool) -> None:
        """Go on after a rebalance was served: who gave something up joins again, so that others get it."""
        if self._is_in and (gave_up or self._must_join):
            self.join()

    def leave(self) -> None:
        """Leave for good."""
        self._is_in = False
        name, self._name = self._name, None
        if name is not None:
            self._broker.ask(self._client, lambda: self._group.leave(name), lambda _: None)

    def stay_behind(self) -> None:
        """Go without a word: a static member's close, which is a dynamic one's leave."""
        if self._instance is None:
            self.leave()
        self._is_in = False

    def _joined(self, joined: Joined) -> None:
        self._is_joining = False
        if not self._is_in:
            return
        match joined.code:
            case None:
                self._name, self._generation = joined.member, joined.generation
                self._owner.assigned(joined.assigned)
            case "FENCED_INSTANCE_ID":
                self._owner.die(f"Static consumer fenced by other consumer with same group.instance.id: {joined.code}")
            case "UNKNOWN_MEMBER_ID":
                self._name = None
                self._lose()
            case _:
                self.join()

    def _tick(self) -> None:
        machine, process = self._broker.machine, self._client.process
        if self._client.is_gone or not process.is_alive:
            return
        machine.at(self._beat, self._tick)
        if self._is_in and self._name is not None and not self._is_joining and not process.is_frozen:
            name, generation = self._name, self._generation
            self._broker.ask(self._client, lambda: self._group.beat(name, self._instance, generation), self._beaten)

    def _beaten(self, code: str | None) -> None:
        if self._is_joining or not self._is_in:
            return
        match code:
            case "REBALANCE_IN_PROGRESS":
                self.join()
            case "FENCED_INSTANCE_ID":
                self._owner.die(f"Static consumer fenced by other consumer with same group.instance.id: {code}")
            case "UNKNOWN_MEMBER_ID":
                self._name = None
                self._lose()
            case "ILLEGAL_GENERATION":
                self._lose()

    def _lose(self) -> None:
        self._owner.lost()
        self._must_join = True
        if not self._owner.is_busy:
            self.join()
