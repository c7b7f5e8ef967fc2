"""Answers PreprocessingService: a request's files become a header and tiles."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import grpc.aio
import structlog

from brainmets.imaging.errors import InvalidArgumentError, OverloadedError
from brainmets.imaging.series import SeriesSelection
from brainmets.imaging.tiling import crop_tile
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.preprocessing.preparation import PreparedStudy, prepare_study
from brainmets.preprocessing.study_files import StudyOrder
from brainmets.preprocessing.workshop import Workshop
from brainmets.runtime.metrics import PreprocessingMetrics
from brainmets.v1 import job_pb2
from brainmets.wire.series import selection_from_proto
from brainmets.wire.stored_file import stored_file_from_proto
from brainmets.wire.tiles import contract_from_proto, header_to_proto, tile_to_proto

SERVICE_NAME = messages.DESCRIPTOR.services_by_name["PreprocessingService"].full_name
METHODS = ("PrepareStudy",)
# Tiles that are cut while an earlier one is on its way to the caller.
TILES_AHEAD = 3
# About what one study takes.
RETRY_AFTER_S = 1.0

_log = structlog.get_logger(__name__)
# Any context: the servicer asks nothing of its messages.
_Context = grpc.aio.ServicerContext[object, object]


class PreprocessingServicer(preprocessing_service_pb2_grpc.PreprocessingServiceServicer):
    """Prepares a bounded number of studies at a time."""

    def __init__(
        self, workshop: Workshop, metrics: PreprocessingMetrics, *, max_studies: int, max_study_bytes: int
    ) -> None:
        self._workshop = workshop
        self._metrics = metrics
        self._free_places = max_studies
        self._max_study_bytes = max_study_bytes

    async def PrepareStudy(
        self,
        request: messages.PrepareStudyRequest,
        context: _Context,
    ) -> AsyncIterator[messages.PrepareStudyResponse]:
        """Stream a study's header and tiles."""
        with self._metrics.measure_study():
            self._take_place()
            try:
                async with aclosing(self._stream(order_from_proto(request))) as responses:
                    async for response in responses:
                        yield response
            finally:
                self._free_places += 1

    def _take_place(self) -> None:
        if self._free_places == 0:
            raise OverloadedError(
                "Too many studies are being prepared",
                expected="a free place",
                got="none",
                remedy="retry later",
                retry_after_s=RETRY_AFTER_S,
            )
        self._free_places -= 1

    async def _stream(self, order: StudyOrder) -> AsyncGenerator[messages.PrepareStudyResponse]:
        prepared = await prepare_study(order, self._workshop, max_study_bytes=self._max_study_bytes)
        yield messages.PrepareStudyResponse(header=header_to_proto(prepared.header))
        tiles = 0
        async with aclosing(cut_tiles(prepared, self._workshop)) as messages_of_tiles:
            async for tile in messages_of_tiles:
                yield tile
                tiles += 1
                self._metrics.tiles.inc()
                self._metrics.sent_bytes.inc(len(tile.tile.voxels))
        _log.info("study_prepared", job_id=order.job_id, sequences=prepared.header.sequences, tiles=tiles)


async def cut_tiles(prepared: PreparedStudy, workshop: Workshop) -> AsyncGenerator[messages.PrepareStudyResponse]:
    """Yield a study's tiles in order of index, some cut ahead of the one that is asked for."""
    under_way: deque[asyncio.Task[messages.PrepareStudyResponse]] = deque()
    try:
        for index in range(len(prepared.header.grid.boxes)):
            under_way.append(asyncio.create_task(workshop.run("stream", _cut, prepared, index=index)))
            if len(under_way) > TILES_AHEAD:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()


def _cut(prepared: PreparedStudy, *, index: int) -> messages.PrepareStudyResponse:
    return tile_to_proto(crop_tile(prepared.normalized, prepared.header.grid, index=index))


def order_from_proto(request: messages.PrepareStudyRequest) -> StudyOrder:
    """Read what is to be prepared.

    Raises:
        ModelContractError: No tile can keep the request's contract.
        UnsupportedFormatError: A file is of a media type that is not read.
        InvalidArgumentError: A series is chosen for no sequence.
    """
    return StudyOrder(
        job_id=request.job_id,
        files=tuple(stored_file_from_proto(file) for file in request.files),
        contract=contract_from_proto(request.contract),
        selections=tuple(_selection_from_proto(selection) for selection in request.series),
        force=request.force,
    )


def _selection_from_proto(message: job_pb2.SeriesSelection) -> SeriesSelection:
    selection = selection_from_proto(message)
    if selection is None:
        raise InvalidArgumentError(
            "A series is chosen for no sequence",
            expected="T1C, T1N, T2W or T2F",
            got="SEQUENCE_UNSPECIFIED",
            remedy="state the sequence of each series chosen by hand",
        )
    return selection
