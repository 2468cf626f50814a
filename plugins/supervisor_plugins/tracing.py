"""OpenTelemetry traces: a span per record, from its first attempt to its end (extra ``tracing``).

Attributes and names are those of the messaging semantic conventions. Keys and values of records never become part of
a span.
"""

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import context as otel
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

from supervisor.plugin import (
    DeadLetter,
    Decision,
    Drop,
    Failure,
    Produce,
    Record,
    RetryTopic,
    Seconds,
    WorkerContext,
    hookimpl,
)

MOST_OPEN = 10_000
"""Spans of records that wait for another attempt; beyond it the oldest are ended."""
FLUSH = 2000
"""Milliseconds for what is not exported yet when a worker stops."""
Headers = list[tuple[str, bytes | None]]
Place = tuple[str, int, int]


class _Read(Getter[Any]):
    def get(self, carrier: Any, key: str) -> list[str] | None:  # noqa: ANN401 - the propagators' own type
        """Return the values of a record's header, whatever its case."""
        found = [value for name, value in carrier if name.lower() == key and value is not None]
        return [value.decode("utf-8", "replace") for value in found] or None

    def keys(self, carrier: Any) -> list[str]:  # noqa: ANN401 - same
        """Return the names of its headers."""
        return [name for name, _ in carrier]


class _Write(Setter[Headers]):
    def set(self, carrier: Headers, key: str, value: str) -> None:
        """Put a header in place of those of its name."""
        carrier[:] = [(name, old) for name, old in carrier if name.lower() != key]
        carrier.append((key, value.encode()))


READ, WRITE = _Read(), _Write()


