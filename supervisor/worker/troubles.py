"""What a client tells of brokers and topics that it goes on trying to reach. The baton's holder, inside its polls."""

import logging
import time
from collections.abc import Iterable

from supervisor.core.events import Severity
from supervisor.worker.engine import Engine

logger = logging.getLogger(__name__)

LOG_EVERY = 30.0
LASTS = 30.0
"""Seconds after which trouble that was not heard of again is over: an idle consumer hears nothing good either."""
NO_TOPIC = frozenset({"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_ID"})
REFUSED = frozenset({"_AUTHENTICATION", "_SSL"})


class Troubles:
    """The present trouble with brokers, as a stated wait, and in events that come once each."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._at = self._logged_at = 0.0
        self._missing: set[str] = set()
        """Topics that were told not to be there, until they are."""
        self._refused: set[str] = set()
        """Who was told, in the present trouble, not to let us in."""

    def note(self, code: str, text: str) -> None:
        """Note trouble with brokers: the client goes on by itself, so it is only to be seen."""
        self._engine.broker_trouble = code
        if code in REFUSED or "SSL alert" in text:
            self._note_refusal(code, text)
        now = self._at = time.monotonic()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            logger.warning("broker.trouble", extra={"fields": {"code": code, "text": text}})

    def look(self, now: float) -> None:
        """End what is over."""
        if now - self._at >= LASTS:
            self._engine.broker_trouble = ""
        if not self._engine.broker_trouble:
            self._refused.clear()

    def no_topic(self, topic: str, text: str) -> None:
        """Tell once that a topic is not there, or was deleted: the others go on, and it is taken up when it comes."""
        if topic not in self._missing:
            self._missing.add(topic)
            self._engine.event("topic.missing", Severity.WARNING, text, topic=topic)

    def there(self, topics: Iterable[str]) -> None:
        """Note that topics are there."""
        self._missing.difference_update(topics)

    def _note_refusal(self, code: str, text: str) -> None:
        """Tell once per trouble who does not let us in. Not the end: the other side's secrets change, too."""
        who = "the token endpoint" if "OAUTHBEARER token" in text else "a broker"
        if who not in self._refused:
            self._refused.add(who)
            text = f"{who} does not let this worker in, which goes on trying: {text}"
            self._engine.event("broker.refused", Severity.CRITICAL, text, code=code)
