"""Owns tracing as the services see it: spans of one study through all of them, and nothing unless a collector is named.

Attributes are identifiers of ours, names of networks, counts and sizes; never what a client wrote.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

# W3C Trace Context, level 1: a version, two hexadecimal identifiers and flags. Its sister tracestate, and baggage,
# would carry whatever a client puts there, and are left alone.
TRACEPARENT = "traceparent"
_SAMPLED = 1


class SpanKind(Enum):
    """Where a span stands between two processes."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


class Tracer(Protocol):
    """Makes spans; the one adapter is in `otlp_tracer`."""

    def span(
        self, name: str, *, kind: SpanKind, parent: str | None, attributes: dict[str, str | int]
    ) -> AbstractContextManager[None]:
        """Return a span for a block."""
        ...

    def record(self, name: str, *, duration_s: float) -> None:
        """Add a span that ends now."""

    def annotate(self, attributes: dict[str, str | int]) -> None:
        """Add attributes to the span that this runs in."""

    def traceparent(self) -> str:
        """Return the span that this runs in, or nothing."""
        ...


# Ambient, as the log is: every step may tell of itself.
_tracer: Tracer | None = None


@contextmanager
def export_traces(service: str, endpoint: str | None) -> Iterator[None]:
    """Send spans of this process to an OTLP collector (gRPC) while the block runs; without one, make none."""
    if endpoint is None:
        yield
        return
    # Here, so that a process that traces nothing loads nothing for it.
    from brainmets.runtime.otlp_tracer import OtlpTracer  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 -- see above
    with OtlpTracer.exporting(service, endpoint) as _tracer:
        try:
            yield
        finally:
            _tracer = None


def is_tracing() -> bool:
    """Return whether this process makes spans."""
    return _tracer is not None


def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, parent: str | None = None, **attributes: str | int
) -> AbstractContextManager[None]:
    """Return a span for a block; one that the block raises out of says of what kind the error is, and no more.

    Args:
        name: What is done; one of a few words of ours.
        kind: Where it stands between two processes.
        parent: The traceparent of a span of another process, which this one continues; empty begins a trace. Unset:
            the span that this runs in.
        **attributes: Identifiers, counts and sizes.
    """
    return nullcontext() if _tracer is None else _tracer.span(name, kind=kind, parent=parent, attributes=attributes)


def record_span(name: str, *, duration_s: float) -> None:
    """Tell of a step that ends now and was no block."""
    if _tracer is not None:
        _tracer.record(name, duration_s=duration_s)


def annotate_span(**attributes: str | int) -> None:
    """Add attributes to the span that this runs in."""
    if _tracer is not None:
        _tracer.annotate(attributes)


def current_traceparent() -> str:
    """Return the traceparent of the span that this runs in; empty without one."""
    return "" if _tracer is None else _tracer.traceparent()


def trace_exemplar() -> dict[str, str] | None:
    """Return what a measurement points to its trace with; None outside of one, and of one that no collector keeps."""
    _, trace_id, _, flags = (current_traceparent() or "---00").split("-")
    return {"trace_id": trace_id} if int(flags, 16) & _SAMPLED else None


def trace_headers() -> dict[str, str]:
    """Return what a call to another process carries, so that its spans join the trace."""
    traceparent = current_traceparent()
    return {TRACEPARENT: traceparent} if traceparent else {}
