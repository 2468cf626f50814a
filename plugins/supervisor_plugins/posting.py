"""Send with a few attempts, most of all by POST to a URL; what goes wrong is told without the URL or a header."""

import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit

from supervisor.plugin import Seconds, TryAgainError
from supervisor_plugins.telling import Audience

ATTEMPTS = 3
LONGEST_TIMEOUT = 9.0
"""Seconds; three attempts and the pauses stay within the notifier's 30 s."""
NO_HEADERS: Mapping[str, str] = {}
_TOO_MANY = 429
_SERVER_ERROR = 500


class NotTakenError(Exception):
    """The message was not taken. Says neither URL nor headers."""


class NotNowError(NotTakenError, TryAgainError):
    """The message was not taken now, but may be later: the notifier offers it again."""


def check_timeout(timeout: float) -> None:
    """Raise ``ValueError`` for a timeout that does not fit into the notifier's."""
    if not 0 < timeout <= LONGEST_TIMEOUT:
        message = f"timeout must be more than 0 and at most {LONGEST_TIMEOUT:g} seconds"
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class PostOptions(Audience):
    """Options of who posts. ``url`` may be a secret, and is never shown; ``timeout`` is for one of three attempts."""

    url: str = field(repr=False)
    timeout: Seconds = 5.0

    def __post_init__(self) -> None:
        """Refuse what could never be posted to; never repeat the URL."""
        Audience.__post_init__(self)
        check_timeout(self.timeout)
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = "url must begin with https:// or http:// and name a host"
            raise ValueError(message)


def until_taken(what: str, once: Callable[[], tuple[str, bool]], *, sleep: Callable[[float], None]) -> None:
    """Call ``once`` up to three times, 0.5 and 1 s apart; raises ``NotTakenError``, ``NotNowError`` where it may help.

    It returns why it failed ("" when it did not), without a secret, and whether another try is of no use.
    """
    for attempt in range(1, ATTEMPTS + 1):
        failure, is_final = once()
        if not failure:
            return
        if is_final or attempt == ATTEMPTS:
            message = f"{what} not taken after {attempt} attempts: {failure}"
            raise (NotTakenError if is_final else NotNowError)(message)
        sleep(0.5 * attempt)


class Post:
    """POSTs to one URL. A thread at a time; blocks for at most three timeouts and 1.5 s."""

    def __init__(self, url: str, *, timeout: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = url
        self._timeout = timeout
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirect)

    def send(self, what: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Try as ``until_taken`` does; an answer of 4xx (but 429) is final. Raises ``NotTakenError``."""
        until_taken(what, lambda: self._post(body, headers), sleep=self._sleep)

    def _post(self, body: bytes, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Return why the POST failed ("" when it did not) and whether another one is of no use."""
        sent = {"Content-Type": "application/json", "User-Agent": "kafka-supervisor", **headers}
        request = urllib.request.Request(self._url, data=body, headers=sent, method="POST")  # noqa: S310 - PostOptions lets http and https through only
        try:
            with self._opener.open(request, timeout=self._timeout):
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
    """A redirected POST becomes a GET without the message: make it an error instead."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: object, newurl: str
    ) -> None:
        """Follow none."""
