"""Alerts through Apprise, which knows a hundred services by a URL each: ``pip install kafka-supervisor[apprise]``."""

from dataclasses import dataclass, field
from typing import Any

from supervisor.plugin import Event, Severity, hookimpl
from supervisor_plugins.posting import NotTakenError
from supervisor_plugins.telling import Audience, details, evidence, is_resolved, title


class AppriseAlert:
    """One notification per event, to all ``urls``."""

    @dataclass(frozen=True, slots=True)
    class Options(Audience):
        """``urls`` are Apprise's (``tgram://...``, ``msteams://...``), secrets all of them."""

        urls: list[str] = field(repr=False)

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            Audience.__post_init__(self)
            if not self.urls:
                message = "urls is empty"
                raise ValueError(message)

    def __init__(self, options: Options) -> None:
        try:
            import apprise  # noqa: PLC0415 - an extra: only who lists this plugin needs it
        except ImportError as error:
            message = "Apprise is not installed: pip install 'kafka-supervisor[apprise]'"
            raise ValueError(message) from error
        self._options = options
        self._service: Any = apprise.Apprise()
        for number, url in enumerate(options.urls):
            if not self._service.add(url):
                message = f"urls[{number}] is no URL that Apprise knows"
                raise ValueError(message)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Notify; raises ``NotTakenError`` when any of the services did not take it (Apprise says no more)."""
        if not self._options.wants(event):
            return
        kind = {Severity.CRITICAL: "failure", Severity.WARNING: "warning"}.get(event.severity, "info")
        facts = "\n".join(f"{name}: {value}" for name, value in details(event))
        body = "\n\n".join([facts, *(f"{name}:\n{text}" for name, text in evidence(event))])
        is_taken = self._service.notify(
            title=title(event), body=body, notify_type="success" if is_resolved(event) else kind
        )
        if not is_taken:
            message = f"event {event.name} was not taken by every service"
            raise NotTakenError(message)
