"""Traces of a real supervisor's workers, exported to a receiver that speaks OTLP over HTTP."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.broker.real import RealBroker
from tests.broker.records import create_topic, produce
from tests.whole.conftest import Supervise
from tests.whole.ledger import Ledger

TRACE = bytes.fromhex("0af7651916cd43dd8448eb211c80319c")
PARENT = f"00-{TRACE.hex()}-b7ad6b7169203331-01".encode()


class Collector:
    """Takes what an OTLP exporter posts, as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            self.services |= {
                one.value.string_value for one in resource.resource.attributes if one.key == "service.name"
            }
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_every_record_has_its_span_and_a_dead_letter_is_marked(
    broker: RealBroker, name: str, supervise: Supervise, ledger: Ledger, collector: Collector
) -> None:
    create_topic(broker.bootstrap, name)
    create_topic(broker.bootstrap, f"{name}.dlq")
    produce(broker.bootstrap, name, ["good", "invalid", "good"], headers=[("traceparent", PARENT)])
    options = 'plugins = ["tracing"]\nretry.permanent = ["work:InvalidError"]'
    more = f'\n[plugins.tracing]\nendpoint = "{collector.endpoint}"\n'
    program = supervise(broker, options, more=more)
    program.wait(lambda: len(ledger.lines("done")) == 2, what="the good ones are worked")
    program.wait(lambda: program.events("record.dead_lettered"), what="the other is a dead letter")

    assert program.terminate() == 0, "what is not exported yet is when a worker stops"

    assert len(collector.spans) == 3
    assert {link.trace_id for span in collector.spans for link in span.links} == {TRACE}
    assert collector.services == {name}
    marks = {
        next(one.value.int_value for one in span.attributes if one.key == "messaging.kafka.offset"): [
            one.value.string_value for one in span.attributes if one.key == "supervisor.dead_letter"
        ]
        for span in collector.spans
    }
    assert marks == {0: [], 1: ["error"], 2: []}
