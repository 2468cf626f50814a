"""The small versioned JSON frames that processes talk in, one per line over a stream socketpair.

| type | from → to | members |
|---|---|---|
| ``spec`` | parent → child; first frame | ``spec``: see ``core.spec``, ``core.child_specs`` |
| ``pause`` | parent → worker | ``on``: read nothing, or go on |
| ``resume`` | parent → worker | ``partitions`` that were stopped, ``to``: where they go on |
| ``stop`` | parent → worker, notifier | ``end``: ``keep`` or ``leave``; ``timeout``; ``overdue``: records that hang |
| ``accused`` | worker → parent, on assignment | ``ask``: a number; ``partitions`` whose accused records it asks for |
| ``accused`` | parent → worker, the answer | ``ask`` (0: more follows); ``suspects``: runs of offsets; ``convicted`` |
| ``identified`` | worker → parent | ``topics``: the ids of topics with convicted records, by name |
| ``acquitted``, ``buried`` | worker → parent | ``records``: they finished; their dead letters are confirmed |
| ``cancelled`` | worker → parent | ``cell``, ``sequence`` on its board: an async handler whose time was over |
| ``alert`` | parent → notifier | ``event``: a ``core.events.Event`` |
| ``breaker`` | parent → worker | ``order``: a ``core.spec.BreakerOrder``; hold all records, try with one, go on |
| ``breaker`` | worker → parent | ``state``: ``down`` (``name``, ``failures``, ``after`` seconds), ``up`` |
| ``breaker`` | worker → parent | ``state``: ``nothing`` to try with; ``idle``: no record waits there at all |
| ``flood`` | parent → worker | ``order``: a ``core.spec.FloodOrder``; write no dead letter, let a few try, go on |
| ``flood`` | worker → parent | ``state``: ``tripped`` (``reason``), ``passed`` |
| ``hello`` | worker → parent | ``pid``; the slot's lock is held from here on |
| ``ready`` | worker, notifier → parent | handler and plugins are loaded, the poll loop turns |
| ``assigned`` | worker → parent | ``partitions`` owned now, 500 at most: ``[[topic, partition], ...]``; *joined* |
| ``stats`` | worker → parent, when changed, or 4 s | ``stats``: see ``core.worker_stats``; ``seconds`` it took |
| ``stats`` | notifier → parent, when changed, or 20 s | ``stats``: counts of each plugin (``notifier.courier``) |
| ``event`` | worker, notifier → parent | ``name``, ``severity``, ``text``, ``fields``, ``stack`` |
| ``pause`` | worker → parent | ``record``, ``reason``: why the whole group is to be paused |
| ``lag_begins``, ``lag``, ``lag_ends`` | inspector → parent | one look at ``group``: ``topic``, ``rows``; the rest |
| ``trouble`` | inspector → parent | ``group``, ``text``: why there is no look at it |
| ``bye`` | worker, notifier → parent, last | ``code`` that follows, ``reason``; ``left`` (optional): did it leave |
"""

import json
from typing import Any

VERSION = 1
MAX_FRAME = 1 << 20
MAX_SPEC = 16 << 20
"""A child believes its parent: of many groups, or topics, a spec is long."""

Frame = dict[str, Any]


class FrameError(ValueError):
    """The peer sent what is no frame; the connection is of no use any more."""


def encode(kind: str, **members: object) -> bytes:
    """Return one frame as bytes, newline included.

    Raise ``FrameError`` above ``MAX_FRAME`` bytes, for a ``spec`` above ``MAX_SPEC``.
    """
    line = json.dumps({"v": VERSION, "type": kind, **members}, separators=(",", ":")).encode() + b"\n"
    limit = MAX_SPEC if kind == "spec" else MAX_FRAME
    if len(line) > limit:
        message = f"a {kind!r} frame of {len(line)} bytes is over the limit of {limit}"
        raise FrameError(message)
    return line


class FrameReader:
    """Turn the bytes of a stream into frames of ``limit`` bytes at most; keeps the unfinished rest between calls."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completed; raise ``FrameError`` on anything that is none.

        Frames of a type the caller does not know are the caller's to ignore (a newer peer); another
        version is refused here.
        """
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        if len(rest) > self._limit or any(len(line) > self._limit for line in lines):
            message = f"a frame is over the limit of {self._limit} bytes"
            raise FrameError(message)
        self._rest = bytearray(rest)
        return [_parse(line) for line in lines]


def _parse(line: bytes) -> Frame:
    try:
        frame = json.loads(line)
    except ValueError as error:
        message = f"not JSON: {error}"
        raise FrameError(message) from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        message = "not an object with a type"
        raise FrameError(message)
    if frame.get("v") != VERSION:
        message = f"frame version {frame.get('v')!r}, this process speaks {VERSION}"
        raise FrameError(message)
    return frame
