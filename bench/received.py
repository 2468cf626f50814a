"""How many bytes a process received over its TCP connections, as the kernel counts them (``TCP_INFO``, tcp(7)).

What the network carried, whoever threw it away later: librdkafka's prefetch included, and its protocol's headers. A
socket of the process is borrowed for a moment (``pidfd_getfd``, Linux 5.6); the process does not notice.
"""

import ctypes
import os
import re
import socket
import struct
from pathlib import Path

from bench.stage import BenchError

_PIDFD_GETFD = 438
_BYTES_RECEIVED = struct.Struct("=128xQ")
"""Where ``struct tcp_info`` has ``tcpi_bytes_received``: behind 8 bytes, 24 words of 4 and 3 of 8."""


class Received:
    """The sum over all connections of one process, those that were closed meanwhile included."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._by_socket: dict[str, int] = {}

    def total(self) -> int:
        """Return the bytes received so far, as far as looks came before their connections' ends."""
        pidfd = os.pidfd_open(self._pid)
        try:
            for entry in Path(f"/proc/{self._pid}/fd").iterdir():
                self._look(pidfd, entry)
        finally:
            os.close(pidfd)
        return sum(self._by_socket.values())

    def _look(self, pidfd: int, entry: Path) -> None:
        try:
            name = str(entry.readlink())
        except FileNotFoundError:
            return
        if not re.fullmatch(r"socket:\[\d+\]", name):
            return
        fd = _libc().syscall(_PIDFD_GETFD, pidfd, int(entry.name), 0)
        if fd < 0:
            code = ctypes.get_errno()
            message = f"a socket of the worker cannot be looked at: {os.strerror(code)}"
            raise BenchError(message)
        with socket.socket(fileno=fd) as borrowed:
            if borrowed.family in (socket.AF_INET, socket.AF_INET6) and borrowed.type == socket.SOCK_STREAM:
                info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                (self._by_socket[name],) = _BYTES_RECEIVED.unpack_from(info)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
