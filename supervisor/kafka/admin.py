"""What a cluster says of topics, permissions and groups: an admin client in plain values.

Every call blocks, up to the deadline it is given. A client dropped while its future is pending may never
complete it: keep the ``Admin`` until its answers are there.
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, ConfigSource, NewTopic, ResourceType

from supervisor.kafka.settings import Value, client_settings

T = TypeVar("T")
_MISSING = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PARTITION"}
_PASSING = {"COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "_WAIT_COORD"}
_RETRY_EVERY = 0.2
_MAX_REASONS = 3
_STATE = re.compile(r" \(after \d+ms in state (.*)\)$")
_REFUSALS = {"_AUTHENTICATION", "_SSL"}
_REFUSED_PATIENCE = 2.0
"""Seconds to go on once a broker refused us: another one of ``bootstrap.servers`` may still answer."""
_FIRST_STEP = 1.0


class AdminError(Exception):
    """The cluster did not answer, or refused; the text says why, ``code`` is Kafka's name for it when there is one."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic. ``operations`` (``READ``, ``WRITE`` ...) is ``None`` where the broker does not tell."""

    name: str
    exists: bool
    partitions: int = 0
    operations: frozenset[str] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class GroupState:
    """One consumer group. ``protocol`` is ``classic`` or ``consumer``; ``members`` are ``client id @ host``, sorted."""

    name: str
    members: tuple[str, ...]
    protocol: str
    assignor: str
    operations: frozenset[str] | None


class Admin:
    """An admin client of its own connections. Any one thread."""

    def __init__(self, kafka: Mapping[str, Value], *, client_id: str) -> None:
        self._reasons: dict[str, None] = {}
        self._hints = _Hints()
        self._refused_at: float | None = None
        settings = client_settings(kafka, client_id=client_id) | {"log_level": 6, "log.connection.close": True}
        logger = logging.Logger("librdkafka")  # noqa: LOG001 - of its own: what it hears is for ``_why``, not for a log
        logger.addHandler(self._hints)
        try:
            config: dict[str, Any] = {**settings, "error_cb": self._note}
            self._client = AdminClient(config, logger=logger)
        except KafkaException as error:
            raise AdminError(_words(error)) from error

    def partitions(self, timeout: float) -> dict[str, int]:
        """Return every topic that this user may see, with its partitions; give up early on who refuses us."""
        deadline, step = time.monotonic() + timeout, _FIRST_STEP
        while True:
            left = deadline - time.monotonic()
            try:
                topics = self._client.list_topics(timeout=max(0.1, min(step, left))).topics
            except KafkaException as error:
                self._client.poll(0.1)  # where the reasons come out
                now = time.monotonic()
                if now >= deadline or (self._refused_at is not None and now - self._refused_at >= _REFUSED_PATIENCE):
                    raise AdminError(self._why(error)) from error
                step = step * 2 if self._refused_at is None else _FIRST_STEP
            else:
                return {name: len(topic.partitions) for name, topic in topics.items()}

    def topics(self, names: Sequence[str], timeout: float) -> dict[str, TopicState]:
        """Return the state of each named topic and what this user may do with it."""
        if not names:
            return {}
        deadline = time.monotonic() + timeout
        collection = TopicCollection(list(names))
        asked = self._client.describe_topics(collection, include_authorized_operations=True, request_timeout=timeout)
        return {name: _topic(name, future, deadline) for name, future in asked.items()}

    def group(self, name: str, timeout: float) -> GroupState:
        """Return the state of a group; one that never was has no members.

        The first look at a group of a new cluster makes it create ``__consumer_offsets``: asks again until it has.
        """
        deadline = time.monotonic() + timeout
        while (found := self._described(name, deadline)) is None:
            time.sleep(_RETRY_EVERY)
        if found.state in (ConsumerGroupState.DEAD, ConsumerGroupState.EMPTY):
            return GroupState(name, (), "", "", _operations(found.authorized_operations))
        return GroupState(
            name,
            members=tuple(sorted(f"{member.client_id} @ {member.host.lstrip('/')}" for member in found.members)),
            protocol=found.type.name.lower(),
            assignor=found.partition_assignor or "",
            operations=_operations(found.authorized_operations),
        )

    def creates_topics(self, timeout: float) -> bool | None:
        """Return whether the broker creates topics that are written to; ``None`` when it does not tell this user."""
        deadline = time.monotonic() + timeout
        try:
            brokers = list(self._client.list_topics(timeout=timeout).brokers)
            resource = ConfigResource(ResourceType.BROKER, str(brokers[0]))
            asked = self._client.describe_configs([resource], request_timeout=timeout)
            found = _result(asked[resource], deadline)
        except (KafkaException, AdminError, IndexError):
            return None
        entry = found.get("auto.create.topics.enable")
        return None if entry is None else entry.value == "true"

    def topic_setting(self, topic: str, key: str, timeout: float) -> str:
        """Return what a topic has of its own as ``key``; empty: the broker's default, or nobody tells us."""
        deadline = time.monotonic() + timeout
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            asked = self._client.describe_configs([resource], request_timeout=timeout)
            entry = _result(asked[resource], deadline).get(key)
        except (KafkaException, AdminError):
            return ""
        is_own = entry is not None and entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        return str(entry.value) if is_own else ""

    def create_topic(self, topic: str, partitions: int, config: Mapping[str, str], timeout: float) -> int:
        """Make a topic with the broker's own replication factor; return its partitions, 0 when it was there already."""
        if partitions < 1:
            message = f"topic {topic!r} would have no partitions"
            raise AdminError(message)
        deadline = time.monotonic() + timeout
        asked = self._client.create_topics(
            [NewTopic(topic, partitions, config=dict(config))], operation_timeout=timeout, request_timeout=timeout
        )
        try:
            _result(asked[topic], deadline)
        except AdminError as error:
            if error.code != "TOPIC_ALREADY_EXISTS":
                raise
            return 0
        return partitions

    def may_create_topics(self, timeout: float) -> bool | None:
        """Return whether this user may make any topic; ``None`` when the broker does not tell."""
        deadline = time.monotonic() + timeout
        try:
            asked = self._client.describe_cluster(include_authorized_operations=True, request_timeout=timeout)
            operations = _operations(_result(asked, deadline).authorized_operations)
        except (KafkaException, AdminError):
            return None
        return None if operations is None else bool(operations & {"CREATE", "ALL"})

    def _described(self, group: str, deadline: float) -> Any:  # noqa: ANN401 - the client's own type
        """Return what the coordinator says of a group; ``None`` while it cannot say yet and there is time."""
        left = max(1.0, deadline - time.monotonic())
        asked = self._client.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=left)
        try:
            return _result(asked[group], deadline)
        except AdminError as error:
            if error.code not in _PASSING or time.monotonic() + _RETRY_EVERY > deadline:
                raise
            return None

    def _note(self, error: KafkaError) -> None:
        if error.name() != "_ALL_BROKERS_DOWN":
            self._reasons[_STATE.sub("", error.str())] = None
        if error.name() in _REFUSALS and self._refused_at is None:
            self._refused_at = time.monotonic()

    def _why(self, error: KafkaException) -> str:
        return "; ".join(list(self._reasons or self._hints.texts)[-_MAX_REASONS:]) or _words(error)


