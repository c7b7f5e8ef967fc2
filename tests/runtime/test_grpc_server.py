"""A real server on a free port: errors become statuses, calls are counted, stopping loses none."""

# ruff: noqa: ARG002, N802 -- a servicer's methods have gRPC's names and arguments

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog.testing
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from brainmets.imaging.errors import BrainmetsError, InternalError, OverloadedError, UnknownModelError
from brainmets.internal.v1 import preprocessing_service_pb2 as streams
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.runtime.grpc_client import open_channel, rpc_errors
from brainmets.runtime.grpc_server import (
    INTERNAL_LIMITS,
    PUBLIC_LIMITS,
    ServerLimits,
    bind,
    build_server,
    publish,
    serve_health,
    stop_server,
)
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import RpcMetrics
from brainmets.runtime.tracing import export_traces
from brainmets.v1 import model_service_pb2 as models
from brainmets.v1 import model_service_pb2_grpc, segmentation_service_pb2_grpc
from brainmets.v1 import segmentation_service_pb2 as uploads
from metric_pages import pointing
from otlp_collector import Collector

QUOTED = "a patient's name"
PART = "brainmets.v1.ModelService"
PIECE, READ_PIECES = bytes(256 * 1024), 256
TILE = streams.PrepareStudyResponse(tile=streams.PreparedTile(index=0))


SERVES_UNTIL_TOLD = """
import asyncio
from prometheus_client import CollectorRegistry
from brainmets.runtime.grpc_server import PUBLIC_LIMITS, bind, build_server, serve_until
from brainmets.runtime.health import Health
from brainmets.runtime.metrics import RpcMetrics
from brainmets.runtime.shutdown import stop_on_signals
from brainmets.v1 import model_service_pb2, model_service_pb2_grpc

class Models(model_service_pb2_grpc.ModelServiceServicer):
    async def ListModels(self, request, context):
        print("called", flush=True)
        await asyncio.sleep(0.5)
        return model_service_pb2.ListModelsResponse()

async def main():
    stopping = stop_on_signals()
    server = build_server(PUBLIC_LIMITS, RpcMetrics(CollectorRegistry(), service="gateway", methods=()))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    print(bind(server, "127.0.0.1:0"), flush=True)
    await serve_until(stopping, server, health=Health(), grace_s=60.0)

asyncio.run(main())
"""


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """Answers one call in each way."""

    async def GetModel(self, request: models.GetModelRequest, context: Any) -> models.GetModelResponse:
        """Fail as the model's name says."""
        if request.model_name == "unknown":
            raise UnknownModelError("No such model", expected="one listed", got="another", remedy="list them")
        if request.model_name == "broken":
            raise ZeroDivisionError(QUOTED)
        if request.model_name == "aborted":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by itself")
        return models.GetModelResponse()

    async def ListModels(self, request: models.ListModelsRequest, context: Any) -> models.ListModelsResponse:
        """Take a while, and say whence the call came."""
        await context.send_initial_metadata((("peer", context.peer()),))
        await asyncio.sleep(0.3)
        return models.ListModelsResponse()


