"""``python -m supervisor.worker --fd N --slot-file PATH``: started by the parent, never by hand."""

import gc
import sys
from pathlib import Path

from supervisor.argv import our_end


def main() -> int:
    """Read the command line, import all that a worker is made of, and be one; return its exit code."""
    connection, (slot_file,) = our_end("supervisor.worker", "--slot-file")
    gc.disable()  # what is imported stays: looking through it for garbage, again and again, is a tenth of the start
    from supervisor.worker.life import run  # noqa: PLC0415 - see above

    gc.freeze()
    gc.enable()
    return run(connection, Path(slot_file))


if __name__ == "__main__":
    sys.exit(main())
