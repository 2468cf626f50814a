"""librdkafka's mock cluster through ctypes: the library that confluent-kafka brings exports it, its binding does not.

The C interface is experimental (``rdkafka_mock.h``); everything used of it is in this module.
"""

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_PRODUCER = 0
_ERROR_BYTES = 512
_C = ctypes
_POINTER, _INT, _INT16, _TEXT = _C.c_void_p, _C.c_int, _C.c_int16, _C.c_char_p

# name: (result, arguments); results of type int are librdkafka error codes
_FUNCTIONS: Mapping[str, tuple[object, list[object]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_conf_set": (_INT, [_POINTER, _TEXT, _TEXT, _TEXT, _C.c_size_t]),
    "rd_kafka_new": (_POINTER, [_INT, _POINTER, _TEXT, _C.c_size_t]),
    "rd_kafka_err2str": (_TEXT, [_INT]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_push_request_errors_array": (None, [_POINTER, _INT16, _C.c_size_t, _C.POINTER(_INT)]),
    "rd_kafka_mock_clear_request_errors": (None, [_POINTER, _INT16]),
    "rd_kafka_mock_broker_set_down": (_INT, [_POINTER, _C.c_int32]),
    "rd_kafka_mock_broker_set_up": (_INT, [_POINTER, _C.c_int32]),
    "rd_kafka_mock_broker_set_rtt": (_INT, [_POINTER, _C.c_int32, _INT]),
    "rd_kafka_mock_coordinator_set": (_INT, [_POINTER, _TEXT, _TEXT, _C.c_int32]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_POINTER, _C.c_int32]),
    "rd_kafka_mock_set_group_consumer_session_timeout_ms": (None, [_POINTER, _INT]),
    "rd_kafka_mock_set_group_consumer_heartbeat_interval_ms": (None, [_POINTER, _INT]),
}


class EmbeddedError(Exception):
    """The embedded broker cannot be had, or could not do what it was told."""


class MockCluster:
    """A cluster that lives as long as the process; its threads are librdkafka's own."""

    def __init__(self, brokers: int) -> None:
        self._library = library = _load()
        self._brokers = brokers
        text = ctypes.create_string_buffer(_ERROR_BYTES)
        configuration = library.rd_kafka_conf_new()
        for name, value in ((b"client.id", b"embedded-broker"), (b"log_level", b"0")):
            library.rd_kafka_conf_set(configuration, name, value, text, _ERROR_BYTES)
        client = library.rd_kafka_new(_PRODUCER, configuration, text, _ERROR_BYTES)
        if not client:
            message = f"librdkafka did not start: {text.value.decode()}"
            raise EmbeddedError(message)
        self._cluster = library.rd_kafka_mock_cluster_new(client, brokers)
        if not self._cluster:
            message = f"librdkafka cannot host a cluster of {brokers} brokers"
            raise EmbeddedError(message)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    @property
    def commands(self) -> Mapping[str, Callable[..., None]]:
        """What the process may be told over its standard input."""
        return {
            "create_topic": self.create_topic,
            "push_errors": self.push_errors,
            "clear_errors": self.clear_errors,
            "broker_down": self.broker_down,
            "broker_up": self.broker_up,
            "set_latency": self.set_latency,
            "set_coordinator": self.set_coordinator,
        }

    def set_group_timeouts(self, *, session: float, heartbeat: float) -> None:
        """Set what members of ``group.protocol=consumer`` are told, in seconds."""
        library, cluster = self._library, self._cluster
        library.rd_kafka_mock_set_group_consumer_session_timeout_ms(cluster, round(session * 1000))
        library.rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(cluster, round(heartbeat * 1000))

    def create_topic(self, *, name: str, partitions: int) -> None:
        """Make a topic on all brokers."""
        if not name or partitions < 1:
            message = f"a topic needs a name and at least one partition, found {name!r}:{partitions}"
            raise EmbeddedError(message)
        self._check(
            self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, self._brokers),
            f"topic {name}",
        )

    def push_errors(self, *, api: int, codes: Sequence[int]) -> None:
        """Answer the next requests of type ``api`` with ``codes``."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, api, len(codes), array)

    def clear_errors(self, *, api: int) -> None:
        """Forget the errors that are left for ``api``."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, api)

    def broker_down(self, *, broker: int) -> None:
        """Cut a broker's connections and refuse new ones; -1 means all."""
        self._check(self._library.rd_kafka_mock_broker_set_down(self._cluster, broker), f"broker {broker}")

    def broker_up(self, *, broker: int) -> None:
        """Accept connections again."""
        self._check(self._library.rd_kafka_mock_broker_set_up(self._cluster, broker), f"broker {broker}")

    def set_latency(self, *, broker: int, milliseconds: int) -> None:
        """Delay a broker's answers."""
        self._check(self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds), f"broker {broker}")

    def set_coordinator(self, *, group: str, broker: int) -> None:
        """Make ``broker`` the coordinator of ``group``."""
        code = self._library.rd_kafka_mock_coordinator_set(self._cluster, b"group", group.encode(), broker)
        self._check(code, f"group {group}, broker {broker}")

    def _check(self, code: int, what: str) -> None:
        if code != 0:
            message = f"{what}: {self._library.rd_kafka_err2str(code).decode()}"
            raise EmbeddedError(message)


def _load() -> ctypes.CDLL:
    found = []
    for path in _candidates():
        found.append(path)
        try:
            library = ctypes.CDLL(path)
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return library
    message = (
        f"no librdkafka with a mock cluster; looked at: {', '.join(found) or 'nothing'}\n"
        "  help: install confluent-kafka from its wheel, or use a real broker ([kafka] bootstrap.servers)"
    )
    raise EmbeddedError(message)


def _candidates() -> Iterator[str]:
    """Yield the libraries to try: the one in confluent-kafka's wheel (Linux, macOS), then the system's."""
    package = importlib.util.find_spec("confluent_kafka")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent
        for pattern in ("../confluent_kafka.libs/librdkafka*", ".dylibs/librdkafka*"):
            yield from sorted(str(path) for path in folder.glob(pattern))
    system = ctypes.util.find_library("rdkafka")
    if system is not None:
        yield system
