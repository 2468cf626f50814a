"""A real zygote that forks fake workers; a file ``zygote`` in its folder tells it to misbehave, once."""

import argparse
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

from supervisor.zygote.server import Zygote


class Fake(Zygote):
    folder = Path()

    def _answer(self, frame: bytes) -> None:
        told = self.folder / "zygote"
        if b"forked" in frame and told.exists():
            words = told.read_text()
            told.unlink()
            os.kill(os.getpid(), signal.SIGKILL if words == "die" else signal.SIGSTOP)
        super()._answer(frame)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--room")
    arguments = parser.parse_args()
    run = runpy.run_path(str(Path(__file__).parent / "fake_worker.py"))["run"]
    zygote = Fake(socket.socket(fileno=arguments.fd), run)
    zygote.folder = arguments.folder
    return zygote.serve()


if __name__ == "__main__":
    sys.exit(main())
