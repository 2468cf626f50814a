"""A URL that takes alerts, as a chat system would."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Hook:
    """Keeps every alert it is sent."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        taken = self.taken

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alert"

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of one event's name."""
        return [alert for alert in list(self.taken) if alert["name"] == name]