class Tiles(preprocessing_service_pb2_grpc.PreprocessingServiceServicer):
    """Streams for ever, or fails after one message."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def PrepareStudy(
        self, request: streams.PrepareStudyRequest, context: Any
    ) -> AsyncIterator[streams.PrepareStudyResponse]:
        """Stream, and tell when that has ended."""
        try:
            yield TILE
            if request.job_id == "unknown":
                raise UnknownModelError("No such model", expected="one listed", got="another", remedy="list")
            while request.job_id == "endless":
                yield streams.PrepareStudyResponse(tile=streams.PreparedTile(voxels=bytes(1 << 20)))
        finally:
            self.closed.set()


class Running:
    """A server under test and a channel to it."""

    def __init__(self, server: grpc.aio.Server, channel: grpc.aio.Channel, address: str) -> None:
        self.server, self.address = server, address
        self.registry = CollectorRegistry()
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.streams = preprocessing_service_pb2_grpc.PreprocessingServiceStub(channel)
        self.health = health_pb2_grpc.HealthStub(channel)
        self.reflection = reflection_pb2_grpc.ServerReflectionStub(channel)


@asynccontextmanager
async def running(tiles: Tiles | None = None, limits: ServerLimits = PUBLIC_LIMITS) -> AsyncIterator[Running]:
    """Run a server with both services."""
    registry = CollectorRegistry()
    metrics = RpcMetrics(registry, service="gateway", methods=("GetModel", "ListModels", "PrepareStudy"))
    server = build_server(limits, metrics)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(tiles or Tiles(), server)
    publish(server, (PART,), Health(PART))
    address = bind(server, "127.0.0.1:0")
    await server.start()
    async with open_channel(address) as channel:
        started = Running(server, channel, address)
        started.registry = registry
        try:
            yield started
        finally:
            await stop_server(server)


async def fail(model_name: str, server: Running) -> BrainmetsError:
    """Return the error of a call that fails."""
    with pytest.raises(BrainmetsError) as caught, rpc_errors():
        await server.models.GetModel(models.GetModelRequest(model_name=model_name))
    return caught.value


async def test_the_duration_of_a_call_points_to_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that fails as well; where nothing is traced it points nowhere."""
    monkeypatch.setattr("brainmets.runtime.otlp_tracer.EXPORT_TIMEOUT_S", 60.0)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01"),)
    collector = Collector()
    with collector.serve(), export_traces("gateway", collector.endpoint):
        async with running() as server:
            await server.models.ListModels(models.ListModelsRequest(), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError):
                await server.models.GetModel(models.GetModelRequest(model_name="unknown"), metadata=metadata)
    duration = "brainmets_gateway_rpc_duration_seconds"
    assert pointing(server.registry, trace_id) == {f"{duration} ListModels", f"{duration} GetModel"}
    async with running() as server:
        await server.models.ListModels(models.ListModelsRequest(), metadata=metadata)
    assert pointing(server.registry, trace_id) == set()


async def test_an_error_reaches_the_caller_as_it_was_raised() -> None:
    """A servicer raises, and the caller has the same kind with the same fields."""
    async with running() as server:
        error = await fail("unknown", server)
    assert isinstance(error, UnknownModelError)
    assert error.remedy == "list them"


async def test_an_error_ends_a_stream_with_a_status() -> None:
    """What was streamed before it arrives, then the error does."""
    async with running() as server:
        call = server.streams.PrepareStudy(streams.PrepareStudyRequest(job_id="unknown"))
        assert await call.read() == TILE
        with pytest.raises(UnknownModelError), rpc_errors():
            await call.read()


async def test_an_unexpected_error_is_opaque() -> None:
    """The caller learns a number to quote, never what the exception says."""
    async with running() as server:
        error = await fail("broken", server)
    assert isinstance(error, InternalError)
    assert "request id" in str(error)
    assert QUOTED not in repr(error)


async def test_an_unexpected_error_is_logged_under_its_request_id() -> None:
    """The operator finds the event by the number that the caller quotes."""
    with structlog.testing.capture_logs() as events:
        async with running() as server:
            error = await fail("broken", server)
    (event,) = [event for event in events if event["event"] == "rpc_broke"]
    assert event["request_id"] in error.message
    assert event["method"] == "/brainmets.v1.ModelService/GetModel"


async def test_a_call_may_still_end_itself() -> None:
    """A status set by hand is left as it is."""
    async with running() as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.models.GetModel(models.GetModelRequest(model_name="aborted"))
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def counted(server: Running, **labels: str) -> None:
    """Return once one call is counted; a status that a servicer aborts with reaches its caller a moment before."""
    async with asyncio.timeout(30):
        while server.registry.get_sample_value("brainmets_gateway_rpcs_total", labels) != 1:  # noqa: ASYNC110 -- a number
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("model_name", "code"),
    [("fine", "OK"), ("unknown", "NOT_FOUND"), ("broken", "INTERNAL"), ("aborted", "OUT_OF_RANGE")],
)
async def test_a_unary_call_is_counted_by_its_code(model_name: str, code: str) -> None:
    """The code that is counted is the code that the caller sees."""
    async with running() as server:
        call = server.models.GetModel(models.GetModelRequest(model_name=model_name))
        assert (await call.code()).name == code
        await counted(server, method="GetModel", code=code)


async def test_a_stream_is_counted_when_it_ends() -> None:
    """Streams have codes and durations too."""
    async with running() as server:
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in server.streams.PrepareStudy(streams.PrepareStudyRequest(job_id="unknown")):
                pass
        await counted(server, method="PrepareStudy", code="NOT_FOUND")


async def test_cancelling_a_stream_closes_its_generator_at_once() -> None:
    """Work behind a stream ends with it, also while gRPC waits for the caller to read."""
    tiles = Tiles()
    async with running(tiles, INTERNAL_LIMITS) as server:
        call = server.streams.PrepareStudy(streams.PrepareStudyRequest(job_id="endless"))
        await call.read()
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.wait_for(tiles.closed.wait(), timeout=30.0)
        await counted(server, method="PrepareStudy", code="CANCELLED")


