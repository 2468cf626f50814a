"""Start a child that is tied to us as a worker is: ``orphan_program.py BEHAVIOUR``; prints its pid and its child's."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from supervisor.link import Link
from supervisor.tether import die_with_parent, take_along
from supervisor.worker.orders import Orders

CHILD = "-as-the-child"


def child(behaviour: str, fd: int, parent: int) -> None:
    orders = Orders(Link(socket.socket(fileno=fd)), (), orphan_grace=1.0, stop_timeout=1.0)
    assert die_with_parent(parent, bounded=True)
    match behaviour:
        case "holds-the-lock":
            threading.Thread(target=hold_the_lock, daemon=True).start()
        case "has-a-child":
            helper = subprocess.Popen((sys.executable, "-c", "import time; time.sleep(600)"), stdout=subprocess.DEVNULL)
            print(helper.pid, flush=True)
        case "ignores-sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour not in ("holds-the-lock", "has-a-child"):
        print(os.getpid(), flush=True)
    while orders.wait(0.1) is None:
        pass
    while behaviour not in ("obeys", "has-a-child"):  # it was told, and does not end: the alarm must
        time.sleep(1)
    take_along(parent, patience=5.0)


def hold_the_lock() -> None:
    """Be in C for good, in a handler's thread: no Python runs in this process any more."""
    c, line = ctypes.PyDLL(None), f"{os.getpid()}\n".encode()
    c.write(1, line, len(line))
    c.sleep(3600)


def main() -> None:
    ours, theirs = socket.socketpair()
    command = (sys.executable, "-m", "tests.process.orphan_program", sys.argv[1], CHILD, str(theirs.fileno()))
    with subprocess.Popen((*command, str(os.getpid())), pass_fds=(theirs.fileno(),), start_new_session=True):
        theirs.close()
        time.sleep(600)
        ours.close()


if __name__ == "__main__":
    if CHILD in sys.argv:
        child(sys.argv[1], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
