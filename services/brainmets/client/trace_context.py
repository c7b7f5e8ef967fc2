"""Owns which trace a call belongs to: the caller's, by W3C's traceparent, without needing OpenTelemetry."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Stub = TypeVar("Stub")

TRACEPARENT = "traceparent"
# W3C Trace Context, version 00: identifiers that are not all zeros, and flags.
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_stated: ContextVar[str] = ContextVar("brainmets_traceparent", default="")


@contextmanager
def continued_trace(traceparent: str | None) -> Iterator[None]:
    """Let the calls of a block belong to a trace; None leaves the choice to OpenTelemetry's context.

    Raises:
        ValueError: It is no traceparent of version 00.
    """
    if traceparent is not None and not _FORM.fullmatch(traceparent):
        raise ValueError(f"expected a W3C traceparent, 00-<32 hex>-<16 hex>-<2 hex>, got {traceparent!r}")
    token = _stated.set(traceparent or _stated.get())
    try:
        yield
    finally:
        _stated.reset(token)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return what a call carries so that the service's spans join the caller's trace; nothing outside of one."""
    traceparent = _stated.get() or _active_traceparent()
    return ((TRACEPARENT, traceparent),) if traceparent else ()


def _active_traceparent() -> str:
    """Return the span that OpenTelemetry has active here."""
    # Not imported: whoever has a span has loaded it, and nobody else should have to.
    trace: Any = sys.modules.get("opentelemetry.trace")  # Any: it may be absent
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def carry_trace(stub: Stub) -> Stub:
    """Let every call of a generated stub carry the caller's trace; return the stub."""
    # No interceptor: those of grpc.aio come in four kinds, and wrap streams in tasks of their own.
    for name, call in vars(stub).items():
        setattr(stub, name, _carrying(call))
    return stub


def _carrying(call: Callable[..., Any]) -> Callable[..., Any]:  # Any: calls of every request and response
    return lambda *arguments, **options: call(*arguments, metadata=trace_metadata(), **options)