async def test_a_message_above_the_limit_is_refused() -> None:
    """Nobody fills the server's memory with one message."""
    async with running(limits=ServerLimits(max_message_bytes=1000, max_concurrent_rpcs=8)) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.models.GetModel(models.GetModelRequest(model_name="m" * 2000))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@asynccontextmanager
async def full_server() -> AsyncIterator[tuple[Running, grpc.aio.Channel]]:
    """Run a server whose places are all taken, and a channel of somebody else's."""
    async with running(limits=replace(INTERNAL_LIMITS, max_concurrent_rpcs=2)) as server:
        calls = [server.streams.PrepareStudy(streams.PrepareStudyRequest(job_id="endless")) for _ in range(2)]
        for call in calls:
            assert await call.read() == TILE
        # By a connection of its own: on theirs gRPC keeps a third call back at the client.
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(server.address, options=own) as channel:
            yield server, channel
        for call in calls:
            call.cancel()


async def test_calls_above_the_limit_are_refused_and_counted() -> None:
    """A server takes as many calls at a time as it was built for; the rest hear when to come again."""
    async with full_server() as (server, channel):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        with pytest.raises(OverloadedError) as caught, rpc_errors():
            await stub.GetModel(models.GetModelRequest())
        assert caught.value.remedy == "retry later"
        await counted(server, method="GetModel", code="RESOURCE_EXHAUSTED")
        refused = preprocessing_service_pb2_grpc.PreprocessingServiceStub(channel)
        with pytest.raises(OverloadedError), rpc_errors():
            await refused.PrepareStudy(streams.PrepareStudyRequest()).read()
        await counted(server, method="PrepareStudy", code="RESOURCE_EXHAUSTED")


async def test_a_full_server_reads_nothing_of_what_it_refuses() -> None:
    """Else calls above the limit would take memory all the same."""
    async with full_server() as (_, channel):
        upload = channel.unary_unary("/brainmets.v1.ModelService/GetModel")
        with pytest.raises(OverloadedError), rpc_errors():
            await upload(b"this is no message, which whoever reads it finds out")


async def test_a_full_server_says_that_it_lives() -> None:
    """It would be killed with all of its calls otherwise."""
    async with full_server() as (_, channel):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_call_that_ends_leaves_its_place_to_the_next() -> None:
    """However it ends."""
    async with running(limits=replace(INTERNAL_LIMITS, max_concurrent_rpcs=1)) as server:
        for model_name in ("fine", "unknown", "broken") * 2:
            call = server.models.GetModel(models.GetModelRequest(model_name=model_name))
            assert await call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_services_can_be_listed() -> None:
    """A tool that knows no protos finds out what the server answers."""
    async with running() as server:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = [answer async for answer in server.reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answer.list_services_response.service}
    assert {PART, "grpc.health.v1.Health"} <= names


async def test_a_taken_port_is_refused() -> None:
    """Two processes never share a port unawares."""
    async with running() as server:
        second = build_server(PUBLIC_LIMITS, RpcMetrics(CollectorRegistry(), service="gateway", methods=()))
        with pytest.raises(OSError, match="in use"):
            bind(second, server.address)
        await stop_server(second)


async def test_a_call_under_way_ends_well_when_the_server_stops() -> None:
    """SIGTERM takes no new calls and lets those under way end."""
    # In a process of its own, as signals are the whole process's.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVES_UNTIL_TOLD),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with open_channel((await process.stdout.readline()).decode().strip()) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        call = asyncio.ensure_future(stub.ListModels(models.ListModelsRequest(), wait_for_ready=True))
        assert await process.stdout.readline() == b"called\n"
        process.terminate()
        assert await call == models.ListModelsResponse()
    assert await process.wait() == 0


async def test_no_call_outlives_its_server() -> None:
    """A loop that ends frees what gRPC's core writes to, if tasks of gRPC are left."""
    async with running() as server:
        calls = [server.streams.PrepareStudy(streams.PrepareStudyRequest(job_id="endless")) for _ in range(16)]
        for call in calls:
            await call.read()
        before = asyncio.all_tasks()
        await stop_server(server.server)
        left = {task for task in before & asyncio.all_tasks() if "rpc" in getattr(task.get_coro(), "__name__", "")}
    assert not left


