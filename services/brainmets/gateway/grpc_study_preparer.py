"""Owns preparation over gRPC: one study's stream from preprocessing, begun again whenever it breaks."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import grpc.aio

from brainmets.gateway.deadline import Deadline, retry_while_unavailable
from brainmets.gateway.preparation import PreparedStudy
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.imaging.errors import BrainmetsError, InternalError
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import Tile
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.internal.v1 import preprocessing_service_pb2_grpc
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.runtime.metrics import RpcMetrics
from brainmets.runtime.tracing import trace_headers
from brainmets.wire.series import selection_to_proto
from brainmets.wire.stored_file import StoredFile, stored_file_to_proto
from brainmets.wire.tiles import StudyHeader, contract_to_proto, header_from_proto, tile_from_proto

METHOD = "PrepareStudy"

_Call = grpc.aio.UnaryStreamCall[messages.PrepareStudyRequest, messages.PrepareStudyResponse]


class GrpcStudyPreparer:
    """Calls a preprocessing service; the adapter behind the port `StudyPreparer`.

    `on_received` is told the bytes of each tile. A stream that is begun again counts as one call.
    """

    def __init__(self, channel: grpc.aio.Channel, calls: RpcMetrics, *, on_received: Callable[[int], None]) -> None:
        self._stub = preprocessing_service_pb2_grpc.PreprocessingServiceStub(channel)
        self._calls = calls
        self._on_received = on_received

    @asynccontextmanager
    async def prepare(
        self,
        job_id: str,
        files: tuple[StoredFile, ...],
        *,
        choices: PreparationChoices,
        contract: TileContract,
        deadline: Deadline,
    ) -> AsyncGenerator[PreparedStudy]:
        """Prepare a study while the block runs; leaving it early stops the preparation.

        Raises:
            StudyError: The study cannot be read or used.
            DataLossError: Stored bytes are missing or changed.
            DependencyUnavailableError: Preprocessing stayed unavailable until the deadline.
            DeadlineExceededError: The deadline passed.
        """
        request = messages.PrepareStudyRequest(
            job_id=job_id,
            files=[stored_file_to_proto(file) for file in files],
            contract=contract_to_proto(contract),
            force=choices.force,
            series=[selection_to_proto(selection) for selection in choices.selections],
        )
        responses = self._responses(request, deadline)
        async with aclosing(responses):
            header = header_from_proto((await anext(responses)).header)
            tiles = self._tiles(responses, header)
            async with aclosing(tiles):
                yield PreparedStudy(header, tiles)

    async def _tiles(
        self, responses: AsyncIterator[messages.PrepareStudyResponse], header: StudyHeader
    ) -> AsyncGenerator[Tile]:
        count = 0
        async for response in responses:
            tile = tile_from_proto(response.tile, header)
            self._on_received(tile.voxels.nbytes)
            yield tile
            count += 1
        if count != len(header.grid.boxes):
            raise _broken_promise(f"{len(header.grid.boxes)} tiles", got=str(count))

    async def _responses(
        self, request: messages.PrepareStudyRequest, deadline: Deadline
    ) -> AsyncGenerator[messages.PrepareStudyResponse]:
        """Yield the header and every tile once, however often the stream is begun again."""
        stream = _Stream(self._stub, request, deadline)
        with self._calls.measure(METHOD):
            try:
                while (response := await retry_while_unavailable(stream.read, deadline)) is not None:
                    yield response
            finally:
                stream.cancel()


class _Stream:
    """A study's stream, which after a break is begun again and read up to where it broke."""

    def __init__(
        self,
        # Quoted: known to its type stub only.
        stub: "preprocessing_service_pb2_grpc.PreprocessingServiceAsyncStub",
        request: messages.PrepareStudyRequest,
        deadline: Deadline,
    ) -> None:
        self._stub = stub
        self._request = request
        self._deadline = deadline
        self._call: _Call | None = None
        self._header = messages.PrepareStudyResponse()
        self._taken = 0

    async def read(self) -> messages.PrepareStudyResponse | None:
        """Return the next message, or None after the last; may be repeated after a DependencyUnavailableError."""
        try:
            call = self._call or await self._begin()
            response = await _read(call)
        except BrainmetsError:
            self.cancel()
            raise
        if response is not None:
            if self._taken == 0:
                self._header = response
            self._taken += 1
        return response

    async def _begin(self) -> _Call:
        self._call = call = self._stub.PrepareStudy(
            self._request, timeout=self._deadline.remaining_s, metadata=tuple(trace_headers().items())
        )
        for place in range(self._taken):
            response = await _read(call)
            # Another version, perhaps: its tiles would not fit those that were inferred already.
            if response is None or (place == 0 and response != self._header):
                raise _broken_promise("the same stream as before the break", got="another")
        return call

    def cancel(self) -> None:
        """Stop the preparation, unless it has ended."""
        if self._call is not None:
            self._call.cancel()
            self._call = None


async def _read(call: _Call) -> messages.PrepareStudyResponse | None:
    with rpc_errors():
        response = await call.read()
    return response if isinstance(response, messages.PrepareStudyResponse) else None


def _broken_promise(expected: str, *, got: str) -> InternalError:
    return InternalError(
        "Preprocessing's stream is not what it promised",
        expected=expected,
        got=got,
        remedy="run the same version of gateway and preprocessing",
    )
