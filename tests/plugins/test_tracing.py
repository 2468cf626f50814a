import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from supervisor.plugin import DeadLetter, Disposition, Drop, Failure, Produce, Record, Retry, RetryTopic, WorkerContext
from supervisor.plugin.types import Records
from supervisor_plugins import tracing
from supervisor_plugins.tracing import Tracing
from tests.broker.real import free_ports
from tests.plugins.conftest import FakeMessage

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01".encode()
ERROR = ValueError("secret value 4711")


@dataclass
class Traced:
    plugin: Tracing
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def one(self) -> ReadableSpan:
        (span,) = self.spans
        return span


class Message(FakeMessage):
    def __init__(self, offset: int = 812, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._offset = offset
        self._headers = [("traceparent", PARENT)] if headers is None else headers

    def offset(self) -> int:
        return self._offset

    def headers(self) -> Any:
        return self._headers


def record(offset: int = 812, attempt: int = 1, headers: list[tuple[str, bytes]] | None = None) -> Record:
    return Record(Message(offset, headers), attempt)


def failed(attempt: int = 1, offset: int = 812) -> Failure:
    return Failure(record(offset, attempt), ERROR, attempt, first_failed_at=0.0, failed_at=1.0)


@pytest.fixture
def traced(context: WorkerContext) -> Iterator[Traced]:
    yield from _traced(context, Tracing.Options())


def _traced(context: WorkerContext, options: Tracing.Options) -> Iterator[Traced]:
    provider = TracerProvider()
    made = Traced(Tracing(options, provider=provider))
    provider.add_span_processor(SimpleSpanProcessor(made.exporter))
    made.plugin.worker_started(context)
    yield made
    provider.shutdown()


def raising(_: Record) -> None:
    raise ERROR


def test_a_record_is_a_consumer_span_linked_to_its_producer(traced: Traced) -> None:
    traced.plugin.wrap_process(lambda _: None, False)(record())

    span = traced.one()
    assert (span.name, span.kind, span.parent) == ("process orders", SpanKind.CONSUMER, None)
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [TRACE]
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "orders",
        "messaging.destination.partition.id": "1",
        "messaging.kafka.offset": 812,
        "messaging.consumer.group.name": "orders",
        "messaging.client.id": "web-1-orders-3",
    }


def test_it_may_be_a_child_of_the_producers_span(context: WorkerContext) -> None:
    for traced in _traced(context, Tracing.Options(parent=True)):
        traced.plugin.wrap_process(lambda _: None, False)(record())

        assert f"{traced.one().context.trace_id:032x}" == TRACE


@pytest.mark.parametrize("headers", [[], [("traceparent", b"\xff\xfe nonsense")], [("other", b"x")]])
def test_a_record_without_a_context_begins_a_trace(traced: Traced, headers: list[tuple[str, bytes]]) -> None:
    traced.plugin.wrap_process(lambda _: None, False)(record(headers=headers))

    assert traced.one().links == ()


def test_traced_calls_are_told_once_with_their_trace(traced: Traced) -> None:
    traced.plugin.wrap_process(lambda _: None, False)(record())

    ((seconds, trace_id, at),) = traced.plugin.traced_calls()
    assert trace_id == f"{traced.one().context.trace_id:032x}"
    assert 0 <= seconds < 60
    assert at > 1e9
    assert traced.plugin.traced_calls() == []


def test_calls_of_traces_that_are_not_kept_are_not_told(context: WorkerContext) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF)
    plugin = Tracing(Tracing.Options(), provider=provider)
    plugin.worker_started(context)

    plugin.wrap_process(lambda _: None, False)(record())

    assert plugin.traced_calls() == []
    provider.shutdown()


def test_what_the_handler_does_is_within_the_span(traced: Traced) -> None:
    inside: list[int] = []
    traced.plugin.wrap_process(lambda _: inside.append(trace.get_current_span().get_span_context().span_id), False)(
        record()
    )

    assert inside == [traced.one().context.span_id]
    assert not trace.get_current_span().get_span_context().is_valid, "and nothing after it"


def test_attempts_are_events_of_one_span(traced: Traced) -> None:
    process = traced.plugin.wrap_process(raising, False)
    for attempt in (1, 2):
        with pytest.raises(ValueError, match="4711"):
            process(record(attempt=attempt))
        traced.plugin.failure_decided(failed(attempt), Retry(1.0))
    assert traced.spans == ()

    traced.plugin.wrap_process(lambda _: None, False)(record(attempt=3))

    span = traced.one()
    assert [(event.name, dict(event.attributes or {})["supervisor.attempt"]) for event in span.events] == [
        ("attempt failed", 1),
        ("attempt failed", 2),
    ]
    assert (span.attributes or {})["supervisor.attempts"] == 3
    assert span.status.status_code is StatusCode.UNSET


