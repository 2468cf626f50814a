"""A token endpoint on this machine (OAuth 2.0, client credentials) that signs tokens which end after seconds."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.broker.certificates import SigningKey, base64_url

ISSUER = "https://tokens.test"
AUDIENCE = "kafka"


class TokenEndpoint:
    """Answers ``POST /token`` for one client id and secret, and ``GET /jwks``. Use as a context manager.

    ``given`` is how many tokens went out, ``refused`` how many were asked for with a wrong secret; while
    ``down``, connections are closed without an answer.
    """

    def __init__(self, key: SigningKey, *, client: str, secret: str, lifetime: float) -> None:
        self._key = key
        self._basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
        self._subject = client
        self.lifetime = lifetime
        self.given = self.refused = 0
        self.down = False
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if not endpoint.down:
                    self._answer(*endpoint._token(self.headers.get("Authorization") or ""))

            def do_GET(self) -> None:
                self._answer(200, {"keys": [endpoint._key.jwk]})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
                """Write nothing: tests look at what comes out."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="token-endpoint")
        host = f"http://127.0.0.1:{self._server.server_port}"
        self.url, self.keys_url = f"{host}/token", f"{host}/jwks"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _token(self, authorization: str) -> tuple[int, dict[str, Any]]:
        if authorization != f"Basic {self._basic}":
            self.refused += 1
            return 401, {"error": "invalid_client"}
        self.given += 1
        return 200, {"access_token": self._signed(), "token_type": "bearer", "expires_in": round(self.lifetime)}

    def _signed(self) -> str:
        now = time.time()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": self._subject,
            "iat": int(now),
            "exp": int(now + self.lifetime),
        }
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "1"}, claims)
        head = ".".join(base64_url(json.dumps(part).encode()) for part in parts)
        return f"{head}.{base64_url(self._key.sign(head.encode()))}"
