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
import os
import socket
from collections.abc import Callable
from pathlib import Path

from supervisor.core.exits import ExitCode
from supervisor.core.frames import Frame, FrameReader, encode
from supervisor.tether import die_with_parent
from supervisor.zygote.child import become_worker
from supervisor.zygote.preload import Unfit, preload
from supervisor.zygote.title import set_title

PACKET = 1 << 18

Run = Callable[[socket.socket, Path], int]
"""What a worker is: from its end of the socketpair and its slot file to an exit code."""


class Zygote:
    """Serves one parent. Single-threaded for life: it waits for the parent, or for a child that ends at once."""

    def __init__(self, connection: socket.socket, run: Run) -> None:
        self._socket = connection
        self._run = run
        self._parent = 0
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 - the os API

    def serve(self) -> int:
        """Preload, then fork until the parent goes; return an exit code, which in a worker is the worker's."""
        set_title("supervisor: zygote", "zygote")
        order = self._receive()
        if order is None or order[0]["type"] != "preload":
            return ExitCode.FAILURE
        told, _ = order
        self._parent = int(told["parent_pid"])
        if not die_with_parent(self._parent):
            return ExitCode.OK
        try:
            preload(told["modules"], told["search_path"])
        except Unfit as reason:
            self._answer(encode("unfit", text=str(reason)))
            os._exit(ExitCode.OK)  # threads that are not daemons would keep us
        # Young garbage would be copied into every worker, and a collection touch every page they share.
        gc.collect()
        gc.disable()
        gc.freeze()
        self._answer(encode("ready"))
        while (order := self._receive()) is not None:
            asked, descriptors = order
            if asked["type"] == "fork" and len(descriptors) == 1:
                code = self._fork(asked, descriptors[0])
                if code is not None:
                    return code
        return ExitCode.OK

    def _receive(self) -> tuple[Frame, list[int]] | None:
        """Wait for the parent's next packet; ``None`` when it is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, PACKET, 1)
        except OSError:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the os API
        frames = FrameReader().feed(data)
        return (frames[0], descriptors) if frames else None

    def _fork(self, asked: Frame, descriptor: int) -> int | None:
        """Fork a worker and answer; in the worker, be one and return its exit code."""
        reader, writer = os.pipe()
        try:
            between = os.fork()
        except OSError as error:
            self._close(reader, writer, descriptor)
            self._answer(encode("failed", id=asked["id"], text=str(error)))
            return None
        if between == 0:
            between = os.getpid()
            _second_fork(writer)  # returns in the worker only
            self._socket.close()
            become_worker(descriptor, parent=self._parent, between=between, title=asked["title"])
            return self._run(socket.socket(fileno=descriptor), Path(asked["slot_file"]))
        self._close(writer, descriptor)
        os.waitpid(between, 0)
        pid, _, text = os.read(reader, 4096).decode().partition(" ")
        self._close(reader)
        if int(pid or 0) > 0:
            self._answer(encode("forked", id=asked["id"], pid=int(pid)))
        else:
            self._answer(encode("failed", id=asked["id"], text=text or "the fork ended without a word"))
        return None

    def _answer(self, frame: bytes) -> None:
        """Send; a parent that is gone is noticed at the next receive."""
        try:
            self._socket.send(frame)
        except OSError:
            return

    @staticmethod
    def _close(*descriptors: int) -> None:
        for descriptor in descriptors:
            os.close(descriptor)


def _second_fork(writer: int) -> None:
    """Fork once more and end, having written the new pid; return in the new process."""
    try:
        pid = os.fork()
    except OSError as error:
        os.write(writer, f"0 {error}".encode())
        os._exit(1)
    if pid:
        os.write(writer, str(pid).encode())
        os._exit(0)
