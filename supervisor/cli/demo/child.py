"""The demo's own ``supervisor run``, which must not outlive the demo: ``python -m supervisor.cli.demo.child ARGS``."""

import ctypes
import signal
import sys

from supervisor.cli.main import main

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        # prctl(2): SIGTERM when the thread that started this process ends, however it ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    main()
