"""A notifier that writes the names of events into a file, and counts them; ``--die-of NAME`` makes one kill it."""

import argparse
import os
import socket
import sys
from pathlib import Path

from supervisor.core.frames import FrameReader, encode

parser = argparse.ArgumentParser()
parser.add_argument("--log", type=Path, required=True)
parser.add_argument("--die-of", default="")
parser.add_argument("--fd", type=int, required=True)
arguments = parser.parse_args()
link = socket.socket(fileno=arguments.fd)
reader = FrameReader()
link.sendall(encode("ready"))
taken = 0
while data := link.recv(1 << 16):
    for frame in reader.feed(data):
        if frame["type"] == "stop":
            sys.exit(0)
        if frame["type"] == "alert":
            name = frame["event"]["name"]
            with arguments.log.open("a") as file:
                file.write(name + "\n")
            taken += 1
            counts = {"delivered": taken, "failed": 0, "dropped": 0, "queued": 3}
            link.sendall(encode("stats", stats={"fake": counts}))
            if name == arguments.die_of:
                os._exit(9)
