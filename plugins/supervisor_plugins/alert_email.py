"""Alerts by e-mail, over SMTP (RFC 5321)."""

import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from supervisor.plugin import Event, Seconds, hookimpl
from supervisor_plugins.posting import check_timeout, until_taken
from supervisor_plugins.telling import Audience, details, evidence, key_of, title

_TRANSIENT = range(400, 500)
_LONGEST_SUBJECT = 200


class EmailAlert:
    """One message per event, to all of ``to`` at once."""

    @dataclass(frozen=True, slots=True)
    class Options(Audience):
        """``tls``: ``starttls`` (default), ``tls`` from the first byte, or ``none``; ``port`` 0 is its usual one."""

        host: str
        sender: str
        to: list[str]
        port: int = 0
        tls: str = "starttls"
        username: str = ""
        password: str = field(default="", repr=False)
        timeout: Seconds = 8.0

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            Audience.__post_init__(self)
            if self.tls not in _PORTS:
                message = f"tls must be one of {', '.join(_PORTS)}"
                raise ValueError(message)
            if not self.to or not all("@" in one for one in (self.sender, *self.to)):
                message = "sender and to must be addresses with an @"
                raise ValueError(message)
            check_timeout(self.timeout)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._sleep = sleep

    @hookimpl
    def alert(self, event: Event) -> None:
        """Try three times; what the server refuses for good (5xx) is final. Raises ``NotTakenError``."""
        if self._options.wants(event):
            written = message(event, self._options.sender, self._options.to)
            until_taken(f"event {event.name}", lambda: self._try(written), sleep=self._sleep)

    def _try(self, written: EmailMessage) -> tuple[str, bool]:
        try:
            self._send(written)
        except (OSError, smtplib.SMTPException) as error:
            return _code(error), _is_final(error)  # not its text, which may repeat what was sent
        return "", True

    def _send(self, written: EmailMessage) -> None:
        options = self._options
        port = options.port or _PORTS[options.tls]
        context = ssl.create_default_context() if options.tls != "none" else None
        if options.tls == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(options.host, port, timeout=options.timeout, context=context)
        else:
            connection = smtplib.SMTP(options.host, port, timeout=options.timeout)
        with connection:
            if options.tls == "starttls":
                connection.starttls(context=context)
            if options.username:
                connection.login(options.username, options.password)
            connection.send_message(written)


_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def message(event: Event, sender: str, to: list[str]) -> EmailMessage:
    """Return the event as a message; those of one condition make one thread."""
    written = EmailMessage()
    written["Subject"] = " ".join(title(event).split())[:_LONGEST_SUBJECT]
    written["From"], written["To"] = sender, ", ".join(to)
    written["Date"], written["Message-ID"] = formatdate(event.at), make_msgid(domain="kafka-supervisor")
    written["References"] = f"<{key_of(event).replace('/', '.')}@kafka-supervisor>"
    written["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    facts = "\n".join(f"{name}: {value}" for name, value in details(event))
    parts = [title(event), facts, *(f"{name}:\n{text}" for name, text in evidence(event))]
    written.set_content("\n\n".join(parts) + "\n")
    return written


def _is_final(error: Exception) -> bool:
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code not in _TRANSIENT
    return isinstance(error, smtplib.SMTPNotSupportedError | smtplib.SMTPRecipientsRefused)


def _code(error: Exception) -> str:
    return f"SMTP {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else type(error).__name__
