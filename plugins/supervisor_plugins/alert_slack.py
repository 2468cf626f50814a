"""Alerts to Slack through an incoming webhook, and to what takes the same messages (Mattermost, Rocket.Chat)."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from supervisor.plugin import Event, Severity, hookimpl
from supervisor_plugins.posting import Post, PostOptions
from supervisor_plugins.telling import details, evidence, is_resolved, title

COLOURS = {Severity.WARNING: "#d9822b", Severity.CRITICAL: "#c62828", Severity.INFO: "#2e7d32"}
LONGEST = 2900
"""Characters of one block; Slack refuses a message with more than 3,000 in one."""


class SlackAlert:
    """One message per event: a title, its fields, and what a dead worker left."""

    @dataclass(frozen=True, slots=True)
    class Options(PostOptions):
        """``url`` is the webhook's."""

    def __init__(self, options: Options, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._post = Post(options.url, timeout=options.timeout, sleep=sleep)

    @hookimpl
    def alert(self, event: Event) -> None:
        """Post the message; raises ``NotTakenError`` after three attempts."""
        if self._options.wants(event):
            self._post.send(f"event {event.name}", json.dumps(message(event)).encode())


def message(event: Event) -> dict[str, Any]:
    """Return the event as Slack takes it; ``text`` is what a phone shows."""
    facts = " · ".join(f"{name}: `{_escaped(value)}`" for name, value in details(event))
    blocks = [_block("section", f"*{_escaped(title(event))}*"), _block("section", facts)]
    blocks += [_block("section", f"{name}:\n```{_escaped(text)}```") for name, text in evidence(event)]
    colour = COLOURS[Severity.INFO] if is_resolved(event) else COLOURS.get(event.severity, "")
    return {"text": _escaped(title(event)), "attachments": [{"color": colour, "blocks": blocks}]}


def _block(kind: str, text: str) -> dict[str, Any]:
    """Return one block; of a text that is too long its end is kept, where a stack says what happened."""
    if len(text) > LONGEST:
        head, fence, rest = text.partition("```")
        text = f"{head}```…{rest[-(LONGEST - len(head) - 10) :]}" if fence else text[:LONGEST] + "…"
    return {"type": kind, "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """Keep Slack from reading links and mentions into what an exception or a key says."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
