"""Owns a caller who traces: a span of OpenTelemetry that is active, with a state and baggage beside it."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import baggage, context, trace


@contextmanager
def active_span(trace_id: str, span_id: str, *, beside: str) -> Iterator[None]:
    """Have a sampled span active while the block runs; `beside` is what a caller may write next to it."""
    known = trace.SpanContext(
        int(trace_id, 16),
        int(span_id, 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        trace_state=trace.TraceState([("vendor", beside)]),
    )
    span = trace.NonRecordingSpan(known)
    token = context.attach(trace.set_span_in_context(span, baggage.set_baggage("patient", beside)))
    try:
        yield
    finally:
        context.detach(token)
