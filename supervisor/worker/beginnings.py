"""Where partitions begin when their committed offset does not say: no jump that nobody decided.

The client runs with ``auto.offset.reset = error``: it stops a partition and says so. A group that never committed
begins as configured. An offset that is not in its partition any more stops the partition, and the others go on,
until an operator or the config says where. Runs in the holder of the baton, between polls.
"""

import logging
import time
from collections.abc import Iterable, Mapping

from supervisor.core.events import Scalar, Severity
from supervisor.core.lane import Place
from supervisor.core.retry_topics import retry_topics
from supervisor.kafka.consumer import Source
from supervisor.kafka.offsets import AskError
from supervisor.kafka.settings import first_position
from supervisor.worker.committer import Commits
from supervisor.worker.engine import Engine
from supervisor.worker.owned import Owned

logger = logging.getLogger(__name__)

ASK_TIMEOUT = 3.0
ASK_AGAIN = 1.0
MOST_ORDERS = 1000
CODES = frozenset({"_AUTO_OFFSET_RESET", "_LOG_TRUNCATION"})
"""What the client calls a partition for which it does not know where to go on."""

NO_ANSWER = "NO_ANSWER"
POSITIONS = ("earliest", "latest")


class Beginnings:
    """What is to be positioned, and by whose word."""

    def __init__(self, engine: Engine, committer: Commits) -> None:
        self._engine = engine
        self._committer = committer
        group = engine.spec.group
        self._first = first_position(group.kafka)
        self._copies = retry_topics(group)
        self._policy = group.out_of_range
        self._source: Source | None = None
        self._lost: dict[Place, tuple[Owned, int | None]] = {}
        """Partitions that the client stopped, and the offset that it did not find; ``None``: it had none."""
        self._begun: dict[Place, Owned] = {}
        """Ownerships that were begun here: the client's word that they have no offset may come later."""
        self._orders: dict[Place, str] = {}
        self._again_at = 0.0

    def open(self, source: Source) -> None:
        """Take the consumer; before any thread polls."""
        self._source = source

    def heard(self, place: Place, offset: int | None) -> None:
        """Take note of a partition that the client stopped, at ``offset`` or for want of one."""
        owned = self._engine.owned.get(place)
        is_begun = offset is None and self._begun.get(place) is owned
        if owned is not None and place not in self._engine.stopped and not is_begun:
            self._lost[place] = (owned, offset)

    def order(self, places: Iterable[Place], to: str) -> None:
        """Have stopped partitions of ours taken up: ``earliest``, ``latest`` or an offset. Any thread."""
        if to not in POSITIONS and not to.isdecimal():
            return
        with self._engine.mutex:
            for place in places:
                if place in self._engine.stopped and len(self._orders) < MOST_ORDERS:
                    self._orders[place] = to

    def serve(self) -> None:
        """Position what must be positioned; waits for the broker's answers, ``ASK_TIMEOUT`` each at most."""
        if not (self._lost or self._orders) or time.monotonic() < self._again_at:
            return
        owned = self._engine.owned
        self._lost = {place: lost for place, lost in self._lost.items() if owned.get(place) is lost[0]}
        try:
            self._begin([place for place, (_, offset) in self._lost.items() if offset is None])
            self._judge({place: offset for place, (_, offset) in self._lost.items() if offset is not None})
            self._obey()
        except AskError as error:
            self._again_at = time.monotonic() + ASK_AGAIN
            self._engine.broker_trouble = str(error)
            logger.warning("partition.not_positioned", extra={"fields": {"code": str(error), "again_in": ASK_AGAIN}})

    @property
    def _client(self) -> Source:
        assert self._source is not None  # noqa: S101 - open() comes first
        return self._source

    def _begin(self, places: list[Place]) -> None:
        """Begin where the group never committed, as configured.

        What else was assigned and has delivered nothing is asked for too: its errors come one by one.
        """
        if not places:
            return
        engine = self._engine
        with engine.mutex:
            waiting = [at for at, owned in engine.owned.items() if owned.offsets.position is None]
        asked = places + [at for at in waiting if at not in engine.stopped and at not in self._lost]
        found = self._client.committed(asked, ASK_TIMEOUT)
        # Somebody may have committed since the client asked.
        targets: dict[Place, int | None] = {at: found[at][0] for at in places if at in found and found[at][0] >= 0}
        fresh = [at for at, (offset, _) in found.items() if offset < 0]
        # A copy may be written before anybody owns its partition: where it lies is where that begins.
        copies = [at for at in fresh if at[0] in self._copies]
        targets |= dict.fromkeys(copies)
        fresh = [at for at in fresh if at not in targets]
        match self._first:
            case "earliest":
                self._move(targets | dict.fromkeys(fresh))
            case "latest":
                # Committed at once: after a crash before the first commit, "latest" would be somewhere else.
                ends = self._client.bounds(fresh, ASK_TIMEOUT) if fresh else {}
                self._move(targets)
                self._take_up({at: latest for at, (_, latest) in ends.items()})
                fresh = list(ends)
            case _:
                self._move(targets)
                for at in fresh:
                    self._stop(at, "the group has committed nothing, and auto.offset.reset does not say where to begin")
        self._done([*targets, *fresh], places)

    def _judge(self, outside: Mapping[Place, int]) -> None:
        """Stop partitions whose position is not in them, or jump where the config says so."""
        if not outside:
            return
        bounds = self._client.bounds(list(outside), ASK_TIMEOUT)
        for place, (earliest, latest) in bounds.items():
            offset = outside[place]
            name = f"{place[0]}/{place[1]}"
            fields: dict[str, Scalar] = {"partition": name, "offset": offset, "earliest": earliest, "latest": latest}
            text = f"{name}: offset {offset} is out of range, {earliest} to {latest} are there"
            if self._policy == "stop":
                self._stop(place, text.partition(": ")[2])
                command = f"supervisor resume {self._engine.spec.group.name} --partition {name} --to earliest"
                text += f"; nothing is read from it until you say where to go on: {command}"
                self._engine.event("partition.out_of_range", Severity.CRITICAL, text, **fields)
            else:
                target = earliest if self._policy == "earliest" else latest
                self._take_up({place: target})
                fields["to"] = target
                text += f'; goes on at {target}: out_of_range = "{self._policy}"'
                self._engine.event("partition.jumped", Severity.CRITICAL, text, **fields)
        self._done(bounds, outside)

    def _obey(self) -> None:
        """Take up what an operator said."""
        engine = self._engine
        with engine.mutex:
            self._orders = {place: to for place, to in self._orders.items() if place in engine.stopped}
            orders = dict(self._orders)
        if not orders:
            return
        for place, (earliest, latest) in self._client.bounds(list(orders), ASK_TIMEOUT).items():
            to = orders[place]
            target = {"earliest": earliest, "latest": latest}.get(to, -1)
            target = int(to) if target < 0 else target
            name = f"{place[0]}/{place[1]}"
            if earliest <= target <= latest:
                self._take_up({place: target})
                text = f"{name}: goes on at {target}, as an operator said"
                engine.event("partition.resumed", Severity.WARNING, text, partition=name, to=target)
            else:
                text = f"offset {target} was asked for, {earliest} to {latest} are there"
                self._stop(place, text)
                engine.event("partition.resume_refused", Severity.WARNING, f"{name}: {text}", partition=name, to=target)
            with engine.mutex:
                self._orders.pop(place, None)
        if self._orders:
            raise AskError(NO_ANSWER)

    def _done(self, places: Iterable[Place], all_of: Iterable[Place]) -> None:
        for place in places:
            self._lost.pop(place, None)
        if any(place in self._lost for place in all_of):
            raise AskError(NO_ANSWER)

    def _stop(self, place: Place, why: str) -> None:
        engine = self._engine
        with engine.mutex:
            engine.stopped[place] = why
            engine.at_end.discard(place)
        logger.error("partition.stopped", extra={"fields": {"partition": f"{place[0]}/{place[1]}", "why": why}})

    def _move(self, targets: Mapping[Place, int | None]) -> None:
        if targets:
            self._client.move(targets)
            self._begun |= {place: self._engine.owned[place] for place in targets}

    def _take_up(self, targets: Mapping[Place, int]) -> None:
        """Go on at known offsets, and commit them: the decision must outlive this process."""
        if not targets:
            return
        engine = self._engine
        self._move(targets)
        with engine.mutex:
            for place, target in targets.items():
                owned = engine.owned[place]
                position = owned.offsets.position
                if position is not None and target < position:
                    owned = engine.own_again(owned)
                owned.offsets.advance(target)
                engine.stopped.pop(place, None)
        self._committer.pin(targets)
