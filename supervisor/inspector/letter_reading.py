"""Look at letters without changing anything: list, show, count, export."""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from heapq import nlargest
from operator import itemgetter
from threading import Event

from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest, Letter, Parts, Stored, Verb, letter_named
from supervisor.core.letter_lines import line_of
from supervisor.core.replay import Reason, fingerprint, histogram, reason
from supervisor.inspector.letter_source import Source

CHUNK = 1000
SHOWN_HEADER = 16 * 1024

Tell = Callable[[Counts], None]
Say = Callable[[str], None]


class Reading:
    """One look over the letters that a request is about.

    ``tell`` hears how far it is, ``line`` each exported letter; ``stop`` ends it early.
    """

    def __init__(self, request: DlqRequest, source: Source, *, tell: Tell, line: Say, stop: Event) -> None:
        self._request = request
        self._source = source
        self._tell = tell
        self._line = line
        self._stop = stop
        self._counts = Counts()
        self._is_cut = False

    @property
    def verb(self) -> Verb:
        """What is asked."""
        return self._request.verb

    @property
    def is_dry(self) -> bool:
        """Whether nothing is to be changed."""
        return self._request.replay.dry_run

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to end before its end."""
        return self._is_cut

    def look(self) -> DlqAnswer:
        """List, show, count or export; raises ``AskError`` or ``SourceError``."""
        self.open()
        match self._request.verb:
            case Verb.STATS:
                return self.answer(self._stats())
            case Verb.EXPORT:
                for letter in self.meant():
                    self._line(line_of(letter).decode())
                return self.answer()
            case _:
                return self.answer(self._letters())

    def open(self) -> None:
        """Fix what is read."""
        request, replay = self._request, self._request.replay
        meaning = fingerprint(request.meant, to=replay.to, by_key=replay.by_key)
        self._source.open(
            pending=request.pending, meaning=meaning, one=request.one if letter_named(request.one) else ""
        )
        self._counts = replace(self._counts, total=self._source.total)
        self._tell(self._counts)

    def judged(self) -> Iterator[tuple[Stored, bool]]:
        """Yield each letter, and whether it is meant."""
        while not self._is_over() and (letters := self._source.read(CHUNK)):
            for letter in letters:
                is_meant = self._is_meant(letter)
                yield letter, is_meant
                self._counts = replace(self._counts, passed=self._counts.passed + (not is_meant))
            self._counts = replace(self._counts, read=self._counts.read + len(letters))
            self._tell(self._counts)

    def meant(self) -> Iterator[Stored]:
        """Yield the letters that are meant."""
        return (letter for letter, is_meant in self.judged() if is_meant)

    def answer(self, found: DlqAnswer | None = None, *, dropped: int = 0) -> DlqAnswer:
        """Return what was ``found``, with how far it was read."""
        counts = replace(self._counts, unreadable=self._source.unreadable, dropped=dropped)
        return replace(found or DlqAnswer(), counts=counts, resumed=self._source.resumed, stopped=self._is_cut)

    def _is_over(self) -> bool:
        # Who is told to stop when all is read has read all.
        self._is_cut = self._stop.is_set()
        return self._is_cut

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
        shown = ((_age(one), _shown(one, whole=is_whole, value=request.values)) for one in self.meant())
        letters = nlargest(request.limit, shown, key=itemgetter(0)) if request.limit else list(shown)
        return DlqAnswer(letters=tuple(letter for _, letter in sorted(letters, key=itemgetter(0))))

    def _stats(self) -> DlqAnswer:
        reasons: Counter[Reason] = Counter()
        origins: Counter[str] = Counter()
        places: Counter[str] = Counter()
        replays: Counter[str] = Counter()
        oldest = newest = None
        for letter in self.meant():
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


def _age(letter: Stored) -> tuple[float, str, int]:
    return letter.written_at or 0.0, letter.place, letter.position


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
