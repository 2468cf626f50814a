"""The group's dead-letter sinks in their order, and what people are told: one event per letter, one per trouble."""

import errno
import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from supervisor.core.events import Severity
from supervisor.core.letters import where
from supervisor.kafka.refusals import TOO_LARGE
from supervisor.kafka.topics import FORBIDDEN, DeadLetterTopics
from supervisor.plugin.active import Active, Sink
from supervisor.plugin.types import Letter, Produce
from supervisor.worker.calling import kind_of
from supervisor.worker.engine import Engine

logger = logging.getLogger(__name__)
MISSING = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
REASONS = {
    **dict.fromkeys(MISSING, "the topic is not there"),
    FORBIDDEN: "no right to write to the topic",
    "CLUSTER_AUTHORIZATION_FAILED": "no right to write to any topic",
    **dict.fromkeys(("_MSG_TIMED_OUT", "_TIMED_OUT", "TimeoutError"), "no answer in time"),
    **dict.fromkeys(TOO_LARGE, "the record itself is too large for it"),
}
"""What codes mean for people, where a person has to do something."""


class UnwrittenError(Exception):
    """No sink took a letter; ``failures`` are why not, by the place of the sink."""

    def __init__(self, letter: Letter, failures: Mapping[int, str]) -> None:
        super().__init__(f"no sink takes the dead letter {letter.audit_id}")
        self.letter = letter
        self.failures = failures


@dataclass(frozen=True, slots=True)
class Taken:
    """Which sink took a letter that nobody waits for, and what of it is still to be produced."""

    letter: Letter
    sink: int
    outputs: tuple[Produce, ...]


