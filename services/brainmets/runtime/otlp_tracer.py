"""Owns the export of spans by OpenTelemetry's SDK, in batches from a thread of its own."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brainmets import __version__
from brainmets.imaging.errors import BrainmetsError
from brainmets.runtime.tracing import TRACEPARENT, SpanKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context

# A collector that does not answer must not hold up the end of a process for longer.
EXPORT_TIMEOUT_S = 5.0
_KINDS = {kind: trace.SpanKind[kind.name] for kind in SpanKind}
_NS = 1_000_000_000
_W3C = TraceContextTextMapPropagator()


class OtlpTracer:
    """Makes spans of one process."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    @classmethod
    @contextmanager
    def exporting(cls, service: str, endpoint: str) -> Iterator[Self]:
        """Make a tracer whose spans go to a collector while the block runs; the last ones as it ends.

        Whatever else there is to say about the export (sampling, headers, certificates) stands in the variables of
        OpenTelemetry's own names, which the SDK reads itself.
        """
        resource = Resource.create({SERVICE_NAME: f"brainmets-{service}", SERVICE_VERSION: __version__})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S)))
        try:
            yield cls(provider.get_tracer("brainmets", __version__))
        finally:
            provider.shutdown()

    @contextmanager
    def span(
        self, name: str, *, kind: SpanKind, parent: str | None, attributes: dict[str, str | int]
    ) -> Iterator[None]:
        """Make a span for a block."""
        with self._tracer.start_as_current_span(
            name,
            context=None if parent is None else _context(parent),
            kind=_KINDS[kind],
            attributes=_named(attributes),
            # An exception's message may quote the input.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", error.reason if isinstance(error, BrainmetsError) else _kind(error))
                span.set_status(trace.StatusCode.ERROR)
                raise

    def record(self, name: str, *, duration_s: float) -> None:
        """Add a span that ends now."""
        now_ns = time.time_ns()
        self._tracer.start_span(name, start_time=now_ns - round(duration_s * _NS)).end(now_ns)

    def annotate(self, attributes: dict[str, str | int]) -> None:
        """Add attributes to the span that this runs in."""
        trace.get_current_span().set_attributes(_named(attributes))

    def traceparent(self) -> str:
        """Return the span that this runs in, or nothing."""
        headers: dict[str, str] = {}
        _W3C.inject(headers)
        return headers.get(TRACEPARENT, "")


def _context(traceparent: str) -> Context:
    """Return the span that a traceparent names as a context; one that is none begins a trace."""
    return _W3C.extract({TRACEPARENT: traceparent})


def _named(attributes: dict[str, str | int]) -> dict[str, str | int]:
    return {f"brainmets.{name}": value for name, value in attributes.items()}


def _kind(error: BaseException) -> str:
    return type(error).__qualname__
