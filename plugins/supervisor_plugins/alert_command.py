"""Alerts to a command of yours: the event as JSON on its standard input."""

import json
import os
import signal
import subprocess
from dataclasses import asdict, dataclass, field

from supervisor.plugin import Event, Seconds, hookimpl
from supervisor_plugins.posting import NotNowError, NotTakenError
from supervisor_plugins.telling import Audience, title

LONGEST = 25.0


class CommandAlert:
    """Run the command once per event; exit code 0 says that it was taken."""

    @dataclass(frozen=True, slots=True)
    class Options(Audience):
        """``command`` is a program and its arguments, run without a shell and ended after ``timeout``."""

        command: list[str] = field(repr=False)
        timeout: Seconds = 20.0

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            Audience.__post_init__(self)
            if not self.command:
                message = "command is empty"
                raise ValueError(message)
            if not 0 < self.timeout <= LONGEST:
                message = f"timeout must be more than 0 and at most {LONGEST:g} seconds"
                raise ValueError(message)

    def __init__(self, options: Options) -> None:
        self._options = options

    @hookimpl
    def alert(self, event: Event) -> None:
        """Run it in a process group of its own, ended as a whole when it takes too long. Raises ``NotTakenError``."""
        if not self._options.wants(event):
            return
        told = json.dumps({**asdict(event), "title": title(event)}).encode()
        try:
            process = subprocess.Popen(
                self._options.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            message = f"the command cannot be run: {error.strerror}"
            raise NotTakenError(message) from None
        try:
            process.communicate(told, timeout=self._options.timeout)
        except subprocess.TimeoutExpired:
            message = f"the command did not end within {self._options.timeout:g} s"
            raise NotTakenError(message) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            message = f"the command ended with {process.returncode}"
            raise (NotNowError if process.returncode == os.EX_TEMPFAIL else NotTakenError)(message)
