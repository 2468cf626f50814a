"""arroyo: ``RunTask``, or ``RunTaskInThreads`` when the handler sleeps, then ``CommitOffsets`` once per second."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from arroyo.backends.kafka import KafkaConsumer
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, RunTask, RunTaskInThreads
from arroyo.types import Topic

from bench.peers.task import Tally, Task, begin

PENDING = 1000
"""Futures at once. It sleeps 10 ms when there are more, so few of them leave threads without work."""


class Strategies:
    """What arroyo asks for a strategy at each assignment; its base class gives only empty ``shutdown``."""

    def __init__(self, task: Task, tally: Tally) -> None:
        self._task = task
        self._tally = tally
        self._of_thread = threading.local()

    def create_with_partitions(self, commit: Any, partitions: Mapping[Any, int]) -> Any:  # noqa: ANN401, ARG002 - arroyo's
        """Return the chain of one assignment."""
        end = CommitOffsets(commit)
        if not self._task.sleep:
            return RunTask(self._at_once, end)
        return RunTaskInThreads(self._slowly, self._task.concurrency, PENDING, end)

    def shutdown(self) -> None:
        """Do nothing."""

    def _at_once(self, _message: object) -> None:
        self._tally.words[0] += 1

    def _slowly(self, _message: object) -> None:
        time.sleep(self._task.sleep)
        word = getattr(self._of_thread, "word", None)
        if word is None:
            word = self._of_thread.word = self._tally.word()
        self._tally.words[word] += 1


def main() -> None:
    """Run until killed."""
    task, tally = begin()
    settings = build_kafka_consumer_configuration(
        task.client,
        group_id=task.group,
        auto_offset_reset="earliest",
        bootstrap_servers=[task.bootstrap],
        strict_offset_reset=False,
        enable_auto_commit=False,
    )
    StreamProcessor(KafkaConsumer(settings), Topic(task.topic), Strategies(task, tally), ONCE_PER_SECOND).run()


if __name__ == "__main__":
    main()
