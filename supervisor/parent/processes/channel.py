"""Frames over a non-blocking socket in the parent's loop, with bounds in both directions."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from supervisor.core.frames import MAX_FRAME, Frame, FrameError, FrameReader, encode

CHUNK = 256 * 1024
MAX_UNSENT = 2 * MAX_FRAME
MAX_LAST_WORDS = 4 << 20

logger = logging.getLogger(__name__)


class Channel:
    """The parent's end of a child's socketpair.

    ``on_frame`` is called in the loop for each frame. A peer that sends what is no frame is not listened
    to any more: the socket is closed, which the child sees as the loss of its parent.
    """

    def __init__(self, connection: socket.socket, on_frame: Callable[[Frame], None], *, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = connection
        self._on_frame = on_frame
        self._name = name
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._writing = False
        self._loop.add_reader(connection, self._readable)

    @property
    def is_open(self) -> bool:
        """Whether the child can still be told something."""
        return self._socket is not None

    @property
    def unsent(self) -> int:
        """How many bytes the child has not taken yet."""
        return len(self._unsent)

    @property
    def room(self) -> int:
        """How many bytes it would take now, frames of which all but the last fit into it."""
        return max(0, MAX_UNSENT - len(self._unsent))

    def send(self, kind: str, **members: object) -> bool:
        """Send a frame without waiting; ``False`` when the child cannot be told (closed, or it takes nothing)."""
        return self.send_line(encode(kind, **members))

    def send_line(self, line: bytes) -> bool:
        """Send a frame that was encoded before; as ``send``."""
        if self._socket is None or len(self._unsent) > MAX_UNSENT:
            return False
        self._unsent += line
        self._flush()
        return self._socket is not None

    def finish(self) -> None:
        """Take the last words of a dead child and close."""
        taken = 0
        while self._socket is not None and taken < MAX_LAST_WORDS:
            before = taken
            taken += self._readable()
            if taken == before:
                break
        self.close()

    def close(self) -> None:
        """Close the socket; idempotent."""
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None

    def _readable(self) -> int:
        if self._socket is None:
            return 0
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            data = b""
        if not data:
            self.close()
            return 0
        try:
            frames = self._reader.feed(data)
        except FrameError as error:
            logger.warning("parent.frame_refused", extra={"fields": {"from": self._name, "error": str(error)}})
            self.close()
            return 0
        for frame in frames:
            self._on_frame(frame)
        return len(data)

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                del self._unsent[: self._socket.send(self._unsent)]
        except OSError:
            self._unsent.clear()
        if bool(self._unsent) is not self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._socket, self._flush)
            else:
                self._loop.remove_writer(self._socket)
