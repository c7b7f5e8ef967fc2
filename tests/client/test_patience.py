"""Calls over a bad line: what is made again, for how long, and from where."""

# ruff: noqa: N802 -- a servicer's methods have gRPC's names

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from brainmets.client import AsyncClient, ServiceError, StudyFile, aio, patience
from brainmets.runtime.grpc_server import stop_server
from brainmets.v1 import job_pb2, segmentation_service_pb2_grpc
from brainmets.v1 import segmentation_service_pb2 as messages
from faulty_line import FaultyLine
from gateway_bench import GatewayBench

NOISE = random.Random(0).randbytes(3_900_000)  # noqa: S311 -- bytes that do not shrink
STUDY = [StudyFile(Path("large-t1c.nii"), "t1c", content=NOISE)]


class Halting(segmentation_service_pb2_grpc.SegmentationServiceServicer):
    """Tells four bytes of a file a call, and breaks off."""

    content = b"lesion,volume\n"

    def __init__(self) -> None:
        self.offsets: list[int] = []

    async def DownloadArtifact(self, request: messages.DownloadArtifactRequest, context: Any) -> AsyncIterator[Any]:
        """Go on where the caller is."""
        self.offsets.append(request.offset_bytes)
        part = self.content[request.offset_bytes : request.offset_bytes + 4]
        artifact = job_pb2.Artifact(file_name="lesions.csv", sha256=hashlib.sha256(self.content).digest())
        yield messages.DownloadArtifactResponse(artifact=artifact, chunk=part)
        if request.offset_bytes + len(part) < len(self.content):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as a line that breaks")


async def test_a_download_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it breaks, as long as each call brings something."""
    monkeypatch.setattr(patience, "RETRY_PAUSE_S", 0.01)
    server, servicer = grpc.aio.server(), Halting()
    segmentation_service_pb2_grpc.add_SegmentationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        name, content = await client.download("a", job_pb2.ARTIFACT_KIND_LESIONS_CSV)
    await stop_server(server)
    assert (name, content) == ("lesions.csv", servicer.content)
    assert servicer.offsets == [0, 4, 8, 12]


async def begin_upload(client: AsyncClient, sent: list[int]) -> asyncio.Task[Any]:
    """Return an upload of which something has gone out."""
    sending = asyncio.create_task(client.submit(STUDY, on_sent=sent.append))
    while not sent:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.01)
    return sending


async def test_an_upload_waits_for_its_line(idle: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a few attempts take; and no byte of it is told twice."""
    monkeypatch.setattr(patience, "RETRY_PAUSE_S", 0.2)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.5)
    async with FaultyLine(idle.address, up_bytes_a_s=2e6).open() as line, AsyncClient(line.address) as client:
        sent: list[int] = []
        sending = await begin_upload(client, sent)
        line.cut()
        await asyncio.sleep(6.0)
        assert not sending.done()
        line.mend()
        await sending
    assert sum(sent) == len(NOISE)


async def test_an_upload_may_take_many_calls(idle: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds it is silence, and not its size."""
    monkeypatch.setattr(aio, "STREAM_TIMEOUT_S", 1.5)
    async with FaultyLine(idle.address, up_bytes_a_s=1.2e6).open() as line, AsyncClient(line.address) as client:
        start_s = time.monotonic()
        await client.submit(STUDY)
    assert time.monotonic() - start_s > 2 * aio.STREAM_TIMEOUT_S


async def test_a_line_that_stays_away_is_told_as_such(idle: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked to start a service that runs."""
    monkeypatch.setattr(patience, "PATIENCE_S", 2.0)
    async with FaultyLine(idle.address, up_bytes_a_s=2e6).open() as line, AsyncClient(line.address) as client:
        sending = await begin_upload(client, [])
        line.cut()
        with pytest.raises(ServiceError, match=f"The line to {line.address} broke") as caught:
            await sending
    assert "make up" not in str(caught.value)


async def test_a_service_that_never_answered_is_told_within_seconds() -> None:
    """A wrong address is not waited for."""
    async with AsyncClient("127.0.0.1:1") as client:

        async def is_told(call: Awaitable[object]) -> None:
            async with asyncio.timeout(15.0):
                with pytest.raises(ServiceError, match="make up"):
                    await call

        await asyncio.gather(is_told(client.segment(STUDY)), is_told(client.submit(STUDY)), is_told(client.wait("a")))


def refused(code: grpc.StatusCode) -> ServiceError:
    """Return what a service says itself."""
    return ServiceError(code=code, reason=code.name, message="no", metadata={})


async def test_what_is_refused_says_nothing_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that share a patience wait as long after one of them was refused as before."""
    monkeypatch.setattr(patience, "RETRY_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.05)
    waits: list[None] = []
    shared = patience.Patience(reached=True, on_waiting=lambda: waits.append(None))
    with pytest.raises(ServiceError):
        await shared.bear(refused(grpc.StatusCode.INVALID_ARGUMENT))
    assert not waits
    await asyncio.sleep(0.1)
    await shared.bear(refused(grpc.StatusCode.UNAVAILABLE))
    assert len(waits) == 1


async def test_a_service_that_is_full_is_told_where_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few attempts, however long the line was away before."""
    monkeypatch.setattr(patience, "RETRY_PAUSE_S", 0.01)
    own = patience.Patience(reached=True)
    for code in [grpc.StatusCode.UNAVAILABLE] * 4 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * (patience.ATTEMPTS - 1):
        await own.bear(refused(code))
    with pytest.raises(ServiceError):
        await own.bear(refused(grpc.StatusCode.RESOURCE_EXHAUSTED))


async def test_only_silence_ends_a_call() -> None:
    """However long it takes: what is heard begins the wait anew."""
    async with patience.silence_ends_it(1.0) as heard:
        for _ in range(5):
            await asyncio.sleep(0.3)
            heard()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with patience.silence_ends_it(0.05):
            await asyncio.Event().wait()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