async def test_calls_go_to_all_addresses_in_turn() -> None:
    """As many to each, once both are connected; when one is gone the other has them all."""
    async with (
        running() as first,
        running() as second,
        open_channel(f"ipv4:{first.address},{second.address}") as channel,
    ):
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        async def call(count: int) -> list[float]:
            before = [count_calls(server) for server in (first, second)]
            for _ in range(count):
                await stub.GetModel(models.GetModelRequest(model_name="fine"))
            return [count_calls(server) - calls for server, calls in zip((first, second), before, strict=True)]

        async with asyncio.timeout(30):
            while 0 in await call(4):
                pass
        assert await call(6) == [3, 3]
        await stop_server(first.server)
        # One may still go to it before the caller knows; callers repeat those.
        with suppress(grpc.aio.AioRpcError):
            await call(2)
        assert await call(4) == [0, 4]


def count_calls(server: Running) -> float:
    """Return how many calls of GetModel a server has answered."""
    labels = {"method": "GetModel", "code": "OK"}
    return server.registry.get_sample_value("brainmets_gateway_rpcs_total", labels) or 0.0


async def test_a_connection_ages_and_its_call_does_not() -> None:
    """A caller looks for other servers now and then, and loses nothing by it."""
    aging = ServerLimits(max_message_bytes=1000, max_concurrent_rpcs=8, max_connection_age_ms=100)
    async with running(limits=aging) as server, asyncio.timeout(30):
        while await call_and_find_port(server) == await call_and_find_port(server):
            pass
    async with running(limits=PUBLIC_LIMITS) as server:
        assert len({await call_and_find_port(server) for _ in range(3)}) == 1


async def call_and_find_port(server: Running) -> str:
    """Return the caller's end of the connection that a call, longer than a connection's age, came by."""
    call = server.models.ListModels(models.ListModelsRequest())
    await call
    return dict(await call.initial_metadata())["peer"]


async def test_health_is_told_by_name_on_its_own_port() -> None:
    """A part does not serve until it is said to, and nothing serves once the process drains."""
    health = Health(PART)
    async with serve_health(health, "127.0.0.1:0") as address, open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(name: str) -> str:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

        assert [await status(""), await status(PART)] == ["SERVING", "NOT_SERVING"]
        await health.note(PART, serving=True)
        assert await status(PART) == "SERVING"
        await health.drain()
        assert [await status(""), await status(PART)] == ["NOT_SERVING", "NOT_SERVING"]


async def test_health_has_no_parts_that_nobody_named() -> None:
    """A misspelt part is a defect, not a new part."""
    with pytest.raises(KeyError):
        await Health(PART).note("inferense", serving=True)


class Hesitant(segmentation_service_pb2_grpc.SegmentationServiceServicer):
    """Reads an upload as fast as it comes, and then no further for a while."""

    def __init__(self) -> None:
        self.waits, self.may_end = asyncio.Event(), asyncio.Event()

    async def WriteUpload(
        self, request_iterator: AsyncIterator[uploads.WriteUploadRequest], context: Any
    ) -> uploads.WriteUploadResponse:
        """Read as many pieces as let gRPC find out how much the line carries."""
        read = 0
        async for _ in request_iterator:
            read += 1
            if read == READ_PIECES:
                self.waits.set()
                await self.may_end.wait()
        return uploads.WriteUploadResponse()


async def test_an_upload_that_waits_holds_little_memory() -> None:
    """Of what a client would send on, a public server takes its window and no more."""
    servicer, sent = Hesitant(), 0

    async def pieces() -> AsyncIterator[uploads.WriteUploadRequest]:
        nonlocal sent
        for _ in range(2 * READ_PIECES):
            sent += 1
            yield uploads.WriteUploadRequest(chunk=PIECE)

    server = build_server(PUBLIC_LIMITS, RpcMetrics(CollectorRegistry(), service="gateway", methods=()))
    segmentation_service_pb2_grpc.add_SegmentationServiceServicer_to_server(servicer, server)
    address = bind(server, "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        call = segmentation_service_pb2_grpc.SegmentationServiceStub(channel).WriteUpload(pieces())
        await servicer.waits.wait()
        await asyncio.sleep(0.5)
        ahead_bytes = (sent - READ_PIECES) * len(PIECE)
        servicer.may_end.set()
        await call
    await stop_server(server)
    # Beside the window lie the message that is being read, and those that the client has given away already.
    assert ahead_bytes <= (1 << 20) + 4 * len(PIECE)
