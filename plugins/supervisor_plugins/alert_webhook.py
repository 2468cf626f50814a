"""Alerts to a URL: a JSON POST per event, as chat systems and incident tools take them."""

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from supervisor.plugin import Event, Seconds, hookimpl

ATTEMPTS = 3
_TOO_MANY = 429
_SERVER_ERROR = 500


class WebhookError(Exception):
    """The event was not taken. Says neither URL nor headers: both may hold a secret."""


class WebhookAlert:
    """POST each event as JSON: ``name``, ``severity``, ``at``, ``group``, ``slot``, ``text``, ``fields``."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``timeout`` is for one of three attempts; ``headers`` are sent with each (``Authorization``, ...)."""

        url: str
        timeout: Seconds = 5.0
        headers: dict[str, str] = field(default_factory=dict)

        def __post_init__(self) -> None:
            """Refuse what could never be posted to; never repeat the URL."""
            parts = urlsplit(self.url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                message = "url must begin with https:// or http:// and name a host"
                raise ValueError(message)
            if not 0 < self.timeout <= 9:  # noqa: PLR2004 - three of them and the pauses stay within the notifier's 30 s
                message = "timeout must be more than 0 and at most 9 seconds"
                raise ValueError(message)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Try three times, 0.5 and 1 s apart; an answer of 4xx (but 429) is final. Raises ``WebhookError``."""
        told = {name: value for name, value in asdict(event).items() if name != "attachments"}
        body = json.dumps({**told, "text": event.text or event.name}).encode()
        for attempt in range(1, ATTEMPTS + 1):
            failure, is_final = self._post(body)
            if not failure:
                return
            if is_final or attempt == ATTEMPTS:
                message = f"event {event.name} not taken after {attempt} attempts: {failure}"
                raise WebhookError(message)
            self._sleep(0.5 * attempt)

    def _post(self, body: bytes) -> tuple[str, bool]:
        """Return why the POST failed ("" when it did not) and whether another one is of no use."""
        headers = {"Content-Type": "application/json", "User-Agent": "kafka-supervisor", **self._options.headers}
        request = urllib.request.Request(self._options.url, data=body, headers=headers, method="POST")  # noqa: S310 - Options lets http and https through only
        try:
            with self._opener.open(request, timeout=self._options.timeout):
                return "", True
        except HTTPError as error:
            error.close()
            return f"HTTP status {error.code}", error.code < _SERVER_ERROR and error.code != _TOO_MANY
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            return f"{type(reason).__name__}", False
        except ValueError as error:  # a header that cannot be sent; its text would repeat the header
            return f"{type(error).__name__}: a header or the url cannot be sent", True


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST becomes a GET without the event: make it an error instead."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """Follow none."""
