"""An inspector that sends the frames of a script, one JSON object per line, then stays; or ends, with ``--end``."""

import argparse
import json
import socket
import sys
from pathlib import Path

from supervisor.core.frames import encode

parser = argparse.ArgumentParser()
parser.add_argument("--script", type=Path, required=True)
parser.add_argument("--end", action="store_true")
parser.add_argument("--fd", type=int, required=True)
arguments = parser.parse_args()
link = socket.socket(fileno=arguments.fd)
for line in arguments.script.read_text().splitlines():
    frame = json.loads(line)
    link.sendall(encode(frame.pop("type"), **frame))
if arguments.end:
    sys.exit(3)
while link.recv(1 << 16):
    pass
