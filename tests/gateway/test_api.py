"""The API's own bounds: whom it refuses before any servicer sees the call, and how that is told."""

import asyncio
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

import brainmets.gateway.api
import brainmets.gateway.servicer
from brainmets.gateway.jobs import DEFAULT_TENANT
from brainmets.imaging.errors import OverloadedError
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.runtime.grpc_server import PUBLIC_LIMITS
from brainmets.v1 import segmentation_service_pb2 as messages
from brainmets.v1 import segmentation_service_pb2_grpc
from gateway_bench import GatewayBench, running_gateway
from service_calls import STUDY, UNKNOWN_ID, WAIT_S, file_messages, new_upload, segment, start, submit, uploaded, write


async def test_a_study_that_a_full_api_refuses_is_counted(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches over what is accepted hears of it; other calls are no studies."""
    monkeypatch.setattr(brainmets.gateway.api, "PUBLIC_LIMITS", replace(PUBLIC_LIMITS, max_concurrent_rpcs=1))
    async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as bench:
        job = await submit(bench, await uploaded(bench))
        watching = bench.segmentation.WatchJob(messages.WatchJobRequest(job_id=job.job_id))
        await watching.read()
        # By a connection of its own: on the first one gRPC keeps a second call back at the client.
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(bench.address, options=own) as channel:
            stub = segmentation_service_pb2_grpc.SegmentationServiceStub(channel)
            with pytest.raises(OverloadedError), rpc_errors():
                await stub.GetJob(messages.GetJobRequest(job_id=job.job_id))
            assert bench.sample("gateway_submissions_total", code="RESOURCE_EXHAUSTED") == 0
            with pytest.raises(OverloadedError), rpc_errors():
                await stub.SubmitStudy(messages.SubmitStudyRequest(upload_id=UNKNOWN_ID))
            with pytest.raises(OverloadedError), rpc_errors():
                await stub.SegmentStudy(iter([start()])).read()
        watching.cancel()
        assert bench.sample("gateway_submissions_total", code="RESOURCE_EXHAUSTED") == 2
        assert bench.sample("gateway_submissions_total", code="OK") == 1


async def test_few_calls_send_files_at_a_time(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds megabytes. One that is refused hears when to come again; one that waits for its result holds none."""
    monkeypatch.setattr(brainmets.gateway.servicer, "MAX_STREAMS", 1)
    async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as bench:
        sending = bench.segmentation.SegmentStudy()
        first, *rest = (start(), *file_messages(messages.SegmentStudyRequest, STUDY))
        await sending.write(first)
        await until_open(bench, 1)
        for call in (segment(bench), write(bench, await new_upload(bench), [])):
            with pytest.raises(OverloadedError) as caught:
                await call
            assert caught.value.retry_after_s > 0
        assert bench.sample("gateway_submissions_total", code="RESOURCE_EXHAUSTED") == 1
        for request in rest:
            await sending.write(request)
        await sending.done_writing()
        await sending.read()
        await uploaded(bench)
        sending.cancel()


async def until_open(bench: GatewayBench, count: int) -> None:
    """Return once so many uploads are open."""
    async with asyncio.timeout(WAIT_S):
        while (await bench.stores.jobs.queue_depth(DEFAULT_TENANT)).uploads_open != count:  # noqa: ASYNC110 -- a number
            await asyncio.sleep(0.02)
