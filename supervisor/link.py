"""A child's end of its socketpair to the parent: frames in both directions, never blocking."""

import logging
import select
import socket
import sys
import threading
import time
from typing import TypeVar

from supervisor.argv import our_end
from supervisor.core.frames import MAX_FRAME, MAX_SPEC, Frame, FrameError, FrameReader, encode
from supervisor.core.jsonable import from_json

T = TypeVar("T")

logger = logging.getLogger(__name__)
MAX_UNSENT = 256 * 1024
RESERVE = MAX_FRAME
"""Bytes that may wait beside events: of what is said once, the parent would never hear again."""
RECEIVE = 1 << 16
SPEC_TIMEOUT = 10.0


class Link:
    """Frames to and from the parent. Any thread sends; one thread receives, and calls ``flush`` now and then.

    A parent that does not read (stopped, or stuck in its own output) must not stop its children: frames wait,
    events up to ``MAX_UNSENT`` bytes, others with ``RESERVE`` more, then the newest are lost, and said to be lost in
    the log. A frame for which nothing has to wait is taken whatever its length. Only the end of the stream means that
    the parent is gone: ``lost`` turns true and stays so, later frames go nowhere.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the socket API
        self._sock = sock
        self._reader = FrameReader(MAX_SPEC)
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._is_full = False
        self._is_mute = False
        self.lost = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    def send(self, kind: str, **members: object) -> bool:
        """Send one frame as soon as the parent reads; never blocks, never raises.

        A ``stats`` frame is left out while older frames wait: the next one says more. ``False``: it was not taken.
        """
        try:
            data = encode(kind, **members)
        except FrameError as error:
            logger.error("parent.frame_too_large", extra={"fields": {"why": str(error)}})  # noqa: TRY400 - no stack needed
            return False
        room = MAX_UNSENT if kind == "event" else MAX_UNSENT + RESERVE
        with self._lock:
            if self.lost or self._is_mute or (kind == "stats" and self._unsent):
                return False
            if self._unsent and len(self._unsent) + len(data) > room:
                was_full, self._is_full = self._is_full, True
                if not was_full:
                    logger.warning("parent.not_reading", extra={"fields": {"losing": kind}})
                return False
            self._unsent += data
            self._flush()
            return True

    def flush(self) -> None:
        """Send what waits, as much as the parent takes now."""
        with self._lock:
            self._flush()

    def flush_until(self, deadline: float) -> None:
        """Send what waits, until ``deadline`` (``time.monotonic()``)."""
        while True:
            self.flush()
            left = deadline - time.monotonic()
            if not self._unsent or left <= 0:
                return
            select.select([], [self._sock], [], left)

    def receive(self) -> list[Frame]:
        """Return the frames that have come; an end of the stream, or what is no frame, sets ``lost``."""
        try:
            data = self._sock.recv(RECEIVE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.lost = True
            return []
        try:
            return self._reader.feed(data)
        except FrameError as error:
            logger.error("parent.unreadable", extra={"fields": {"why": str(error)}})  # noqa: TRY400 - no stack needed
            self.lost = True
            return []

    def wait(self, deadline: float) -> list[Frame]:
        """Return the first frames to come; none when ``deadline`` (``time.monotonic()``) passes or the stream ends."""
        while not self.lost and (left := deadline - time.monotonic()) > 0:
            if select.select([self._sock], [], [], left)[0] and (frames := self.receive()):
                return frames
        return []

    def _flush(self) -> None:
        """As ``flush``; the lock is held."""
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                # Nobody will read, but what was written to us before may still be there: the reader says when it ends.
                self._is_mute = True
                self._unsent.clear()
                return
            del self._unsent[:sent]
        self._is_full = False


def take_spec(program: str, kind: type[T]) -> tuple[Link, T, list[Frame]] | None:
    """Return our link, named by ``--fd``, the spec that comes first over it, and the frames that came along.

    ``None`` when none came, which is said on stderr.
    """
    sock, _ = our_end(program)
    sock.set_inheritable(False)
    link = Link(sock)
    first, *early = link.wait(time.monotonic() + SPEC_TIMEOUT) or [{}]
    try:
        return link, from_json(kind, first.get("spec")), early
    except ValueError as error:
        sys.stderr.write(f"{program}: no spec came: {error}\n")
        return None
