"""A dead-letter sink: into an SQLite file of the worker's own, where letters can be queried.

[groups.orders.dead_letters]
sink = "sqlite_dead_letters:Sink"

[plugins."sqlite_dead_letters:Sink"]
file_name = "letters.sqlite"
"""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from supervisor.plugin import Letter, WorkerContext, hookimpl

TABLE = """
create table if not exists letters (
    audit_id text primary key, topic text, key blob, value blob, disposition text, at text default current_timestamp
)
"""


class Sink:
    @dataclass(frozen=True)
    class Options:  # noqa: D106
        file_name: str = "letters.sqlite"

    def __init__(self, options: Options) -> None:
        self.options = options
        self.lock = threading.Lock()  # handler threads take turns

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        path = Path(context.state_dir) / f"{context.group}-{context.slot}-{self.options.file_name}"
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.execute("pragma synchronous = full")
        self.database.execute(TABLE)

    @hookimpl
    def send_dead_letter(self, letter: Letter) -> None:
        # Returning says that it is durable. A letter may come again: its audit_id is the same.
        row = (letter.audit_id, letter.source_topic, letter.key, letter.value, letter.disposition)
        with self.lock, self.database:
            self.database.execute(
                "insert or replace into letters (audit_id, topic, key, value, disposition) values (?, ?, ?, ?, ?)", row
            )

    @hookimpl
    def worker_stopping(self) -> None:
        self.database.close()
