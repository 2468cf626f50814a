"""Run the notifier: ``python -m supervisor.notifier --fd N``, started by the supervisor only."""

import logging
import os
import signal
import sys
import time

from supervisor.core.child_specs import NotifierSpec
from supervisor.core.exits import ExitCode
from supervisor.link import take_spec
from supervisor.logs import set_up_logging
from supervisor.notifier.loop import Loop
from supervisor.plugin.errors import PluginError
from supervisor.plugin.loader import load
from supervisor.tether import die_with_parent

FLUSH_TIMEOUT = 1.0

_log = logging.getLogger(__name__)


def main() -> ExitCode:
    """Read the spec, load the alert plugins, run the loop; return the exit code."""
    told = take_spec("supervisor.notifier", NotifierSpec)
    if told is None:
        return ExitCode.FAILURE
    link, spec, early = told
    set_up_logging(spec.log_format, spec.log_level, {"process": "notifier"})
    try:
        active = load(spec.plugins, "", group="")
    except PluginError as error:
        for problem in error.problems:
            _log.error("plugin.refused", extra={"fields": {"plugin": problem.plugin, "why": problem.text}})
        link.send("bye", code=int(ExitCode.CONFIG), reason=str(error)[:500])
        link.flush_until(time.monotonic() + FLUSH_TIMEOUT)
        return ExitCode.CONFIG
    loop = Loop(link, active.alerts)
    signal.signal(signal.SIGTERM, lambda _signal, _frame: loop.request_stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    if not die_with_parent(spec.parent_pid):
        return ExitCode.OK
    loop.run(early)
    return ExitCode.OK


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: a plugin's stuck thread or its pool's must not keep the process.
    os._exit(code)
