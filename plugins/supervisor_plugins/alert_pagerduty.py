"""Alerts to PagerDuty (Events API v2): conditions open incidents and resolve them, of moments only critical ones.

A moment (a worker died) has no end that anybody could tell, so its incident is its reader's to resolve. One that is a
warning was mended by the supervisor already: it becomes a change event, which stands beside incidents and pages nobody.
"""

import hashlib
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from supervisor.plugin import Event, Severity, hookimpl
from supervisor_plugins.posting import Post, PostOptions
from supervisor_plugins.telling import details, evidence, is_condition, is_resolved, key_of, title

URL = "https://events.pagerduty.com/v2/enqueue"
CHANGES = "change/enqueue"
"""Where changes go, from ``url``."""
LONGEST_SUMMARY = 1024
LONGEST_KEY = 255


class PagerDutyAlert:
    """One event of PagerDuty per event of ours; the same one again falls into the incident that is open."""

    @dataclass(frozen=True, slots=True)
    class Options(PostOptions):
        """``routing_key`` is the integration's; ``source`` (empty: the host's name) is who speaks.

        A ``source`` is part of what tells incidents apart, as the supervisor's name is. The host's name is not: that of
        a container is another one after each start, and nobody would resolve what the one before had opened.
        """

        url: str = field(default=URL, repr=False)
        severity: str = field(default="critical", kw_only=True)
        routing_key: str = field(repr=False, kw_only=True)
        source: str = ""

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            PostOptions.__post_init__(self)
            if not self.routing_key:
                message = "routing_key is empty"
                raise ValueError(message)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._incidents = Post(options.url, timeout=options.timeout, sleep=sleep)
        self._changes = Post(urljoin(options.url, CHANGES), timeout=options.timeout, sleep=sleep)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Trigger, resolve, or note a change; raises ``NotTakenError`` after three attempts."""
        if not self._options.wants(event):
            return
        is_incident = is_condition(event) or event.severity is Severity.CRITICAL
        post, told = (self._incidents, self._incident(event)) if is_incident else (self._changes, self._change(event))
        body = {"routing_key": self._options.routing_key, **told}
        post.send(f"event {event.name}", json.dumps(body).encode())

    def _incident(self, event: Event) -> dict[str, Any]:
        key = self._key(event)
        if is_resolved(event):
            return {"event_action": "resolve", "dedup_key": key}
        payload = self._payload(event)
        if not is_condition(event):
            payload["custom_details"]["end"] = "not told: a moment has none. Resolve it when you have seen to it"
        payload |= {
            "severity": event.severity.value,
            "component": "kafka-supervisor",
            "group": event.group,
            "class": str(event.fields.get("alert", event.name)),
        }
        return {"event_action": "trigger", "dedup_key": key, "payload": payload}

    def _change(self, event: Event) -> dict[str, Any]:
        return {"payload": self._payload(event)}

    def _payload(self, event: Event) -> dict[str, Any]:
        return {
            "summary": title(event)[:LONGEST_SUMMARY],
            "source": self._options.source or socket.gethostname(),
            "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(),
            "custom_details": dict([*details(event), *evidence(event)]),
        }

    def _key(self, event: Event) -> str:
        """Return what makes two events one incident; one that is too long ends in its hash, not in another's key."""
        key = "/".join(part for part in ("kafka-supervisor", self._options.source, key_of(event)) if part)
        if len(key) <= LONGEST_KEY:
            return key
        digest = hashlib.sha256(key.encode()).hexdigest()
        return f"{key[: LONGEST_KEY - len(digest) - 1]}/{digest}"
