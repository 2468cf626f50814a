"""What is settled above a committed offset, as the metadata string of that commit, so that a crash repeats little.

A string is ``ks1:`` and base 85 of: how the rest is written (``RUNS`` or ``BITS``), the committed offset, the rest,
and a CRC. Runs are lengths, not settled and settled in turn; bits are one per offset, lowest first; whichever is
shorter. What does not fit is left out at the end, which repeats more and is never wrong. Numbers are LEB128.
"""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Runs = list[tuple[int, int]]
"""Offsets from the first of a pair to before the second; in order, none touches the next."""

PREFIX = "ks1:"
LIMIT = 4000
"""Characters. A broker takes 4096 by default (``offset.metadata.max.bytes``), one of which is the binding's NUL."""
RUNS, BITS = 0, 1
_CRC = 4


@dataclass(frozen=True, slots=True)
class Note:
    """A commit's metadata. ``fill`` is the share of the limit that everything would have taken, above 1 when cut."""

    text: str
    fill: float


NOTHING = Note("", 0.0)


def encode(base: int, settled: Runs, *, limit: int = LIMIT) -> Note:
    """Return what says that ``settled``, all above the committed offset ``base``, need no more work."""
    if not settled:
        return NOTHING
    head = _number(base)
    room = (limit - len(PREFIX)) * 4 // 5 - 1 - len(head) - _CRC
    runs = _as_runs(base, settled)
    size = sum(map(len, runs))
    bit_size = (settled[-1][1] - base + 7) // 8
    fill = min(size, bit_size) / room if room > 0 else 2.0
    best = max(_cut_runs(settled, runs, room=room), _cut_bits(base, settled, size=min(bit_size, room)))
    if not best[0]:
        return Note("", fill)
    body = bytes([best[2]]) + head + best[3]
    return Note(PREFIX + base64.b85encode(body + binascii.crc32(body).to_bytes(_CRC, "big")).decode(), fill)


def decode(text: str, base: int) -> Runs | None:
    """Return what a commit at ``base`` said is settled; ``None`` when it is not ours, damaged, or of another offset."""
    try:
        code = text.rstrip("\0").removeprefix(PREFIX) if text.startswith(PREFIX) else ""
        raw = base64.b85decode(code)
        body, crc = raw[:-_CRC], raw[-_CRC:]
        if len(raw) <= _CRC or binascii.crc32(body).to_bytes(_CRC, "big") != crc:
            return None
        if base64.b85encode(raw).decode() != code:  # several endings mean the same bytes, and we write one of them
            return None
        found, at = _read(body, 1)
        if found != base or body[0] not in (RUNS, BITS):
            return None
        return _from_runs(base, body, at) if body[0] == RUNS else _from_bits(base, body[at:])
    except (ValueError, IndexError):
        return None


def holds(runs: Runs, offset: int) -> bool:
    """Tell whether ``offset`` is in one of ``runs``."""
    at = bisect_right(runs, offset, key=_first) - 1
    return at >= 0 and offset < runs[at][1]


def above(runs: Runs, position: int) -> Runs:
    """Return what of ``runs`` is at ``position`` or above it."""
    return [(max(first, position), end) for first, end in runs if end > position]


def joined(runs: Iterable[tuple[int, int]]) -> Runs:
    """Return ordered ``runs`` with those made one that touch."""
    whole: Runs = []
    for first, end in runs:
        if whole and whole[-1][1] >= first:
            whole[-1] = (whole[-1][0], max(end, whole[-1][1]))
        else:
            whole.append((first, end))
    return whole


def _first(run: tuple[int, int]) -> int:
    return run[0]


def _as_runs(base: int, settled: Runs) -> list[bytes]:
    """Return for each run the two lengths: of what is not settled before it, and its own."""
    written, at = [], base
    for first, end in settled:
        written.append(_number(first - at) + _number(end - first))
        at = end
    return written


def _cut_runs(settled: Runs, written: Sequence[bytes], *, room: int) -> tuple[int, int, int, bytes]:
    """Return how many offsets the runs that fit cover; then, less is better, their size; and the bytes."""
    count = size = covered = 0
    for one, (first, end) in zip(written, settled, strict=True):
        if size + len(one) > room:
            break
        count, size, covered = count + 1, size + len(one), covered + end - first
    return covered, -size, RUNS, b"".join(written[:count])


def _cut_bits(base: int, settled: Runs, *, size: int) -> tuple[int, int, int, bytes]:
    """Return the same as bits, cut after ``size`` bytes."""
    if size <= 0:
        return 0, 0, BITS, b""
    bits = covered = 0
    for first, end in settled:
        last = min(end - base, size * 8)
        length = last - (first - base)
        if length <= 0:
            break
        bits |= ((1 << length) - 1) << (first - base)
        covered += length
    return covered, -size, BITS, bits.to_bytes(size, "little")


def _from_runs(base: int, body: bytes, at: int) -> Runs:
    runs, offset = [], base
    while at < len(body):
        skipped, at = _read(body, at)
        length, at = _read(body, at)
        runs.append((offset + skipped, offset + skipped + length))
        offset += skipped + length
    return runs


def _from_bits(base: int, body: bytes) -> Runs:
    ones = bin(int.from_bytes(body, "little"))[:1:-1]
    runs, at = [], ones.find("1")
    while at >= 0:
        end = ones.find("0", at)
        end = len(ones) if end < 0 else end
        runs.append((base + at, base + end))
        at = ones.find("1", end)
    return runs


def _number(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _read(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while body[at] & 0x80:
        value |= (body[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | body[at] << shift, at + 1
