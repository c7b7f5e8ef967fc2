"""Owns a collector of traces for tests: OTLP over gRPC, as our services send it, and over HTTP, as Triton does."""

# ruff: noqa: ARG002 -- a servicer's methods have gRPC's arguments

import base64
import gzip
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """One span, and the service that made it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str]


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    requests: list[messages.ExportTraceServiceRequest] = field(default_factory=list)
    endpoint: str = ""
    http_url: str = ""

    def Export(  # noqa: N802 -- the protocol's name
        self,
        request: messages.ExportTraceServiceRequest,
        context: Any,  # Any: of no interest
    ) -> messages.ExportTraceServiceResponse:
        """Take a batch."""
        self.requests.append(request)
        return messages.ExportTraceServiceResponse()

    def spans(self) -> tuple[CollectedSpan, ...]:
        """Return all spans that came."""
        return tuple(
            CollectedSpan(
                service=_text_of(resource.resource.attributes).get("service.name", ""),
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                attributes=_text_of(span.attributes),
            )
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )

    def everything(self) -> bytes:
        """Return all bytes that came."""
        return b"".join(request.SerializeToString() for request in self.requests)

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Serve both protocols on free loopback ports while the block runs."""
        server = grpc.server(ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, server)
        self.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        web = ThreadingHTTPServer(("127.0.0.1", 0), _http_handler(self))
        self.http_url = f"http://127.0.0.1:{web.server_port}/v1/traces"
        thread = Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            web.shutdown()
            thread.join()
            web.server_close()
            server.stop(None).wait()


def _http_handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a batch."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if "json" in self.headers.get("Content-Type", ""):
                request = _mend_identifiers(json_format.Parse(body, messages.ExportTraceServiceRequest()))
            else:
                request = messages.ExportTraceServiceRequest.FromString(body)
            collector.requests.append(request)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _mend_identifiers(request: messages.ExportTraceServiceRequest) -> messages.ExportTraceServiceRequest:
    """Return a request whose identifiers are bytes again: OTLP writes hexadecimal where JSON of protobuf has base64."""
    for span in (item for resource in request.resource_spans for scope in resource.scope_spans for item in scope.spans):
        for name in ("trace_id", "span_id", "parent_span_id"):
            setattr(span, name, bytes.fromhex(base64.b64encode(getattr(span, name)).decode()))
    return request


def _text_of(attributes: Any) -> dict[str, str]:  # Any: repeated KeyValue
    return {item.key: str(getattr(item.value, item.value.WhichOneof("value") or "string_value")) for item in attributes}
