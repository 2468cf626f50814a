"""Who is at the other end of a Unix socket, as the kernel says (``SO_PEERCRED``, unix(7))."""

import os
import socket
import struct
import sys
from dataclasses import dataclass

_DARWIN_LEVEL, _DARWIN_CRED, _DARWIN_PID = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Peer:
    """A process that connected. ``pid`` 0 where it has none here."""

    pid: int
    uid: int

    @property
    def is_allowed(self) -> bool:
        """Only our own user and root may ask anything."""
        return self.uid in (os.geteuid(), 0)


def peer_of(connection: socket.socket) -> Peer:
    """Return who connected; raises ``OSError`` when the kernel does not say."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(_DARWIN_LEVEL, _DARWIN_CRED, 76)
        (pid,) = struct.unpack("i", connection.getsockopt(_DARWIN_LEVEL, _DARWIN_PID, 4))
        return Peer(pid, struct.unpack_from("II", credentials)[1])
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid, uid)
