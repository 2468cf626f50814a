"""``python -m supervisor.zygote --fd N``: started by the parent, never by hand."""

import argparse
import socket
import sys

from supervisor.worker.life import run
from supervisor.zygote.server import Zygote


def main() -> int:
    """Serve the parent until it goes; in a forked worker, return that worker's exit code."""
    parser = argparse.ArgumentParser(prog="python -m supervisor.zygote")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--room", help="makes room for the longer titles of workers")
    arguments = parser.parse_args()
    return Zygote(socket.socket(fileno=arguments.fd), run).serve()


if __name__ == "__main__":
    sys.exit(main())
