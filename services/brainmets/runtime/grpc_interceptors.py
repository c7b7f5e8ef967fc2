"""Owns what happens around every RPC of a server: its error becomes a status, and it is counted and timed.

Servicers therefore hold no try/except: they raise, and the error's class decides.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog

from brainmets.imaging.errors import BrainmetsError, InternalError, OverloadedError
from brainmets.runtime import tracing
from brainmets.runtime.grpc_errors import STATUS_DETAILS_KEY, status_code_of, to_status

if TYPE_CHECKING:
    from brainmets.runtime.metrics import MeasuredCall, RpcMetrics

_log = structlog.get_logger(__name__)

# Any, here and below: interceptors stand around RPCs of every request and response type.
_Context = grpc.aio.ServicerContext[Any, Any]
_Behavior = Callable[[Any, _Context], Any]
_Around = Callable[[str, _Context], AbstractAsyncContextManager[None]]
# Quoted: gRPC's handlers are generic in their annotations only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]]"


class AroundInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Runs every RPC, unary or streaming, inside an asynchronous context manager of (method, context)."""

    def __init__(self, around: _Around) -> None:
        self._around = around

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        # None is a method the server does not have; gRPC answers UNIMPLEMENTED.
        return handler and _wrap(handler, self._around, method=handler_call_details.method)


def _wrap(handler: _Handler, around: _Around, *, method: str) -> _Handler:
    kind = f"{_arity(handler.request_streaming)}_{_arity(handler.response_streaming)}"
    wrap = _around_stream if handler.response_streaming else _around_unary
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    wrapped: _Handler = make(
        wrap(getattr(handler, kind), around, method=method),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return wrapped


def _arity(streaming: bool) -> str:  # noqa: FBT001 -- gRPC's own attribute
    return "stream" if streaming else "unary"


def _around_unary(behavior: _Behavior, around: _Around, *, method: str) -> _Behavior:
    async def call(request: Any, context: _Context) -> Any:
        async with around(method, context):
            return await behavior(request, context)

    return call


def _around_stream(behavior: _Behavior, around: _Around, *, method: str) -> _Behavior:
    # Writes instead of yielding: a generator that is cancelled while gRPC writes its message is not told so
    # before it is collected, and the work behind it would go on.
    async def stream(request: Any, context: _Context) -> None:
        async with around(method, context):
            answer = behavior(request, context)
            if not inspect.isasyncgen(answer):
                await answer
                return
            async with aclosing(answer) as responses:
                async for response in responses:
                    await context.write(response)

    return stream


def error_interceptor() -> AroundInterceptor:
    """Return what turns errors into statuses with details, and unexpected ones into an opaque INTERNAL."""
    return AroundInterceptor(_errors_to_status)


@asynccontextmanager
async def _errors_to_status(method: str, context: _Context) -> AsyncIterator[None]:
    try:
        yield
    except BrainmetsError as error:
        # Its texts go to the caller; a log needs the kind only.
        _log.info("rpc_refused", method=method, reason=error.reason, file_index=error.file_index)
        await _abort(context, error)
    except grpc.aio.AbortError:
        raise
    except grpc.aio.InternalError as error:
        # gRPC's word for a message that cannot be written because the caller has left.
        raise asyncio.CancelledError from error
    except Exception as error:  # noqa: BLE001 -- the caller gets a status, whatever it is
        request_id = str(uuid.uuid4())
        _log.exception("rpc_broke", method=method, request_id=request_id)
        await _abort(context, _opaque(error, request_id))


async def _abort(context: _Context, error: BrainmetsError) -> NoReturn:
    status = to_status(error)
    trailers = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(status_code_of(error), status.message, trailing_metadata=trailers)


def _opaque(error: Exception, request_id: str) -> InternalError:
    return InternalError(
        f"unexpected error, tell the operator the request id {request_id}",
        expected="an answer",
        # A message may quote the input; a type cannot.
        got=type(error).__name__,
        remedy="tell the operator the request id",
    )


_measured: ContextVar[MeasuredCall | None] = ContextVar("measured", default=None)


def metrics_interceptor(metrics: RpcMetrics) -> AroundInterceptor:
    """Return what counts and times RPCs; it goes around the error interceptor, to see the final code."""

    @asynccontextmanager
    async def measured(method: str, context: _Context) -> AsyncIterator[None]:
        with metrics.measure(method.rsplit("/", 1)[-1]) as call:
            # Each call is a task of its own, with a context that ends with it.
            _measured.set(call)
            try:
                yield
            except grpc.aio.AbortError:
                call.code = _code_of(context)
                raise
            call.code = _code_of(context)

    return AroundInterceptor(measured)


# Not others' services, such as health: nobody wants a trace of them each second, and a full server still answers them.
_OUR_METHODS = "/brainmets."


def tracing_interceptor() -> AroundInterceptor:
    """Return what makes a span of each RPC, within its caller's trace; it stands inside, to see which error it was."""
    return AroundInterceptor(_traced)


@asynccontextmanager
async def _traced(method: str, context: _Context) -> AsyncIterator[None]:
    if not method.startswith(_OUR_METHODS):
        yield
        return
    # Any: a key and a value, which its annotation takes for one thing.
    metadata: Any = context.invocation_metadata()
    parent = next((str(value) for key, value in metadata or () if key == tracing.TRACEPARENT), "")
    with tracing.span(method[1:], kind=tracing.SpanKind.SERVER, parent=parent):
        # Calls are measured outside of their span, to see the final code.
        if (call := _measured.get()) is not None:
            call.exemplar = tracing.trace_exemplar()
        yield


# By then some of the calls under way have ended, or another server takes the call.
RETRY_AFTER_S = 1.0


class PlacesInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Lets a number of calls run at a time, and refuses the rest.

    It stands inside errors and metrics, so that refusals are counted and say when to come again; of those at gRPC's own
    limit nobody hears.

    Args:
        count: How many run at a time.
        on_refused: Told the method of each call that is refused.
    """

    def __init__(self, count: int, on_refused: Callable[[str], None]) -> None:
        self._free = count
        self._on_refused = on_refused

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Wrap the method's handler, or replace it while no place is free."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if handler is None or not method.startswith(_OUR_METHODS):
            return handler
        if self._free > 0:
            return _wrap(handler, self._in_place, method=method)

        async def refuse(_requests: Any, _context: _Context) -> None:
            raise self._refusal(method)

        # Of a stream gRPC reads nothing by itself; the message of a unary call would be in memory by now.
        return grpc.stream_stream_rpc_method_handler(refuse)

    @asynccontextmanager
    async def _in_place(self, method: str, _context: _Context) -> AsyncIterator[None]:
        # Others may have come while gRPC read the message.
        if self._free == 0:
            raise self._refusal(method)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def _refusal(self, method: str) -> OverloadedError:
        self._on_refused(method)
        return OverloadedError(
            "The server has as many calls under way as it takes",
            expected="a free place",
            got="none",
            remedy="retry later",
            retry_after_s=RETRY_AFTER_S,
        )


def _code_of(context: _Context) -> grpc.StatusCode:
    # Any: it is no code until one was set, whatever the annotation says.
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK
