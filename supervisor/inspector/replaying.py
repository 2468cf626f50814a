"""Replay: read letters, send those that are meant, note how far it is; interrupted anywhere, it goes on from there.

For each chunk: note durably what is about to be sent, send it, wait until all of it is confirmed, note that it is done.
A letter that is refused for its own sake is passed over, and told; one that cannot be sent now ends it there.
Who is killed in between finds the first note: the letters up to there may have been sent and are sent again, marked.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Protocol

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Stored
from supervisor.core.replay import (
    Destination,
    Reason,
    destination,
    fingerprint,
    histogram,
    parked_headers,
    reason,
    replay_headers,
)
from supervisor.inspector.letter_sender import NO_TOPIC, Out, SendError
from supervisor.inspector.letter_source import Source, SourceError
from supervisor.kafka.offsets import AskError
from supervisor.kafka.producer import ProduceError
from supervisor.kafka.refusals import REFUSALS
from supervisor.kafka.topics import DeadLetterTopics

CHUNK = 500
"""Letters that are sent before the next look at their confirmations: the most that a kill may repeat."""
STEP = 0.5
"""Seconds of a limited rate that one chunk is for."""
BEAT = 1.0
MOST_TOLD = 100
"""Letters that were refused; there may be many, all for one reason."""

Tell = Callable[[Counts], None]


class Sender(Protocol):
    """Who sends."""

    def send_each(self, outs: Sequence[Out]) -> list[ProduceError | None]:
        """Send all, wait until each is confirmed, and return each one's error."""
        ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to become of a letter."""

    target: Destination | None = None
    out: Out | None = None
    is_meant: bool = True
    is_again: bool = False


class Replaying:
    """One run of a replay. ``tell`` hears each second how far it is; ``stop`` ends it after the chunk in hand."""

    def __init__(self, request: DlqRequest, source: Source, sender: Sender, *, tell: Tell, stop: Event) -> None:
        self._request = request
        self._source = source
        self._sender = sender
        self._tell = tell
        self._stop = stop
        self._counts = Counts()
        self._reasons: Counter[Reason] = Counter()
        self._refused: deque[str] = deque(maxlen=MOST_TOLD)
        self._parking: dict[str, str] = {}
        group = request.group
        create = group.dead_letters.create
        self._topics = DeadLetterTopics(group.kafka, client_id=f"{group.name}-replay", create=create)
        self._is_full = False
        self._began = time.monotonic()

    def run(self) -> DlqAnswer:
        """Replay to the end that the letters had when it began; never raises for what a broker or a disk does."""
        asked, source = self._request.replay, self._source
        error = ""
        try:
            source.open(pending=not asked.restart, meaning=self._meaning())
            if asked.restart:
                source.forget()
            elif source.other_meaning:
                return DlqAnswer(error=_another(asked.name))
            self._counts = replace(self._counts, total=source.total)
            self._tell(self._counts)
            self._began = time.monotonic()
            while not self._is_over and (letters := source.read(self._most())):
                self._work(letters)
                self._pace()
        except (AskError, SourceError, SendError) as problem:
            error = str(problem)
        return DlqAnswer(
            counts=replace(self._counts, unreadable=source.unreadable),
            reasons=histogram(self._reasons),
            error=error,
            stopped=self._stop.is_set(),
            resumed=source.resumed and not asked.restart,
            kept=tuple(self._refused),
        )

    @property
    def _is_over(self) -> bool:
        return self._is_full or self._stop.is_set()

    def _meaning(self) -> str:
        asked = self._request.replay
        return fingerprint(self._request.meant, to=asked.to, by_key=asked.by_key)

    def _most(self) -> int:
        """Return how many letters the next chunk may have."""
        asked, counts = self._request.replay, self._counts
        most = CHUNK if not asked.rate else max(1, min(CHUNK, round(asked.rate * STEP)))
        return min(most, asked.most - counts.sent - counts.parked) if asked.most else most

    def _work(self, letters: Sequence[Stored]) -> None:
        plans = [(letter, self._planned(letter)) for letter in letters]
        errors: dict[str, ProduceError | None] = {}
        if not self._request.replay.dry_run:
            errors = self._sent(letters, [plan.out for _, plan in plans if plan.out is not None])
        stuck = (at for at, (letter, _) in enumerate(plans) if _is_passing(errors.get(letter.id)))
        settled = next(stuck, len(plans))
        if not self._request.replay.dry_run:
            self._source.done(letters[:settled])
        for letter, plan in plans[:settled]:
            self._count(letter, plan, refused=errors.get(letter.id))
        most = self._request.replay.most
        self._is_full = bool(most) and self._counts.sent + self._counts.parked >= most
        if settled < len(plans):
            letter, plan = plans[settled]
            raise SendError(_why(letter, plan, errors[letter.id]))

    def _planned(self, letter: Stored) -> "_Plan":
        if not self._is_meant(letter):
            return _Plan(is_meant=False)
        asked = self._request.replay
        target = destination(letter.view, to=asked.to, by_key=asked.by_key, max_replays=asked.max_replays)
        if target is None:
            return _Plan()
        again = self._source.is_again(letter)
        return _Plan(target, self._out(letter, target, again=again), is_again=again)

    def _sent(self, letters: Sequence[Stored], outs: Sequence[Out]) -> dict[str, ProduceError | None]:
        """Send a chunk; return each letter's error, by its id."""
        if not outs:
            return {}
        # Made where it is missing; who may not make it hears of it from the letter that is not taken.
        for topic, like in self._parking.items():
            self._topics.make(topic, like=like)
        self._source.intend(letters)
        return dict(zip((out.about for out in outs), self._sender.send_each(outs), strict=True))

    def _count(self, letter: Stored, plan: "_Plan", *, refused: ProduceError | None) -> None:
        counts = replace(self._counts, read=self._counts.read + 1)
        if not plan.is_meant:
            self._counts = replace(counts, passed=counts.passed + 1)
        elif plan.target is None:
            self._counts = replace(counts, homeless=counts.homeless + 1)
        elif refused is not None:
            self._counts = replace(counts, rejected=counts.rejected + 1)
            self._refused.append(_why(letter, plan, refused))
        else:
            self._reasons[reason(letter.view)] += 1
            self._counts = _counted(counts, plan.target, again=plan.is_again)

    def _is_meant(self, letter: Stored) -> bool:
        meant = self._request.meant
        return meant.has(letter.view, key=letter.key, headers=letter.headers, written_at=letter.written_at)

    def _out(self, letter: Stored, target: Destination, *, again: bool) -> Out:
        name = self._request.replay.name
        if target.is_parking:
            self._parking[target.topic] = letter.view.topic or letter.topic
            headers = parked_headers(letter.headers, name=name, again=again)
        else:
            headers = replay_headers(letter.headers, letter.view, name=name, again=again)
        return Out(letter.id, target.topic, target.partition, letter.key, letter.value, headers)

    def _pace(self) -> None:
        """Wait until the rate allows the next chunk; tell how far it is meanwhile."""
        self._tell(self._counts)
        rate = self._request.replay.rate
        if not rate or self._is_full or self._request.replay.dry_run:
            return
        due = self._began + (self._counts.sent + self._counts.parked) / rate
        while (left := due - time.monotonic()) > 0 and not self._stop.wait(min(left, BEAT)):
            self._tell(self._counts)


def _is_passing(error: ProduceError | None) -> bool:
    """Tell whether a letter may be taken another time; what is of the letter itself is not tried again."""
    return error is not None and error.code not in REFUSALS and error.code not in NO_TOPIC


def _why(letter: Stored, plan: _Plan, error: ProduceError | None) -> str:
    return f"{letter.id} to {plan.target.topic if plan.target else '?'}: {error}"


def _counted(counts: Counts, target: Destination, *, again: bool) -> Counts:
    if again:
        counts = replace(counts, again=counts.again + 1)
    if target.is_parking:
        return replace(counts, parked=counts.parked + 1)
    return replace(counts, sent=counts.sent + 1)


def _another(name: str) -> str:
    return (
        f"replay {name!r} was begun with another filter or destination, and goes on only as that\n"
        "  help: another --name, or --restart to begin it anew"
    )
