"""What a transaction is made of: the finished prefix of each partition, with what its records are to produce."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from operator import itemgetter

from supervisor.core.backoff import Backoff
from supervisor.plugin.types import Failure, Message, Produce
from supervisor.worker.owned import Owned
from supervisor.worker.sinks import Taken

LETTER_RETRY = Backoff(initial=0.5, factor=2.0, max=30.0, jitter=0.5)


@dataclass(slots=True)
class Held:
    """What one record is to produce once its offset is committable: its outputs, its dead letter, or its copy.

    ``failure`` is why there is a copy of it for a retry topic.
    """

    message: Message
    outputs: Sequence[Produce]
    size: int
    taken: Taken | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """What is finished of a partition: everything below ``upto``, with what is to be produced, by offset."""

    owned: Owned
    upto: int
    held: Sequence[tuple[int, Held]]


class Result(Enum):
    """How a transaction ended. ``AGAIN``: it was aborted, and what made it so was put right."""

    DONE = auto()
    AGAIN = auto()
    FAILED = auto()


class Standing:
    """Records whose dead letters nobody takes: their partitions are not committed beyond them for a while."""

    def __init__(self) -> None:
        self._stands: dict[Owned, tuple[int, float, int]] = {}
        """Of each partition: the offset, until when, and how often it was tried."""

    def add(self, owned: Owned, offset: int, *, now: float, chance: float) -> bool:
        """Note one more refusal; return whether it was the record's first."""
        before = self._stands.get(owned)
        tries = before[2] + 1 if before is not None and before[0] == offset else 0
        self._stands[owned] = offset, now + LETTER_RETRY.delay(tries, chance=chance), tries
        return not tries

    def bound(self, owned: Owned, upto: int, *, now: float) -> int:
        """Return up to where of ``upto`` a partition may be committed."""
        offset, until, _ = self._stands.get(owned, (upto, 0.0, 0))
        return min(upto, offset) if now < until else upto

    def owned(self) -> set[Owned]:
        """Return the partitions that stand, and forget those that were given up."""
        self._stands = {owned: stand for owned, stand in self._stands.items() if not owned.revoked}
        return set(self._stands)


def prefix_of(owned: Owned, upto: int | None, limit: int | None) -> Prefix | None:
    """Return what is finished below ``upto``, at most ``limit`` records with outputs; mutex held."""
    if upto is None:
        return None
    # list() is one step under the interpreter lock; handlers add to the dictionary meanwhile.
    ready = sorted(((at, held) for at, held in list(owned.outputs.items()) if at < upto), key=itemgetter(0))
    if limit is not None and len(ready) > limit:
        upto, ready = ready[limit][0], ready[:limit]
    return Prefix(owned, upto, [(offset, held) for offset, held in ready if isinstance(held, Held)])
