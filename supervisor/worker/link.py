"""The worker's end of its socketpair to the parent."""

import logging
import socket
import threading

from supervisor.core.frames import Frame, FrameError, FrameReader, encode

logger = logging.getLogger(__name__)
SEND_TIMEOUT = 2.0
RECEIVE = 1 << 16


class Link:
    """Frames to and from the parent. Any thread sends; only the main thread receives.

    A parent that is gone or does not read for ``SEND_TIMEOUT`` seconds is lost: ``lost`` turns true and
    stays so, later frames go nowhere. What follows from it is the main thread's to decide.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(SEND_TIMEOUT)
        self._sock = sock
        self._reader = FrameReader()
        self._lock = threading.Lock()
        self.lost = False

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    def send(self, kind: str, **members: object) -> None:
        """Send one frame; may block for ``SEND_TIMEOUT`` seconds, never raises."""
        data = encode(kind, **members)
        with self._lock:
            if self.lost:
                return
            try:
                self._sock.sendall(data)
            except OSError:
                # A frame may have gone out in half: nothing after it could be read.
                self.lost = True
                logger.warning("parent.lost", extra={"fields": {"sending": kind}})

    def receive(self) -> list[Frame]:
        """Return the frames that have come; call when readable. An end of the stream sets ``lost``."""
        try:
            data = self._sock.recv(RECEIVE)
        except TimeoutError:
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
