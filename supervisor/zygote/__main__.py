"""``python -m supervisor.zygote --fd N --room ___``: started by the parent, never by hand."""

import sys

from supervisor.argv import our_end
from supervisor.worker.life import run
from supervisor.zygote.server import Zygote


def main() -> int:
    """Serve the parent until it goes; in a forked worker, return that worker's exit code.

    What ``--room`` says is of no matter: it makes room for the longer titles of workers.
    """
    connection, _ = our_end("supervisor.zygote", "--room")
    return Zygote(connection, run).serve()


if __name__ == "__main__":
    sys.exit(main())
