"""Look at letters without changing anything: list, show, count, export; and what can be dropped of them."""

from base64 import b64encode
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Letter, Parts, Place, Stored, Verb
from supervisor.core.letter_lines import line_of
from supervisor.core.replay import Reason, fingerprint, histogram, reason
from supervisor.inspector.letter_source import Source

CHUNK = 1000
SHOWN_HEADER = 16 * 1024

Tell = Callable[[Counts], None]
Say = Callable[[str], None]


class Reading:
    """One look over the letters that a request is about. ``tell`` hears how far it is, ``line`` each exported one."""

    def __init__(self, request: DlqRequest, source: Source, *, tell: Tell, line: Say) -> None:
        self._request = request
        self._source = source
        self._tell = tell
        self._line = line
        self._counts = Counts()

    def answer(self) -> DlqAnswer:
        """Do what is asked; raises ``AskError`` or ``SourceError``."""
        request, source = self._request, self._source
        replay = request.replay
        meaning = fingerprint(request.meant, to=replay.to, by_key=replay.by_key)
        source.open(pending=request.pending, meaning=meaning, one=request.one if "@" in request.one else "")
        self._counts = replace(self._counts, total=source.total)
        match request.verb:
            case Verb.STATS:
                answer = self._stats()
            case Verb.EXPORT:
                for letter in self._meant():
                    self._line(line_of(letter).decode())
                answer = DlqAnswer()
            case Verb.DROP:
                answer = self._drop()
            case _:
                answer = self._letters()
        return replace(answer, counts=replace(self._counts, unreadable=source.unreadable), resumed=source.resumed)

    def _every(self) -> Iterator[list[Stored]]:
        self._tell(self._counts)
        while letters := self._source.read(CHUNK):
            yield letters
            self._counts = replace(self._counts, read=self._counts.read + len(letters))
            self._tell(self._counts)

    def _meant(self) -> Iterator[Stored]:
        for letters in self._every():
            for letter in letters:
                if self._is_meant(letter):
                    yield letter
                else:
                    self._counts = replace(self._counts, passed=self._counts.passed + 1)

    def _is_meant(self, letter: Stored) -> bool:
        one = self._request.one
        if one and one not in (letter.id, letter.view.audit_id):
            return False
        return self._request.meant.has(
            letter.view, key=letter.key, headers=letter.headers, written_at=letter.written_at
        )

    def _letters(self) -> DlqAnswer:
        request = self._request
        is_whole = request.verb is Verb.SHOW
        newest = deque(self._meant(), maxlen=request.limit or None)
        letters = sorted(newest, key=lambda one: (one.written_at or 0.0, one.place, one.position))
        return DlqAnswer(letters=tuple(_shown(one, whole=is_whole, value=request.values) for one in letters))

    def _stats(self) -> DlqAnswer:
        reasons: Counter[Reason] = Counter()
        origins: Counter[str] = Counter()
        places: Counter[str] = Counter()
        replays: Counter[str] = Counter()
        oldest = newest = None
        for letter in self._meant():
            reasons[reason(letter.view)] += 1
            origins[letter.view.topic] += 1
            places[letter.place] += 1
            replays[str(letter.view.replays)] += 1
            at = letter.written_at if letter.view.failed_at is None else letter.view.failed_at
            if at is not None:
                oldest = at if oldest is None else min(oldest, at)
                newest = at if newest is None else max(newest, at)
        parts = Parts(dict(origins), dict(places), dict(sorted(replays.items())), oldest, newest)
        return DlqAnswer(reasons=histogram(reasons), parts=parts)

    def _drop(self) -> DlqAnswer:
        """Drop what is meant; ``dry_run`` only counts it. See docs for what that can mean in each place."""
        if self._request.where.place is Place.KAFKA:
            return self._drop_prefixes()
        positions: dict[str, set[int]] = {}
        for letter in self._meant():
            positions.setdefault(letter.place, set()).add(letter.position)
        count = sum(map(len, positions.values()))
        if not self._request.replay.dry_run:
            count = sum(self._source.delete(place, some) for place, some in positions.items())
        self._counts = replace(self._counts, dropped=count)
        return DlqAnswer()

    def _drop_prefixes(self) -> DlqAnswer:
        """Drop from a topic: only from the beginning of a partition, up to the first letter that is not meant."""
        upto: dict[str, int] = {}
        dropped: Counter[str] = Counter()
        behind: Counter[str] = Counter()
        stopped: dict[str, int] = {}
        for letters in self._every():
            for letter in letters:
                if not self._is_meant(letter):
                    stopped.setdefault(letter.place, letter.position)
                    self._counts = replace(self._counts, passed=self._counts.passed + 1)
                elif letter.place in stopped:
                    behind[letter.place] += 1
                else:
                    upto[letter.place] = letter.after
                    dropped[letter.place] += 1
        if upto and not self._request.replay.dry_run:
            self._source.drop(upto)
        self._counts = replace(self._counts, dropped=dropped.total())
        kept = tuple(
            f"{place}: {count} behind {place}@{stopped[place]}, which is not meant; Kafka deletes beginnings only"
            for place, count in sorted(behind.items())
        )
        return DlqAnswer(kept=kept)


def _shown(letter: Stored, *, whole: bool, value: bool) -> Letter:
    size = len(letter.value or b"")
    if not whole:
        return Letter(letter.id, letter.written_at, size, replace(letter.view, message=""))
    key = None if letter.key is None else _text(letter.key)
    content = b64encode(letter.value).decode() if value and letter.value is not None else None
    headers: Sequence[tuple[str, str | None]] = [
        (name, None if data is None else _text(data)[:SHOWN_HEADER]) for name, data in letter.headers
    ]
    return Letter(letter.id, letter.written_at, size, letter.view, key, tuple(headers), content)


def _text(data: bytes) -> str:
    """Return bytes as text; what is no printable text as ``0x...``."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"0x{data.hex()}"
    return text if all(char.isprintable() or char in "\n\t" for char in text) else f"0x{data.hex()}"
