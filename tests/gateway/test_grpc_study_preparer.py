"""Preparation over a real socket: every tile once, whatever breaks, and nothing goes on when nobody wants it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

import brainmets.gateway.deadline
from brainmets.gateway.deadline import Deadline
from brainmets.gateway.grpc_study_preparer import METHOD, GrpcStudyPreparer
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.imaging.errors import (
    DeadlineExceededError,
    DependencyUnavailableError,
    InternalError,
    MalformedFileError,
    OverloadedError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.midline import Midline
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import crop_tile, plan_tiles
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.runtime.grpc_client import open_channel
from brainmets.runtime.grpc_server import INTERNAL_LIMITS, build_server, stop_server
from brainmets.runtime.metrics import RpcMetrics
from brainmets.v1 import study_pb2
from brainmets.wire.stored_file import StoredFile
from brainmets.wire.tiles import StudyHeader, contract_to_proto, header_to_proto, tile_to_proto
from imaging_cases import normalized_volume

CONTRACT = TileContract(sequences=(Sequence.T1C,), spacing_mm=1.0, depth=4, halo=1, stride=16, max_size=32, overlap=0.0)
VOLUME = normalized_volume((24, 32, 32), channels=1)
GRID = plan_tiles(VOLUME.geometry.shape, CONTRACT)
HEADER = StudyHeader(
    VOLUME.acquired, VOLUME.geometry, VOLUME.sequences, (), GRID, Midline((1.0, 0.0, 0.0), 16.0), t1c_file_index=4
)
FILES = (StoredFile(4, MediaType.DICOM_ZIP, Sequence.T1C, ("uploads/a/4/0", "uploads/a/4/1"), b"\x01" * 32, 99),)
CHOICES = PreparationChoices(force=True, selections=(SeriesSelection(Sequence.T1C, 7),))
BROKEN = DependencyUnavailableError("Gone", expected="an answer", got="none", remedy="retry")
FULL = OverloadedError("Full", expected="room", got="none", remedy="retry", retry_after_s=0.1)


@dataclass
class FlakyPreprocessing(preprocessing_service_pb2_grpc.PreprocessingServiceServicer):
    """Streams the volume; call by call it breaks after a number of messages, or sends fewer or other ones."""

    breaks: list[tuple[int, Exception]] = field(default_factory=list)
    missing: int = 0
    shifting: bool = False
    pause_s: float = 0.0
    requests: list[messages.PrepareStudyRequest] = field(default_factory=list)
    time_left_s: list[float] = field(default_factory=list)
    cancelled: int = 0

    async def PrepareStudy(  # noqa: N802 -- the contract's name
        self,
        request: messages.PrepareStudyRequest,
        context: Any,  # Any: of no interest but for its clock
    ) -> AsyncIterator[messages.PrepareStudyResponse]:
        """Stream the header and the tiles."""
        self.requests.append(request)
        self.time_left_s.append(context.time_remaining())
        header = header_to_proto(HEADER)
        header.t1c_file_index += len(self.requests) if self.shifting else 0
        tiles = [tile_to_proto(crop_tile(VOLUME, GRID, index=index)) for index in range(len(GRID.boxes))]
        answers = [messages.PrepareStudyResponse(header=header)]
        answers += tiles[: len(tiles) - self.missing]
        after, error = self.breaks.pop(0) if self.breaks else (len(answers), None)
        try:
            for answer in answers[:after]:
                await asyncio.sleep(self.pause_s)
                yield answer
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls be repeated without long pauses."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 0.02)


@pytest.fixture
def service() -> FlakyPreprocessing:
    """A preprocessing that does as it is told."""
    return FlakyPreprocessing()


@asynccontextmanager
async def serving(service: FlakyPreprocessing) -> AsyncIterator[str]:
    """Serve it on a free loopback port."""
    server = build_server(INTERNAL_LIMITS, RpcMetrics(CollectorRegistry(), service="preprocessing", methods=(METHOD,)))
    preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await stop_server(server)


@pytest.fixture
def received() -> list[int]:
    """Bytes of each tile that came."""
    return []


@pytest.fixture
def registry() -> CollectorRegistry:
    """Where calls are counted."""
    return CollectorRegistry()


@pytest.fixture
async def preparer(
    service: FlakyPreprocessing, received: list[int], registry: CollectorRegistry
) -> AsyncIterator[GrpcStudyPreparer]:
    """The adapter, connected to it."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(service))
        channel = await stack.enter_async_context(open_channel(address))
        calls = RpcMetrics(registry, service="worker", methods=(METHOD,))
        yield GrpcStudyPreparer(channel, calls, on_received=received.append)


async def prepared(preparer: GrpcStudyPreparer, *, deadline_s: float = 10.0) -> tuple[StudyHeader, list[int]]:
    """Return the header and the tiles' indices, after looking at each tile's voxels."""
    indices = []
    preparation = preparer.prepare(
        "job", FILES, choices=CHOICES, contract=CONTRACT, deadline=Deadline.after(deadline_s)
    )
    async with preparation as study:
        async for tile in study.tiles:
            expected = crop_tile(VOLUME, GRID, index=tile.index).voxels.astype(np.float16)
            np.testing.assert_array_equal(tile.voxels, expected)
            indices.append(tile.index)
    return study.header, indices


ALL = list(range(len(GRID.boxes)))


async def test_header_and_tiles_arrive_in_order(preparer: GrpcStudyPreparer) -> None:
    """Each once, as they were cut."""
    assert await prepared(preparer) == (HEADER, ALL)


