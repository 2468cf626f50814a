"""Alerts to PagerDuty (Events API v2): conditions open an incident and resolve it, other events open one."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from supervisor.plugin import Event, Seconds, hookimpl
from supervisor_plugins.posting import Post, check_timeout, check_url
from supervisor_plugins.telling import Audience, details, evidence, is_resolved, key_of, title

URL = "https://events.pagerduty.com/v2/enqueue"
LONGEST_SUMMARY = 1024
LONGEST_KEY = 255


class PagerDutyAlert:
    """One event of PagerDuty per event of ours; the same one again falls into the incident that is open."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``routing_key`` is the integration's; ``source`` (empty: the host's name) is who speaks."""

        routing_key: str = field(repr=False)
        severity: str = "critical"
        groups: list[str] = field(default_factory=list)
        source: str = ""
        url: str = URL
        timeout: Seconds = 5.0

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            if not self.routing_key:
                message = "routing_key is empty"
                raise ValueError(message)
            check_url(self.url)
            check_timeout(self.timeout)
            Audience(self.severity)

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._audience = Audience(options.severity, options.groups)
        self._post = Post(options.url, timeout=options.timeout, sleep=sleep)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Trigger, or resolve; raises ``NotTakenError`` after three attempts."""
        if self._audience.wants(event):
            body = {"routing_key": self._options.routing_key, **self._told(event)}
            self._post.send(f"event {event.name}", json.dumps(body).encode(), {})

    def _told(self, event: Event) -> dict[str, Any]:
        source = self._options.source or socket.gethostname()
        key = f"kafka-supervisor/{source}/{key_of(event)}"[:LONGEST_KEY]
        if is_resolved(event):
            return {"event_action": "resolve", "dedup_key": key}
        payload = {
            "summary": title(event)[:LONGEST_SUMMARY],
            "source": source,
            "severity": event.severity.value,
            "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(),
            "component": "kafka-supervisor",
            "group": event.group,
            "class": str(event.fields.get("alert", event.name)),
            "custom_details": dict([*details(event), *evidence(event)]),
        }
        return {"event_action": "trigger", "dedup_key": key, "payload": payload}
