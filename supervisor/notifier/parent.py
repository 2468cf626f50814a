"""The notifier's tie to its parent: frames over a socketpair, never blocking."""

import select
import socket
import time

from supervisor.core.frames import Frame, FrameError, FrameReader, encode

_MAX_UNSENT = 256 * 1024
_RECEIVE = 1 << 16


class ParentLink:
    """Frames to and from the parent, never blocking; main thread only.

    A parent that does not read loses frames, whole ones and the newest first: what it is told here is
    never worth a wait. ``ended`` turns true with the stream.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the name says it
        self._sock = sock
        self._reader = FrameReader()
        self._unsent = bytearray()
        self.ended = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    def receive(self) -> list[Frame]:
        """Return what came since the last call; a stream that ended or is not readable sets ``ended``."""
        try:
            data = self._sock.recv(_RECEIVE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return []
        try:
            return self._reader.feed(data)
        except FrameError:
            self.ended = True
            return []

    def wait(self, deadline: float) -> list[Frame]:
        """Return the first frames to come; none when ``deadline`` (``time.monotonic()``) passes or the stream ends."""
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            if select.select([self._sock], [], [], left)[0] and (frames := self.receive()):
                return frames
        return []

    def send(self, kind: str, **members: object) -> None:
        """Send a frame as soon as the parent reads."""
        frame = encode(kind, **members)
        if len(self._unsent) + len(frame) <= _MAX_UNSENT:
            self._unsent += frame
        self.flush()

    def flush(self) -> None:
        """Send what is waiting, as much as the parent takes now."""
        while self._unsent and not self.ended:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                return
            del self._unsent[:sent]

    def flush_until(self, deadline: float) -> None:
        """Send what is waiting, until ``deadline`` (``time.monotonic()``)."""
        self.flush()
        while self._unsent and not self.ended and time.monotonic() < deadline:
            time.sleep(0.01)
            self.flush()
