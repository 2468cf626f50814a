"""Who did what with dead letters, as events: told by the running supervisor, else written into its journal by us."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from supervisor.cli.dlq.asking import ask
from supervisor.cli.errors import CommandError
from supervisor.cli.project import client, control_errors
from supervisor.control.client import NotRunning
from supervisor.core.dlq import DlqAnswer, DlqRequest
from supervisor.core.dlq_told import ENDS, about, cut, ending
from supervisor.core.events import Event, Scalar, Severity
from supervisor.parent.store.journal_file import append, journal_file


@dataclass(frozen=True, slots=True)
class Audit:
    """Tells events of one command; each is durable when ``tell`` returns, whether or not a supervisor runs."""

    config_path: Path
    socket: Path | None
    request: DlqRequest

    def tell(self, name: str, text: str, fields: dict[str, Scalar] | None = None) -> None:
        """Tell that ``name`` (``replayed``) happened; raises ``CommandError`` when nobody can note it."""
        text, told = cut(text), {**about(self.request), **(fields or {})}
        group = self.request.group.name
        with control_errors():
            try:
                client(self.config_path, self.socket).note_dlq(name, group, text=text, fields=told)
            except NotRunning:
                if self.socket is not None:
                    raise
            else:
                return
        file = journal_file(self.request.state_dir)
        who: dict[str, Scalar] = {"uid": os.getuid(), "pid": os.getpid()}
        event = Event(f"dlq.{name}", Severity.INFO, time.time(), group=group, text=text, fields=told | who)
        try:
            append(file, event)
        except (OSError, sqlite3.Error) as error:
            message = f"nothing runs here, and who does this cannot be noted in {file}: {error}"
            raise CommandError(message) from error

    @contextmanager
    def noted(self, title: str, *, is_quiet: bool) -> Iterator[DlqAnswer]:
        """Have the request done and what came of it told; within, show the answer.

        What cannot be noted is a ``CommandError`` once the answer was shown. The reason of a failure before that goes
        first: then it is only printed.
        """
        unnoted: CommandError | None = None
        try:
            try:
                answer = ask(self.request, title=title, is_quiet=is_quiet)
            except BaseException as error:
                why = error.message if isinstance(error, CommandError) else type(error).__name__
                unnoted = self._tell_end(DlqAnswer(error=why, killed=True))
                raise
            unnoted = self._tell_end(answer)
            yield answer
        except BaseException:
            if unnoted is not None:
                unnoted.show()
            raise
        if unnoted is not None:
            raise unnoted

    def _tell_end(self, answer: DlqAnswer) -> CommandError | None:
        """Tell how it ended, or return why that cannot be noted."""
        text, fields = ending(self.request, answer)
        try:
            self.tell(ENDS[self.request.verb], text, fields)
        except CommandError as error:
            return error
        return None
