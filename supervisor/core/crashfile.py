"""The layout of a slot's crash file: a ring of the worker's last log lines, then what faulthandler wrote.

Both must be there after SIGKILL, so the ring is mapped memory of a file on tmpfs, beside the slot file. An entry is
UTF-8 and ends with a NUL; the count of bytes ever written says where the ring begins.
"""

import re
import struct
from pathlib import PurePath

HEAD = 16 * 1024
RING_AT = 16
RING = HEAD - RING_AT
LINES = 50
LONGEST = 1000
MAGIC = b"ksring1\0"
MOST_STACK = 32 * 1024
"""Bytes of stacks that are read, the newest: what ended the worker stands last."""
_COUNT = struct.Struct("=8sQ")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def crash_path(slot_file: PurePath) -> str:
    """Return the crash file's path, beside the slot file."""
    return str(slot_file.with_suffix(".crash"))


def begin(memory: memoryview) -> None:
    """Empty the ring."""
    _COUNT.pack_into(memory, 0, MAGIC, 0)


def note(memory: memoryview, line: str) -> None:
    """Put a line into the ring, over the oldest; what is beyond ``LONGEST`` bytes is cut off."""
    data = line.encode(errors="replace")[:LONGEST].replace(b"\0", b"?") + b"\0"
    (_, count) = _COUNT.unpack_from(memory, 0)
    at = count % RING
    first = data[: RING - at]
    memory[RING_AT + at : RING_AT + at + len(first)] = first
    memory[RING_AT : RING_AT + len(data) - len(first)] = data[len(first) :]
    _COUNT.pack_into(memory, 0, MAGIC, count + len(data))


def last_lines(head: bytes) -> str:
    """Return the last ``LINES`` entries of a ring, empty when it is none."""
    if len(head) < HEAD:
        return ""
    magic, count = _COUNT.unpack_from(head, 0)
    if magic != MAGIC:
        return ""
    ring, at = head[RING_AT:HEAD], count % RING
    entries = ring[:at] if count <= RING else (ring[at:] + ring[:at]).partition(b"\0")[2]
    return plain(b"\n".join(entries.split(b"\0")[:-1][-LINES:]))


def plain(data: bytes) -> str:
    """Return bytes of a process that runs user code as text without control characters."""
    return _CONTROL.sub("?", data.decode(errors="replace"))
