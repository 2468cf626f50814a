"""A control socket that answers what a test wants, on a thread: for the command line's own behaviour."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from supervisor.core.jsonable import to_json
from supervisor.core.snapshot import Snapshot


@dataclass(slots=True)
class FakeSupervisor:
    """``snapshots`` are answered one after the other, the last one for ever; ``asked`` has every action."""

    socket: Path
    snapshots: list[Snapshot]
    accepted: tuple[str, ...] = ()
    refusal: tuple[int, dict[str, str]] | None = None
    gone_after: int | None = None
    no_action: tuple[int, dict[str, str]] | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def status(self) -> tuple[int, Any]:
        if self.refusal:
            return self.refusal
        if self.gone_after is not None:
            self.gone_after -= 1
            if self.gone_after == 0:
                self.refusal = (403, {"error": "enough"})
        return 200, to_json(self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0])

    def act(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.asked.append((path.rsplit("/", 1)[-1], body))
        verb = path.rsplit("/", 1)[-1]
        if verb in self.answers:
            return 202, self.answers[verb]
        return self.no_action or (202, {"text": "", "slots": list(self.accepted)})


@contextmanager
def fake_supervisor(folder: Path, *snapshots: Snapshot, **behaviour: Any) -> Iterator[FakeSupervisor]:
    fake = FakeSupervisor(folder / "control.sock", list(snapshots), **behaviour)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            verb = self.path.rsplit("/", 1)[-1]
            self._answer(*((200, fake.answers[verb]) if verb in fake.answers else fake.status()))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*fake.act(self.path, body))

        def _answer(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def address_string(self) -> str:
            return "a Unix socket"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            return

    with socketserver.ThreadingUnixStreamServer(str(fake.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