class Tracing:
    """Spans around the handler; what it produces carries their context on."""

    @dataclass(frozen=True, slots=True)
    class Options:
        """``endpoint`` of an OTLP collector over HTTP (empty: ``OTEL_EXPORTER_OTLP_ENDPOINT``), ``headers`` for it.

        ``ratio``: the share of traces begun here that are kept. ``parent``: make spans children of the producer's,
        not only linked to it. ``service`` (empty: ``OTEL_SERVICE_NAME``, else the group's name).
        """

        endpoint: str = field(default="", repr=False)
        headers: dict[str, str] | None = field(default=None, repr=False)
        service: str = ""
        ratio: float = 1.0
        parent: bool = False
        timeout: Seconds = 10.0

        def __post_init__(self) -> None:
            """Refuse what could never work."""
            if not 0 <= self.ratio <= 1:
                message = "ratio must be from 0 to 1"
                raise ValueError(message)
            if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
                message = "endpoint must begin with https:// or http://"
                raise ValueError(message)

    def __init__(self, options: Options, *, provider: TracerProvider | None = None) -> None:
        self._options = options
        self._provider = provider
        self._tracer: trace.Tracer = trace.NoOpTracer()
        self._common: dict[str, str] = {"messaging.system": "kafka"}
        self._open: OrderedDict[Place, Span] = OrderedDict()
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[float, str, float]] = {}

    @hookimpl
    def worker_started(self, context: WorkerContext) -> None:
        """Begin to export. Its threads belong to this worker: nothing of them was there before the fork."""
        if self._provider is None:
            self._provider = self._exporting(context)
        self._tracer = self._provider.get_tracer("kafka-supervisor")
        self._common |= {
            "messaging.consumer.group.name": context.group,
            "messaging.client.id": f"{context.supervisor}-{context.group}-{context.slot}",
        }

    @hookimpl
    def worker_stopping(self) -> None:
        """End what is open and export what is left, within a bound."""
        self._end_all(lambda _: True)
        if self._provider is not None:
            self._provider.force_flush(FLUSH)
            self._provider.shutdown()

    @hookimpl
    def wrap_process(self, process: Callable[[Record], Any], is_async: bool) -> Callable[[Record], Any]:  # noqa: FBT001 - the hook's
        """Put a span around each attempt of a record."""

        def call(record: Record) -> Any:  # noqa: ANN401 - the handler's own
            with self._attempt(record) as span:
                return _carrying(span, process(record))

        async def call_async(record: Record) -> Any:  # noqa: ANN401 - same
            with self._attempt(record) as span:
                return _carrying(span, await process(record))

        return call_async if is_async else call

    @hookimpl
    def wrap_process_batch(self, process: Callable[..., Any], is_async: bool) -> Callable[..., Any]:  # noqa: FBT001 - the hook's
        """Put one span around each batch, linked to all of its records' producers."""

        def call(records: Sequence[Record]) -> Any:  # noqa: ANN401 - the handler's own
            with self._batch(records) as span:
                return _carrying_each(span, process(records))

        async def call_async(records: Sequence[Record]) -> Any:  # noqa: ANN401 - same
            with self._batch(records) as span:
                return _carrying_each(span, await process(records))

        return call_async if is_async else call

    @hookimpl
    def failure_decided(self, failure: Failure, decision: Decision) -> None:
        """Note a failed attempt in its record's span, and end the span of a record that is given up."""
        span = self._taken(_place(failure.record)) or self._started(failure.record)
        kind = type(failure.error)
        error = f"{kind.__module__}.{kind.__qualname__}"
        seen: dict[str, str | int] = {"exception.type": error, "supervisor.attempt": failure.attempt}
        span.add_event("attempt failed", {**seen, "supervisor.decision": type(decision).__name__})
        if isinstance(decision, RetryTopic):  # what comes back is another record, linked to the same producer
            span.set_attribute("supervisor.retry_topic", value=True)
            span.end()
            return
        if not isinstance(decision, DeadLetter | Drop):
            self._keep(_place(failure.record), span)
            return
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR, kind.__qualname__))
        if isinstance(decision, DeadLetter):
            span.set_attribute("supervisor.dead_letter", str(decision.disposition))
        else:
            span.set_attribute("supervisor.dropped", value=True)
        span.end()

    @hookimpl
    def traced_calls(self) -> list[tuple[float, str, float]]:
        """Hand out the last traced call of each order of magnitude, for the metrics to point to."""
        with self._lock:
            calls, self._calls = self._calls, {}
        return list(calls.values())

    @hookimpl
    def partitions_revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """End the spans of records that wait: whoever has the partition now begins its own."""
        gone = set(partitions)
        self._end_all(lambda place: place[:2] in gone)

    def _exporting(self, context: WorkerContext) -> TracerProvider:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - heavy, and not for who brings another provider
            OTLPSpanExporter,
        )

        options = self._options
        path = urlsplit(options.endpoint)._replace(scheme="", netloc="").geturl()
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(partial(_told_without, path))
        exporter = OTLPSpanExporter(
            endpoint=options.endpoint or None, headers=options.headers, timeout=int(options.timeout)
        )
        service = options.service or os.environ.get("OTEL_SERVICE_NAME") or context.group
        resource = Resource.create({"service.name": service})
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(options.ratio)), resource=resource)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return provider

    @contextmanager
    def _attempt(self, record: Record) -> Iterator[Span]:
        """Have the record's span be the current one; it ends with an attempt that succeeds."""
        place = _place(record)
        span = self._taken(place) or self._started(record)
        token = otel.attach(trace.set_span_in_context(span))
        began = time.perf_counter()
        try:
            yield span
        except BaseException:
            self._keep(place, span)  # failure_decided says how it goes on
            raise
        finally:
            otel.detach(token)
            self._note(span, time.perf_counter() - began)
        if record.attempt > 1:
            span.set_attribute("supervisor.attempts", record.attempt)
        span.end()

    @contextmanager
    def _batch(self, records: Sequence[Record]) -> Iterator[Span]:
        first = records[0]
        links = [link for record in records if (link := _link(record)) is not None]
        attributes = {**self._attributes(first), "messaging.batch.message_count": len(records)}
        name, began = f"process {first.topic}", time.perf_counter()
        with self._tracer.start_as_current_span(
            name, kind=SpanKind.CONSUMER, attributes=attributes, links=links, record_exception=False
        ) as span:
            try:
                yield span
            finally:
                self._note(span, time.perf_counter() - began)

    def _note(self, span: Span, seconds: float) -> None:
        context = span.get_span_context()
        if context.trace_flags.sampled:
            with self._lock:
                self._calls[math.frexp(seconds)[1]] = (seconds, f"{context.trace_id:032x}", time.time())

    def _started(self, record: Record) -> Span:
        link = _link(record)
        producer = None
        if link is not None and self._options.parent:
            producer = trace.set_span_in_context(trace.NonRecordingSpan(link.context))
        return self._tracer.start_span(
            f"process {record.topic}",
            context=producer if producer is not None else otel.Context(),
            kind=SpanKind.CONSUMER,
            attributes={**self._attributes(record), "messaging.kafka.offset": record.offset},
            links=[link] if link is not None else None,
        )

    def _attributes(self, record: Record) -> dict[str, str | int]:
        return {
            **self._common,
            "messaging.operation.type": "process",
            "messaging.operation.name": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
        }

    def _taken(self, place: Place) -> Span | None:
        with self._lock:
            return self._open.pop(place, None)

    def _keep(self, place: Place, span: Span) -> None:
        with self._lock:
            self._open[place] = span
            oldest = self._open.popitem(last=False)[1] if len(self._open) > MOST_OPEN else None
        if oldest is not None:
            oldest.end()

    def _end_all(self, concerned: Callable[[Place], bool]) -> None:
        with self._lock:
            gone = [place for place in self._open if concerned(place)]
            spans = [self._open.pop(place) for place in gone]
        for span in spans:
            span.add_event("given back")
            span.end()


def _told_without(path: str, line: logging.LogRecord) -> bool:
    """Take the endpoint's path out of what the exporter logs: it may hold a token (P10)."""
    text = line.getMessage()
    if len(path) > 1 and path in text:
        line.msg, line.args = text.replace(path, "/***"), None
    return True


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.offset


def _link(record: Record) -> Link | None:
    """Return the link to whoever produced the record, by its ``traceparent``."""
    try:
        headers = record.headers
    except UnicodeDecodeError:  # a name that is no UTF-8
        return None
    if not headers:
        return None
    found = trace.get_current_span(propagate.extract(headers, context=otel.Context(), getter=READ))
    return Link(found.get_span_context()) if found.get_span_context().is_valid else None


def _carrying(span: Span, answer: Any) -> Any:  # noqa: ANN401 - the handler's own
    """Have what the handler produces carry the span's context on."""
    produced = answer if isinstance(answer, list | tuple) else (answer,)
    for one in produced:
        if isinstance(one, Produce):
            headers = list(one.headers)
            propagate.inject(headers, context=trace.set_span_in_context(span), setter=WRITE)
            one.headers = headers
    return answer


def _carrying_each(span: Span, answers: Any) -> Any:  # noqa: ANN401 - the handler's own
    if isinstance(answers, list | tuple):
        for one in answers:
            _carrying(span, one)
    return answers
