"""Alerts to a URL: a JSON POST per event, as chat systems and incident tools take them."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from supervisor.plugin import Event, hookimpl
from supervisor_plugins.posting import NotTakenError, Post, PostOptions
from supervisor_plugins.telling import key_of, title, where

WebhookError = NotTakenError
_PLACE = re.compile(r"\{([a-z_.-]+)\}")


class WebhookAlert:
    """POST each event as JSON: ``name``, ``severity``, ``at``, ``group``, ``slot``, ``text``, ``fields``.

    With a ``template`` that is posted, ``{...}`` in its strings filled in. With a ``secret`` each POST is signed.
    """

    @dataclass(frozen=True, slots=True)
    class Options(PostOptions):
        """``headers`` are sent with each POST (``Authorization``, ...).

        ``template``: what to post instead; its strings may have ``{name}``, ``{severity}``, ``{title}``, ``{text}``,
        ``{where}``, ``{key}``, ``{group}``, ``{slot}``, ``{at}`` and the event's fields. ``secret``: sign by it.
        """

        headers: dict[str, str] = field(default_factory=dict, repr=False)
        template: dict[str, Any] = field(default_factory=dict, repr=False)
        secret: str = field(default="", repr=False)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._post = Post(options.url, timeout=options.timeout, sleep=sleep)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Post the event; raises ``NotTakenError`` after three attempts."""
        if not self._options.wants(event):
            return
        body = json.dumps(self._body(event)).encode()
        self._post.send(f"event {event.name}", body, {**self._options.headers, **self._signature(body)})

    def _body(self, event: Event) -> object:
        if self._options.template:
            return _filled(self._options.template, _values(event))
        told = {name: value for name, value in asdict(event).items() if name != "attachments" or value}
        return {**told, "text": event.text or event.name}

    def _signature(self, body: bytes) -> dict[str, str]:
        """Sign time and body, so that neither can be changed nor an old message be sent again."""
        if not self._options.secret:
            return {}
        at = str(int(time.time()))
        digest = hmac.new(self._options.secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"X-Supervisor-Timestamp": at, "X-Supervisor-Signature": f"sha256={digest}"}


def _values(event: Event) -> dict[str, str]:
    fields = {name: "" if value is None else str(value) for name, value in event.fields.items()}
    own = {
        "name": event.name,
        "severity": event.severity.value,
        "title": title(event),
        "text": event.text or event.name,
        "where": where(event),
        "key": key_of(event),
        "group": event.group,
        "slot": "" if event.slot is None else str(event.slot),
        "at": f"{event.at:.3f}",
    }
    return {**fields, **own}


def _filled(template: object, values: dict[str, str]) -> object:
    """Return the template with places filled in; what is no place of ours stays as it is written."""
    if isinstance(template, dict):
        return {name: _filled(item, values) for name, item in template.items()}
    if isinstance(template, list):
        return [_filled(item, values) for item in template]
    if isinstance(template, str):
        return _PLACE.sub(lambda place: values.get(place[1], place[0]), template)
    return template
