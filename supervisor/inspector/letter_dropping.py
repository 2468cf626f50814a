"""Delete the letters that are meant: one by one where that can be, else only what stands at a beginning."""

from collections import Counter

from supervisor.core.dlq import DlqAnswer
from supervisor.inspector.letter_reading import Reading
from supervisor.inspector.letter_source import LogSource, SingleSource


def drop_singly(reading: Reading, source: SingleSource) -> DlqAnswer:
    """Delete just the letters that are meant; a dry run only counts them."""
    reading.open()
    positions: dict[str, set[int]] = {}
    for letter in reading.meant():
        positions.setdefault(letter.place, set()).add(letter.position)
    if reading.is_stopped:
        return reading.answer()
    count = sum(map(len, positions.values()))
    if not reading.is_dry:
        count = sum(source.delete(place, some) for place, some in positions.items())
    return reading.answer(dropped=count)


def drop_beginnings(reading: Reading, source: LogSource) -> DlqAnswer:
    """Delete what is meant up to the first letter of each place that is not; what is meant behind that is ``kept``.

    What is not even read, because a replay has passed it or because one other letter is meant, is not meant either.
    """
    reading.open()
    upto: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    behind: Counter[str] = Counter()
    stopped = dict(source.passed)
    for letter, is_meant in reading.judged():
        if not is_meant:
            stopped.setdefault(letter.place, letter.position)
        elif letter.place in stopped:
            behind[letter.place] += 1
        else:
            upto[letter.place] = letter.after
            dropped[letter.place] += 1
    if reading.is_stopped:
        return reading.answer()
    if upto and not reading.is_dry:
        source.truncate(upto)
    kept = tuple(
        f"{place}: {count} behind {place}@{stopped[place]}, which is not meant; Kafka deletes beginnings only"
        for place, count in sorted(behind.items())
    )
    return reading.answer(DlqAnswer(kept=kept), dropped=dropped.total())