class Sinks:
    """Sinks by their place: 0 is ``dead_letters.sink``, 1 its fallback. Any thread, mutex not held."""

    def __init__(self, engine: Engine, active: Active, topics: DeadLetterTopics | None) -> None:
        self._engine = engine
        letters = engine.spec.group.dead_letters
        self._timeout = letters.timeout
        self._names = [name for name in (letters.sink, letters.fallback) if name]
        self._sinks: list[Sink] = [active.sink(name) for name in self._names]
        self._topics = topics
        self._unwritten: set[str] = set()
        """Dead-letter topics of which people were told that a letter cannot be written."""

    def name(self, at: int) -> str:
        """Return what the config calls a sink."""
        return self._names[at]

    def after(self, at: int) -> int:
        """Return the place of the next sink; 0 after the last."""
        return (at + 1) % len(self._sinks)

    def offer(self, at: int, letter: Letter) -> object:
        """Ask a sink to write a letter; return its answer or raise what it raises. User code, and may block."""
        answer: object = self._sinks[at](letter)
        return answer

    def beforehand(self, letter: Letter, answer: object) -> "Future[None] | None":
        """Return what is to be waited for before a sink's answer may be produced, ``None`` when it may be now.

        The first letter for a topic has it made where it is missing, when that is allowed. Raises ``ProduceError``
        for one that may not be written. Does not block.
        """
        if self._topics is None or not isinstance(answer, Produce) or answer.topic != letter.topic:
            return None
        look = self._topics.beforehand(letter.topic, like=letter.source_topic, made=partial(self._made, letter))
        if look is None:
            self._topics.demand(letter.topic)
        return look

    def _made(self, letter: Letter, partitions: int) -> None:
        text = f"topic {letter.topic} was made, with the {partitions} partitions of {letter.source_topic}"
        self._engine.event("dead_letter.topic_made", Severity.INFO, text, topic=letter.topic)

    def take(self, letter: Letter, *, refused: Mapping[int, str] = MappingProxyType({})) -> Taken:
        """Have a letter written by the first sink that does, and wait for it; raise ``UnwrittenError``.

        ``refused`` are sinks that were tried before, and their codes.
        """
        failures = dict(refused)
        for at in range(len(self._sinks)):
            if at in failures:
                continue
            try:
                answer = self.offer(at, letter)
                while (look := self.beforehand(letter, answer)) is not None:
                    look.result(self._timeout)
                if isinstance(answer, Future):
                    answer.result(self._timeout)
                elif answer is not None and not isinstance(answer, Produce):
                    raise WrongAnswerError(answer)  # noqa: TRY301 - a broken sink is one that failed
            except BaseException as error:  # noqa: BLE001 - user plugin: any failure means "not written"
                failures[at] = self.failed(at, letter, error)
            else:
                return Taken(letter, at, (answer,) if isinstance(answer, Produce) else ())
        raise UnwrittenError(letter, failures)

    def failed(self, at: int, letter: Letter, error: BaseException) -> str:
        """Log that a sink did not write a letter, and return its code; never the user's text (P10)."""
        code = code_of(error)
        fields = {"record": _record(letter), "sink": self._names[at], "error": code, "where": where(error)}
        logger.warning("sink.failed", extra={"fields": fields})
        if self._topics is not None and code in (*MISSING, FORBIDDEN):
            self._topics.forget(letter.topic)
        return code

    def written(self, letter: Letter, at: int, *, is_whole: bool = True) -> None:
        """Count a dead letter that was written, and make its one event (P7)."""
        engine = self._engine
        record = _record(letter)
        with engine.mutex:
            engine.counters.dead_lettered += 1
        engine.event(
            "record.dead_lettered",
            Severity.INFO,
            f"{record} went to {self._names[at]} ({letter.disposition})"
            f"{'' if is_whole else ', its headers trimmed to fit'}",
            sink=self._names[at],
            disposition=letter.disposition.value,
            audit_id=letter.audit_id,
            trimmed=not is_whole,
            record=record,
        )

    def recovered(self, letter: Letter, at: int) -> None:
        """Say so when letters of a topic are written again of which people were told that they were not."""
        with self._engine.mutex:
            is_over = letter.topic in self._unwritten
            self._unwritten.discard(letter.topic)
        if is_over:
            text = f"dead letters for {letter.topic} are written again, to {self._names[at]}"
            fields = {"topic": letter.topic, "sink": self._names[at]}
            self._engine.event("dead_letter.recovered", Severity.INFO, text, **fields)

    def moved(self, taken: Taken, code: str) -> None:
        """Say which sink took a letter that was told to be in another, whose topic refused it only later."""
        name, audit_id = self._names[taken.sink], taken.letter.audit_id
        text = f"dead letter {audit_id} went to {name} after all: its topic refused it ({REASONS.get(code, code)})"
        self._engine.event("dead_letter.moved", Severity.WARNING, text, sink=name, error=code, audit_id=audit_id)

    def unwritten(self, letter: Letter, failures: Mapping[int, str]) -> None:
        """Alert once that letters of a topic cannot be written; others that wait with it are no news."""
        with self._engine.mutex:
            is_news = letter.topic not in self._unwritten
            self._unwritten.add(letter.topic)
        if not is_news:
            return
        why = "; ".join(f"{self._names[at]}: {REASONS.get(code, code)}" for at, code in sorted(failures.items()))
        last = max(failures)
        self._engine.event(
            "dead_letter.unwritten",
            Severity.CRITICAL,
            f"no sink takes the dead letter {letter.audit_id} for topic {letter.topic} ({why}); "
            "its records wait, nothing is lost; trying again",
            sink=self._names[last],
            error=failures[last],
            audit_id=letter.audit_id,
            topic=letter.topic,
        )


def _record(letter: Letter) -> str:
    return f"{letter.source_topic}/{letter.source_partition}@{letter.source_offset}"


class WrongAnswerError(TypeError):
    """A sink returned something other than what its hook promises; ``code`` says of what type."""

    def __init__(self, answer: object) -> None:
        self.code = f"returned {kind_of(answer)} instead of None, a Produce or a Future"
        super().__init__(self.code)


def code_of(error: BaseException) -> str:
    """Return what names a sink's failure: its ``code``, the system's or SQLite's name for it, else its class."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return errno.errorcode[error.errno]
    try:
        code = getattr(error, "code", None) or getattr(error, "sqlite_errorname", None)
    except Exception:  # noqa: BLE001 - user plugin: an attribute may be code that fails
        code = None
    return str(code) if type(code) in (str, int) else type(error).__name__
