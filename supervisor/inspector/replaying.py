"""Replay: read letters, send those that are meant, note how far it is; interrupted anywhere, it goes on from there.

For each chunk: note durably what is about to be sent, send it, wait until all of it is confirmed, note that it is done.
Who is killed in between finds the first note: the letters up to there may have been sent and are sent again, marked.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from supervisor.inspector.letter_sender import Out, SendError
from supervisor.inspector.letter_source import Source, SourceError
from supervisor.kafka.offsets import AskError
from supervisor.kafka.topics import DeadLetterTopics

CHUNK = 500
"""Letters that are sent before the next look at their confirmations: the most that a kill may repeat."""
STEP = 0.5
"""Seconds of a limited rate that one chunk is for."""
BEAT = 1.0

Tell = Callable[[Counts], None]


class Sender(Protocol):
    """Who sends."""

    def send(self, outs: Sequence[Out]) -> None:
        """Send all and wait until each is confirmed; raises ``SendError``."""
        ...


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
        self._parking: dict[str, str] = {}
        group = request.group
        self._topics = DeadLetterTopics(group.kafka, client_id=f"{group.name}-replay")
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
        counts = replace(self._counts, read=self._counts.read + len(letters))
        outs: list[Out] = []
        for letter in letters:
            if not self._is_meant(letter):
                counts = replace(counts, passed=counts.passed + 1)
                continue
            asked = self._request.replay
            target = destination(letter.view, to=asked.to, by_key=asked.by_key, max_replays=asked.max_replays)
            if target is None:
                counts = replace(counts, homeless=counts.homeless + 1)
                continue
            self._reasons[reason(letter.view)] += 1
            again = self._source.is_again(letter)
            counts = _counted(counts, target, again=again)
            outs.append(self._out(letter, target, again=again))
        if not self._request.replay.dry_run:
            self._send(letters, outs)
        self._counts = counts
        most = self._request.replay.most
        self._is_full = bool(most) and counts.sent + counts.parked >= most

    def _send(self, letters: Sequence[Stored], outs: Sequence[Out]) -> None:
        if outs:
            # Made where it is missing; who may not make it hears of it from the letter that is not taken.
            for topic, like in self._parking.items():
                self._topics.make(topic, like=like)
            self._source.intend(letters)
            self._sender.send(outs)
        self._source.done(letters)

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