async def test_files_and_contract_are_asked_for(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """As the job has them."""
    await prepared(preparer)
    (request,) = service.requests
    assert request.contract == contract_to_proto(CONTRACT)
    assert request.force
    assert [(chosen.sequence, chosen.series_number) for chosen in request.series] == [(study_pb2.SEQUENCE_T1C, 7)]
    (file,) = request.files
    assert file.media_type == study_pb2.MEDIA_TYPE_DICOM_ZIP
    assert (file.file_index, list(file.parts), file.sha256, file.size_bytes) == (
        4,
        list(FILES[0].parts),
        b"\x01" * 32,
        99,
    )


@pytest.mark.parametrize("after", [0, 1, 3, len(GRID.boxes)])
@pytest.mark.parametrize("error", [BROKEN, FULL])
async def test_a_broken_stream_is_begun_again(
    preparer: GrpcStudyPreparer, service: FlakyPreprocessing, after: int, error: Exception
) -> None:
    """No tile comes twice, and none is missing."""
    service.breaks = [(after, error)]
    assert await prepared(preparer) == (HEADER, ALL)
    assert len(service.requests) == 2


async def test_a_stream_may_break_several_times(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """Also while what was there before is read again."""
    service.breaks = [(3, BROKEN), (2, BROKEN), (5, BROKEN)]
    assert await prepared(preparer) == (HEADER, ALL)


async def test_a_service_that_comes_up_later_is_waited_for(service: FlakyPreprocessing) -> None:
    """A worker may start before preprocessing does."""
    async with serving(FlakyPreprocessing()) as address:
        pass
    calls = RpcMetrics(CollectorRegistry(), service="worker", methods=(METHOD,))
    async with open_channel(address) as channel:
        preparer = GrpcStudyPreparer(channel, calls, on_received=lambda _: None)
        preparation = asyncio.create_task(prepared(preparer))
        await asyncio.sleep(0.3)
        server = build_server(INTERNAL_LIMITS, RpcMetrics(CollectorRegistry(), service="preprocessing", methods=()))
        preprocessing_service_pb2_grpc.add_PreprocessingServiceServicer_to_server(service, server)
        server.add_insecure_port(address)
        await server.start()
        assert await preparation == (HEADER, ALL)
        await stop_server(server)


async def test_another_stream_than_before_the_break_is_refused(
    preparer: GrpcStudyPreparer, service: FlakyPreprocessing
) -> None:
    """Tiles of two versions do not make one map."""
    service.breaks, service.shifting = [(3, BROKEN)], True
    with pytest.raises(InternalError):
        await prepared(preparer)


async def test_a_missing_tile_is_noticed(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """A stream that ends well but early is none."""
    service.missing = 1
    with pytest.raises(InternalError):
        await prepared(preparer)


async def test_a_bad_study_is_not_tried_again(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """The same bytes fail again; the error keeps its details."""
    service.breaks = [
        (0, MalformedFileError("No", expected="a head", got="none", remedy="send one", file_index=4)),
    ]
    with pytest.raises(MalformedFileError) as caught:
        await prepared(preparer)
    assert caught.value.file_index == 4
    assert len(service.requests) == 1


async def test_a_service_that_stays_away_is_given_up_at_the_deadline(
    preparer: GrpcStudyPreparer, service: FlakyPreprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own error."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 60.0)
    service.breaks = [(0, BROKEN)] * 100
    with pytest.raises(DependencyUnavailableError):
        await prepared(preparer, deadline_s=20.0)


async def test_the_deadline_reaches_preprocessing(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """It knows how long the job still has."""
    await prepared(preparer, deadline_s=20.0)
    assert 0.0 < service.time_left_s[0] < 21.0


async def test_a_slow_stream_ends_at_the_deadline(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """A tile that comes too late comes for nobody."""
    service.pause_s = 5.0
    with pytest.raises(DeadlineExceededError):
        await prepared(preparer, deadline_s=0.3)


async def leave(preparer: GrpcStudyPreparer, _: FlakyPreprocessing) -> None:
    """Take one tile and go."""
    preparation = preparer.prepare("job", FILES, choices=CHOICES, contract=CONTRACT, deadline=Deadline.after(30.0))
    async with preparation as study:
        await anext(aiter(study.tiles))


async def cancel(preparer: GrpcStudyPreparer, service: FlakyPreprocessing) -> None:
    """Be cancelled while waiting for tiles."""
    preparation = asyncio.create_task(prepared(preparer, deadline_s=30.0))
    while not service.requests:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.01)
    preparation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparation


@pytest.mark.parametrize("end", [leave, cancel])
async def test_leaving_early_stops_the_preparation(
    preparer: GrpcStudyPreparer,
    service: FlakyPreprocessing,
    end: Callable[[GrpcStudyPreparer, FlakyPreprocessing], Any],
) -> None:
    """No more tiles are cut than were under way."""
    service.pause_s = 0.1
    await end(preparer, service)
    async with asyncio.timeout(10.0):
        while service.cancelled == 0:  # noqa: ASYNC110 -- what is waited for is a number
            await asyncio.sleep(0.01)


async def test_bytes_are_told_tile_by_tile(preparer: GrpcStudyPreparer, received: list[int]) -> None:
    """A worker counts what it received."""
    await prepared(preparer)
    assert len(received) == len(ALL)
    assert all(size_bytes > 0 for size_bytes in received)


async def test_a_call_is_counted(preparer: GrpcStudyPreparer, registry: CollectorRegistry) -> None:
    """With the code that it ended with."""
    await prepared(preparer)
    labels = {"method": METHOD, "code": grpc.StatusCode.OK.name}
    assert registry.get_sample_value("brainmets_worker_rpcs_total", labels) == 1
