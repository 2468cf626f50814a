"""A supervisor for tests, of a few lines.

It keeps ``members`` processes of ``command`` running; without ``restarts`` it ends with the first that does.
"""

import json
import subprocess
import sys
import time


def main() -> None:
    task = json.loads(sys.argv[1])
    slots = range(task["members"])

    def start(slot: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([word.replace("%(process_num)d", str(slot)) for word in task["command"]])

    running = {slot: start(slot) for slot in slots}
    while True:
        for slot in slots:
            if running[slot].poll() is None:
                continue
            if not task["restarts"]:
                sys.exit("a consumer of https://user:secret@index.example/simple is dead")
            running[slot] = start(slot)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
