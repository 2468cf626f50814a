"""Frames and descriptors, a packet each, over a child's ``SOCK_SEQPACKET`` pair, in the parent's loop."""

import array
import asyncio
import logging
import socket
from collections.abc import Callable

from supervisor.core.frames import Frame, FrameError, FrameReader

PACKET = 1 << 16

logger = logging.getLogger(__name__)


class Packets:
    """The parent's end of such a pair. ``on_frame`` is called in the loop for each frame; nothing here waits."""

    def __init__(self, connection: socket.socket, on_frame: Callable[[Frame], None], *, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = connection
        self._on_frame = on_frame
        self._name = name
        self._loop.add_reader(connection, self._readable)

    def send(self, frame: bytes, *passed: socket.socket) -> bool:
        """Send a frame, and with it our sockets; ``False`` when the child does not read, or is gone."""
        if self._socket is None:
            return False
        rights = array.array("i", [one.fileno() for one in passed])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if passed else []
        try:
            self._socket.sendmsg([frame], ancillary)
        except OSError:
            return False
        return True

    def finish(self) -> None:
        """Take the last words of a dead child and close."""
        while self._readable():
            pass
        self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> bool:
        """Take one packet; return whether there was one."""
        if self._socket is None:
            return False
        try:
            data = self._socket.recv(PACKET)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._socket)  # its exit is told apart
            return False
        try:
            for frame in FrameReader().feed(data):
                self._on_frame(frame)
        except FrameError as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": self._name, "error": str(error)}})
        return True
