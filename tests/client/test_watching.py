"""A job is watched over as many calls as that takes."""

# ruff: noqa: ARG002, N802 -- a servicer's methods have gRPC's names and arguments

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from brainmets.client import AsyncClient, Job, ServiceError, StudyFile, aio, patience
from brainmets.runtime.grpc_server import stop_server
from brainmets.v1 import job_pb2, segmentation_service_pb2_grpc
from brainmets.v1 import segmentation_service_pb2 as messages

QUEUED, RUNNING, ENDED = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_CANCELLED
OK, BROKEN = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


class Scripted(segmentation_service_pb2_grpc.SegmentationServiceServicer):
    """A service whose calls each tell states of a job and end with a code; None: they tell nothing more."""

    def __init__(self, *calls: tuple[list[job_pb2.JobState.ValueType], grpc.StatusCode | None]) -> None:
        self._calls = list(calls)

    async def SegmentStudy(self, request_iterator: AsyncIterator[object], context: Any) -> AsyncIterator[Any]:
        """Take the whole study, and follow the script."""
        async for _ in request_iterator:
            pass
        async for job in self._tell(context):
            yield messages.SegmentStudyResponse(job=job)

    async def WatchJob(self, request: object, context: Any) -> AsyncIterator[Any]:
        """Follow the script."""
        async for job in self._tell(context):
            yield messages.WatchJobResponse(job=job)

    async def _tell(self, context: Any) -> AsyncIterator[job_pb2.Job]:
        states, code = self._calls.pop(0)
        for state in states:
            yield job_pb2.Job(job_id="a", state=state)
        if code is None:
            await asyncio.sleep(60.0)
        elif code is not grpc.StatusCode.OK:
            await context.abort(code, "as the script says")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """Serve a client while the block runs."""
        server = grpc.aio.server()
        segmentation_service_pb2_grpc.add_SegmentationServiceServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with AsyncClient(f"127.0.0.1:{port}") as opened:
            yield opened
        await stop_server(server)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls be repeated without long pauses."""
    monkeypatch.setattr(patience, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "PATIENCE_S", 3.0)
    monkeypatch.setattr(aio, "STREAM_TIMEOUT_S", 1.5)


async def _watch(client: AsyncClient) -> list[Job]:
    return [job async for job in client.watch("a")]


async def _wait(client: AsyncClient) -> list[Job]:
    jobs: list[Job] = []
    with pytest.raises(ServiceError, match="job a was cancelled"):
        await client.wait("a", on_progress=jobs.append)
    return jobs


async def _segment(client: AsyncClient) -> list[Job]:
    jobs: list[Job] = []
    with pytest.raises(ServiceError, match="job a was cancelled"):
        await client.segment([StudyFile(Path("a-t1c.nii"), content=b"a")], on_progress=jobs.append)
    return jobs


async def test_a_segmentation_that_breaks_is_watched_to_its_end() -> None:
    """What the broken call told is not told again."""
    async with Scripted(([QUEUED, RUNNING], BROKEN), ([RUNNING], BROKEN), ([ENDED], OK)).client() as client:
        assert [job.state for job in await _segment(client)] == ["queued", "running", "cancelled"]


async def test_a_segmentation_that_falls_silent_is_watched_to_its_end() -> None:
    """A service that hangs may answer pings all the same."""
    async with Scripted(([QUEUED], None), ([RUNNING, ENDED], OK)).client() as client:
        assert [job.state for job in await _segment(client)] == ["queued", "running", "cancelled"]


@pytest.mark.parametrize("follow", [_watch, _wait])
@pytest.mark.parametrize("broken", [BROKEN, None])
async def test_watching_goes_on_after_a_break_and_a_deadline(
    follow: Callable[[AsyncClient], Awaitable[list[Job]]], broken: grpc.StatusCode | None
) -> None:
    """However often, where each call brings a message; and no state is told twice."""
    calls = [([QUEUED], broken)] * 4
    # The last one is said again to a client whose deadline passed before it heard.
    ends = [([RUNNING, ENDED], OK)] * 2
    async with Scripted(*calls, ([QUEUED, RUNNING], broken), *ends).client() as client:
        jobs = await follow(client)
    assert [job.state for job in jobs] == ["queued", "running", "cancelled"]


@pytest.mark.parametrize(
    ("calls", "told"),
    [
        ([([], None)] * 3, grpc.StatusCode.DEADLINE_EXCEEDED),
        ([([], grpc.StatusCode.NOT_FOUND)], grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_watching_ends_where_no_call_brings_anything(calls: Any, told: grpc.StatusCode) -> None:
    """After so long, or at once where no other can succeed."""
    async with Scripted(([QUEUED], BROKEN), *calls).client() as client:
        with pytest.raises(ServiceError) as caught:
            await client.wait("a")
    assert caught.value.code is told
