"""The command line of a child: ``--fd N`` and a few options more, which only the supervisor writes.

Read without argparse: that takes 7 ms to import, on each worker's way back to work.
"""

import socket
import sys

from supervisor.core.exits import ExitCode

FD = "--fd"


def our_end(program: str, *options: str) -> tuple[socket.socket, list[str]]:
    """Return our end of the socketpair, named by ``--fd``, and the values of ``options`` in their order.

    Each must be there, as ``--name VALUE``. A command line that is anything else ends the process (``ExitCode.USAGE``).
    """
    words = sys.argv[1:]
    given = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) != 2 * len(given) or given.keys() != {FD, *options} or not given[FD].isdecimal():
        wanted = " ".join((f"{FD} NUMBER", *(f"{option} VALUE" for option in options)))
        sys.stderr.write(f"{program}: expected {wanted}, found {' '.join(words) or 'nothing'}\n")
        sys.stderr.write("help: the supervisor starts this program; you want: supervisor run\n")
        sys.exit(ExitCode.USAGE)
    return socket.socket(fileno=int(given[FD])), [given[option] for option in options]
