"""Alerts by e-mail, over SMTP (RFC 5321)."""

import smtplib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from supervisor.plugin import Event, Seconds, hookimpl
from supervisor_plugins.posting import ATTEMPTS, NotNowError, NotTakenError, check_timeout
from supervisor_plugins.telling import Audience, details, evidence, key_of, title

_TRANSIENT = range(400, 500)
_LONGEST_SUBJECT = 200


class EmailAlert:
    """One message per event, to all of ``to`` at once."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``tls``: ``starttls`` (default), ``tls`` from the first byte, or ``none``; ``port`` 0 is its usual one."""

        host: str
        sender: str
        to: list[str]
        port: int = 0
        tls: str = "starttls"
        username: str = ""
        password: str = field(default="", repr=False)
        timeout: Seconds = 8.0
        severity: str = "warning"
        groups: list[str] = field(default_factory=list)

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            if self.tls not in _PORTS:
                message = f"tls must be one of {', '.join(_PORTS)}"
                raise ValueError(message)
            if not self.to or not all("@" in one for one in (self.sender, *self.to)):
                message = "sender and to must be addresses with an @"
                raise ValueError(message)
            check_timeout(self.timeout)
            Audience(self.severity)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._audience = Audience(options.severity, options.groups)
        self._sleep = sleep

    @hookimpl
    def alert(self, event: Event) -> None:
        """Try three times; what the server refuses for good (5xx) is final. Raises ``NotTakenError``."""
        if not self._audience.wants(event):
            return
        written = message(event, self._options.sender, self._options.to)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._send(written)
            except (OSError, smtplib.SMTPException) as error:
                if attempt == ATTEMPTS or _is_final(error):
                    text = f"event {event.name} not taken after {attempt} attempts: {_code(error)}"
                    raise (NotTakenError if _is_final(error) else NotNowError)(
                        text
                    ) from None  # its text may repeat what was sent
                self._sleep(0.5 * attempt)
            else:
                return

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