def test_a_dead_letter_is_marked_and_ends_the_span(traced: Traced) -> None:
    with pytest.raises(ValueError, match="4711"):
        traced.plugin.wrap_process(raising, False)(record())
    traced.plugin.failure_decided(failed(), DeadLetter("gave up", Disposition.ERROR))

    span = traced.one()
    assert (span.attributes or {})["supervisor.dead_letter"] == "error"
    assert (span.attributes or {})["error.type"] == "builtins.ValueError"
    assert span.status.status_code is StatusCode.ERROR


def test_a_record_the_handler_never_saw_has_a_span_when_it_is_given_up(traced: Traced) -> None:
    traced.plugin.failure_decided(failed(), DeadLetter("no JSON", Disposition.DESERIALIZATION))

    assert (traced.one().attributes or {})["supervisor.dead_letter"] == "deserialization"


def test_a_dropped_record_is_marked(traced: Traced) -> None:
    traced.plugin.failure_decided(failed(), Drop("old"))

    assert (traced.one().attributes or {})["supervisor.dropped"] is True


def test_a_record_that_goes_to_a_retry_topic_ends_its_span_there_and_begins_one_where_it_comes_back(
    traced: Traced,
) -> None:
    with pytest.raises(ValueError, match="4711"):
        traced.plugin.wrap_process(raising, False)(record())
    traced.plugin.failure_decided(failed(), RetryTopic(60.0))

    span = traced.one()
    assert (span.attributes or {})["supervisor.retry_topic"] is True
    assert [event.name for event in span.events] == ["attempt failed"]
    assert span.status.status_code is StatusCode.UNSET

    traced.plugin.wrap_process(lambda _: None, False)(record(offset=3, attempt=2))
    assert len(traced.spans) == 2
    assert traced.spans[1].links[0].context.trace_id == int(TRACE, 16), "the copy has its record's context"


def test_p10_no_span_holds_what_a_record_or_an_error_says(traced: Traced) -> None:
    with pytest.raises(ValueError, match="4711"):
        traced.plugin.wrap_process(raising, False)(record())
    traced.plugin.failure_decided(failed(), DeadLetter("bad 4711"))

    assert "4711" not in traced.one().to_json()


def test_what_is_produced_carries_the_context_on(traced: Traced) -> None:
    made = Produce("out", headers=[("own", b"1"), ("TraceParent", b"stale")])

    answer = traced.plugin.wrap_process(lambda _: made, False)(record())

    context = traced.one().context
    assert answer is made
    (own, (name, value)) = made.headers
    assert (own, name) == (("own", b"1"), "traceparent")
    assert (value or b"").startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-".encode())


def test_a_coroutine_has_its_span_while_others_have_theirs(traced: Traced) -> None:
    seen: dict[int, int] = {}

    async def handler(one: Record) -> None:
        await asyncio.sleep(0)
        seen[one.offset] = trace.get_current_span().get_span_context().span_id

    async def run() -> None:
        process = traced.plugin.wrap_process(handler, True)
        await asyncio.gather(*(process(record(offset)) for offset in range(5)))

    asyncio.run(run())

    assert {(span.attributes or {})["messaging.kafka.offset"]: span.context.span_id for span in traced.spans} == seen


def test_a_batch_is_one_span_linked_to_all_producers(traced: Traced) -> None:
    made = Produce("out")
    records = Records([Message(1), Message(2), Message(3, headers=[])])

    traced.plugin.wrap_process_batch(lambda _: [None, made, None], False)(records)

    span = traced.one()
    assert (span.attributes or {})["messaging.batch.message_count"] == 3
    assert len(span.links) == 2
    assert made.headers[0][0] == "traceparent"


def test_spans_of_partitions_that_go_are_ended(traced: Traced) -> None:
    for offset in (1, 2):
        traced.plugin.failure_decided(failed(offset=offset), Retry(1.0))

    traced.plugin.partitions_revoked([("orders", 0)])
    assert traced.spans == ()
    traced.plugin.partitions_revoked([("orders", 1)])
    assert len(traced.spans) == 2


def test_p6_spans_that_wait_are_bounded(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST_OPEN", 2)
    for offset in range(4):
        traced.plugin.failure_decided(failed(offset=offset), Retry(1.0))

    assert len(traced.spans) == 2


def test_a_stop_ends_what_is_open(traced: Traced) -> None:
    traced.plugin.failure_decided(failed(), Retry(1.0))
    traced.plugin.worker_stopping()

    assert [event.name for event in traced.one().events] == ["attempt failed", "given back"]


def test_p10_an_endpoint_that_is_away_is_logged_without_its_path(
    context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = free_ports(1)
    plugin = Tracing(Tracing.Options(endpoint=f"http://me:hunter2@127.0.0.1:{port}/hunter2?token=hunter2"))
    plugin.worker_started(context)
    plugin.wrap_process(lambda _: None, is_async=False)(record())
    plugin.worker_stopping()

    assert f"port={port}" in caplog.text, "it is told"
    assert "hunter2" not in caplog.text


def test_an_endpoint_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint must begin with") as caught:
        Tracing.Options(endpoint="hunter2")

    assert "hunter2" not in str(caught.value)


def test_a_ratio_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio must be from 0 to 1"):
        Tracing.Options(ratio=2.0)
