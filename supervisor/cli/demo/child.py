"""The demo's own ``supervisor run``, which must not outlive the demo: ``python -m supervisor.cli.demo.child ARGS``."""

import os

from supervisor.cli.main import main
from supervisor.tether import die_with_parent

if __name__ == "__main__":
    die_with_parent(os.getppid())
    main()
