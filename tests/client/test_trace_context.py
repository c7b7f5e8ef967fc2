"""Calls carry the caller's trace and nothing else, whether or not OpenTelemetry is there."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc.aio
import pytest

from active_span import active_span
from brainmets.client import AsyncClient, Client, ServiceError
from brainmets.client.phantom import Phantom
from brainmets.runtime.grpc_server import stop_server
from brainmets.v1 import job_pb2, model_service_pb2_grpc, segmentation_service_pb2_grpc

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ACTIVE = f"00-{TRACE_ID}-{SPAN_ID}-01"
STATED = f"00-{TRACE_ID[::-1]}-{SPAN_ID[::-1]}-00"
PRIVATE = "a-name"
STUDY = Phantom(0).study()
CALLS: dict[str, Callable[[AsyncClient], Any]] = {
    "SegmentStudy": lambda client: client.segment(STUDY),
    "CreateUpload": lambda client: client.submit(STUDY),
    "WatchJob": lambda client: client.wait("a"),
    "GetJob": lambda client: client.job("a"),
    "ListJobs": lambda client: anext(client.jobs()),
    "CancelJob": lambda client: client.cancel("a"),
    "DeleteJob": lambda client: client.delete("a"),
    "DownloadArtifact": lambda client: client.download("a", job_pb2.ARTIFACT_KIND_MASK_NIFTI),
    "ListModels": lambda client: client.models(),
    "GetModel": lambda client: client.model_card("a"),
}


class Listener(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in its stubs only
    """Keeps the metadata of each call."""

    def __init__(self) -> None:
        self.address = ""
        self.heard: dict[str, dict[str, str]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Listen."""
        self.heard[handler_call_details.method.rpartition("/")[2]] = dict(handler_call_details.invocation_metadata)
        return await continuation(handler_call_details)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """A service that listens, and does nothing of what it is asked."""
    listening = Listener()
    server = grpc.aio.server(interceptors=[listening])
    segmentation_service_pb2_grpc.add_SegmentationServiceServicer_to_server(
        segmentation_service_pb2_grpc.SegmentationServiceServicer(), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(model_service_pb2_grpc.ModelServiceServicer(), server)
    listening.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield listening
    await stop_server(server)


def tracing() -> AbstractContextManager[None]:
    """Have a span active."""
    return active_span(TRACE_ID, SPAN_ID, beside=PRIVATE)


async def refused(
    listener: Listener, call: Callable[[AsyncClient], Any], *, of: str = "SegmentStudy"
) -> dict[str, str]:
    """Return what a call carried, having been refused."""
    async with AsyncClient(listener.address) as client:
        with pytest.raises(ServiceError):
            await call(client)
    return listener.heard[of]


@pytest.mark.parametrize("method", CALLS)
async def test_every_call_carries_the_active_span(listener: Listener, method: str) -> None:
    """And none of what rides beside it."""
    with tracing():
        carried = await refused(listener, CALLS[method], of=method)
    assert carried["traceparent"] == ACTIVE
    assert PRIVATE not in str(carried)


async def test_without_a_span_there_is_nothing_to_carry(listener: Listener) -> None:
    """OpenTelemetry alone is no trace."""
    assert "traceparent" not in await refused(listener, CALLS["SegmentStudy"])


@pytest.mark.parametrize("method", ["SegmentStudy", "CreateUpload"])
async def test_a_stated_trace_wins(listener: Listener, method: str) -> None:
    """For that study, and no longer."""
    calls: dict[str, Callable[[AsyncClient], Any]] = {
        "SegmentStudy": lambda client: client.segment(STUDY, traceparent=STATED),
        "CreateUpload": lambda client: client.submit(STUDY, traceparent=STATED),
    }
    with tracing():
        assert (await refused(listener, calls[method], of=method))["traceparent"] == STATED
        assert (await refused(listener, CALLS[method], of=method))["traceparent"] == ACTIVE


async def test_the_synchronous_client_carries_its_caller_s_span(listener: Listener) -> None:
    """Although it calls from a thread of its own."""

    def call(traceparent: str | None) -> str:
        with Client(listener.address) as client, tracing(), pytest.raises(ServiceError):
            client.segment(STUDY, traceparent=traceparent)
        return listener.heard["SegmentStudy"]["traceparent"]

    assert await asyncio.to_thread(call, None) == ACTIVE
    assert await asyncio.to_thread(call, STATED) == STATED


@pytest.mark.parametrize("wrong", ["", "nonsense", f"00-{'0' * 32}-{SPAN_ID}-01", f"{ACTIVE}-more", ACTIVE.upper()])
async def test_what_is_no_traceparent_is_refused(listener: Listener, wrong: str) -> None:
    """Before anything is sent."""
    async with AsyncClient(listener.address) as client:
        with pytest.raises(ValueError, match="expected a W3C traceparent"):
            await client.segment(STUDY, traceparent=wrong)
    assert listener.heard == {}


def test_a_caller_without_opentelemetry_needs_none() -> None:
    """It is neither required nor loaded, also where it is installed."""
    code = (
        "import sys, brainmets.client as c, brainmets.client.trace_context as t;"
        "assert t.trace_metadata() == ();"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
