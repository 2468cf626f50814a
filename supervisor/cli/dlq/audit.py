"""Who did what with dead letters, as events: told by the running supervisor, else written into its journal by us."""

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from supervisor.cli.dlq.asking import words
from supervisor.cli.errors import CommandError
from supervisor.cli.project import client, control_errors
from supervisor.control.client import NotRunning
from supervisor.core.dlq import Counts, DlqAnswer, DlqRequest
from supervisor.core.events import Event, Scalar, Severity
from supervisor.core.jsonable import to_json
from supervisor.parent.store.journal_file import append, journal_file


@dataclass(frozen=True, slots=True)
class Audit:
    """Tells events of one command; each is durable when ``tell`` returns, whether or not a supervisor runs."""

    config_path: Path
    socket: Path | None
    request: DlqRequest

    def tell(self, name: str, text: str, fields: dict[str, Scalar] | None = None) -> None:
        """Tell that ``name`` (``replayed``) happened; raises ``CommandError`` when nobody can note it."""
        told = {**self._about(), **(fields or {})}
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

    def tell_end(self, name: str, answer: DlqAnswer | None, *, about: str = "") -> None:
        """Tell what came of it; ``None``: it ended without an answer, and may have done some of it."""
        if answer is None:
            self.tell(name, f"{about}how much was done is not known", {"ended": "killed"})
            return
        ended = "failed" if answer.error else "stopped" if answer.stopped else "done"
        self.tell(
            name, about + words(answer.counts, none="nothing was done"), {"ended": ended, **_numbers(answer.counts)}
        )

    def _about(self) -> dict[str, Scalar]:
        request, where = self.request, self.request.where
        told: dict[str, Scalar] = {"source": where.place.value, "filter": request.meant.text}
        if where.topics or where.files:
            told["from"] = " ".join(where.topics or where.files)
        if request.replay.name:
            told["replay"] = request.replay.name
        if request.replay.to:
            told["to"] = request.replay.to
        return told


def _numbers(counts: Counts) -> dict[str, Scalar]:
    """Return the counts that are not zero, as fields of an event."""
    return {name: count for name, count in to_json(counts).items() if count}