class _Hints(logging.Handler):
    """What librdkafka tells its log only: a broker that closes the connection on our first words."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind, _, text = record.getMessage().partition("]: ")
        if kind.startswith("FAIL") and len(self.texts) < _MAX_REASONS:
            state = _STATE.search(text)
            early = " before it said a word" if state is not None and state[1].startswith("APIVERSION") else ""
            self.texts[_STATE.sub("", text).partition(": receive")[0] + early] = None


def _topic(name: str, future: "Future[Any]", deadline: float) -> TopicState:
    try:
        found = future.result(max(0.0, deadline - time.monotonic()))
    except KafkaException as error:
        code = error.args[0].name()
        return TopicState(name, exists=code not in _MISSING, error="" if code in _MISSING else _words(error))
    except TimeoutError:
        return TopicState(name, exists=True, error="no answer in time")
    operations = _operations(found.authorized_operations)
    return TopicState(name, exists=True, partitions=len(found.partitions), operations=operations)


def _result(future: "Future[T]", deadline: float) -> T:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except KafkaException as error:
        raise AdminError(_words(error), _code(error)) from error
    except TimeoutError as error:
        message = "no answer in time"
        raise AdminError(message) from error


def _operations(found: Sequence[AclOperation] | None) -> frozenset[str] | None:
    return None if not found else frozenset(operation.name for operation in found)


def _code(error: KafkaException) -> str:
    reason = error.args[0]
    return str(reason.name()) if isinstance(reason, KafkaError) else ""


def _words(error: KafkaException) -> str:
    reason = error.args[0]
    return f"{reason.name()}: {reason.str()}" if isinstance(reason, KafkaError) else str(reason)
