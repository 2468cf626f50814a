"""Take requests from the parent, fork a worker for each, answer with its pid.

Frames as in ``core.frames``, one per packet of a ``SOCK_SEQPACKET`` pair:

| type | from → to | members |
|---|---|---|
| ``preload`` | parent → zygote; first frame | ``modules``, ``search_path``, ``parent_pid`` |
| ``ready`` | zygote → parent | everything is imported, ``fork`` may come |
| ``unfit`` | zygote → parent, last | ``text``: why nothing can be forked from here |
| ``fork`` | parent → zygote; the worker's end of its socketpair goes with it | ``id``, ``slot_file``, ``title`` |
| ``forked`` | zygote → parent | ``id``, ``pid`` |
| ``failed`` | zygote → parent | ``id``, ``text`` |
"""

import gc
import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.tether import die_with_parent
from supervisor.zygote.child import become_worker, reset_signals
from supervisor.zygote.gaps import fill_gaps
from supervisor.zygote.preload import Unfit, preload
from supervisor.zygote.title import set_title

PACKET = 1 << 18
_ONE_DESCRIPTOR = socket.CMSG_LEN(4)

Run = Callable[[socket.socket, Path], int]
"""What a worker is: from its end of the socketpair and its slot file to an exit code."""


class Zygote:
    """Serves one parent. Single-threaded for life: it waits for the parent, or for a child that ends at once."""

    def __init__(self, connection: socket.socket, run: Run) -> None:
        self._socket = connection
        self._run = run
        self._parent = 0
        self._filling: list[list[bytes]] = []
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - the os API

    def serve(self) -> int:
        """Preload, then fork until the parent goes; return an exit code, which in a worker is the worker's."""
        set_title("supervisor: zygote", "zygote")
        packet, _ = self._receive()
        told = _frame(packet)
        if told["type"] != "preload":
            return ExitCode.FAILURE
        self._parent = int(told["parent_pid"])
        if not die_with_parent(self._parent):
            return ExitCode.OK
        try:
            preload(told["modules"], told["search_path"])
        except Unfit as reason:
            self._answer(encode("unfit", text=str(reason)))
            os._exit(ExitCode.OK)  # threads that are not daemons would keep us
        reset_signals()
        importlib.invalidate_caches()
        # Young garbage would be copied into every worker, and a collection touch every page they share.
        gc.collect()
        gc.disable()
        self._filling = fill_gaps()
        gc.freeze()
        self._answer(encode("ready"))
        return self._fork_until_the_end()

    def _fork_until_the_end(self) -> int:
        """Fork what is asked for until the parent goes; return an exit code, which in a worker is the worker's.

        What is written here between two forks, reference counts included, is a page less that all workers share: each
        keeps the old one for itself. So whatever can wait until after the fork does.
        """
        while True:
            packet, descriptor = self._receive()
            if not packet:
                return ExitCode.OK
            if descriptor < 0:
                continue
            reader, writer = os.pipe()
            try:
                between = os.fork()
            except OSError as error:
                os.write(writer, encode("failed", id=_frame(packet)["id"], text=str(error)))
            else:
                if between == 0:
                    return self._become(_frame(packet), descriptor, writer)
                os.waitpid(between, 0)
            os.close(writer)
            os.close(descriptor)
            answer = os.read(reader, PACKET)
            os.close(reader)
            self._answer(answer or encode("failed", id=_frame(packet)["id"], text="the fork ended without a word"))

    def _receive(self) -> tuple[bytes, int]:
        """Wait for the parent's next packet, and the descriptor that came along, or -1; no bytes when it is gone."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(PACKET, _ONE_DESCRIPTOR, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return b"", -1
        return data, int.from_bytes(ancillary[0][2], sys.byteorder) if ancillary else -1

    def _become(self, asked: Frame, descriptor: int, writer: int) -> int:
        """Fork again and end, with an answer in ``writer``; in the new process be a worker, return its exit code."""
        between = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.write(writer, encode("failed", id=asked["id"], text=str(error)))
            os._exit(1)
        if pid:
            os.write(writer, encode("forked", id=asked["id"], pid=pid))
            os._exit(0)
        self._socket.close()
        become_worker(descriptor, parent=self._parent, between=between, title=asked["title"])
        return self._run(socket.socket(fileno=descriptor), Path(asked["slot_file"]))

    def _answer(self, frame: bytes) -> None:
        """Send; a parent that is gone is noticed at the next receive."""
        try:
            self._socket.send(frame)
        except OSError:
            return


def _frame(packet: bytes) -> Frame:
    return next(iter(FrameReader().feed(packet)), {"type": ""})
