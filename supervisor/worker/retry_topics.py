"""See that the group's retry topics are there, for as long as one is missing. A thread of its own.

In a worker, because the parent holds no Kafka client; all workers of a group try, and one of them makes a topic.
"""

import logging
import threading

from supervisor.core.events import Severity
from supervisor.core.retry_topics import retry_topics
from supervisor.worker.engine import Engine

logger = logging.getLogger(__name__)
AGAIN = 0.2
LONGEST = 30.0


class RetryTopics:
    """Which of them are there. ``there`` only grows; any thread may look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wanted = retry_topics(engine.spec.group)
        self._stop = threading.Event()
        self._told: set[str] = set()
        self.there: set[str] = set()

    def start(self) -> None:
        """Begin to look, if the group has any."""
        if self._wanted:
            threading.Thread(target=self._run, name="retry-topics", daemon=True).start()

    def end(self) -> None:
        """Stop looking; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        # Imported late: no start has to wait for an admin client.
        from supervisor.kafka.admin import AdminError  # noqa: PLC0415
        from supervisor.kafka.retry_topics import RetryTopicMaker  # noqa: PLC0415

        spec, pause = self._engine.spec, AGAIN
        maker: RetryTopicMaker | None = None
        looks = 0
        while not self._stop.is_set():
            try:
                maker = maker or RetryTopicMaker(spec.group.kafka, client_id=f"{spec.instance_id}-retry")
                found = maker.look({name: topic for name, topic in self._wanted.items() if name not in self.there})
            except AdminError as error:
                logger.warning("retry_topics.unseen", extra={"fields": {"why": str(error)}})
            else:
                if looks and found.there:
                    # They came since the first look, and the consumer looks for what it missed only each half minute.
                    self._engine.subscribe_again = True
                self.there |= found.there
                looks += 1
                self._tell(found.made, found.refused)
            if len(self.there) == len(self._wanted):
                return
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST)

    def _tell(self, made: dict[str, int], refused: dict[str, str]) -> None:
        engine = self._engine
        for name, partitions in made.items():
            source = self._wanted[name].source
            text = f"retry topic {name} was made, with the {partitions} partitions of {source}"
            engine.event("retry_topic.made", Severity.INFO, text, topic=name)
        for name, why in refused.items():
            if name not in self._told:
                self._told.add(name)
                source = self._wanted[name].source
                text = f"retry topic {name} cannot be made or seen: {why}; records that need it wait. "
                help_ = f"help: make it, with as many partitions as {source}, or allow this user to create it"
                engine.event("retry_topic.missing", Severity.CRITICAL, text + help_, topic=name, error=why)
