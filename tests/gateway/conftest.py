"""Stores on the real Redis of the session, and an upload that can be submitted."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import redis.asyncio

from brainmets.gateway.jobs import DEFAULT_TENANT, NewJob, Upload
from brainmets.gateway.redis_connection import connect_redis
from brainmets.gateway.redis_job_store import JobStoreLimits, RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from gateway_bench import GatewayBench, be_patient, running_gateway


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bear a machine that stops for a while."""
    be_patient(monkeypatch)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty Redis."""
    connection = connect_redis(redis_url)
    yield connection
    await connection.aclose()


@pytest.fixture
def limits() -> JobStoreLimits:
    """Few jobs, and leases that do not run out by themselves."""
    return JobStoreLimits(max_queued_jobs=5, lease_s=60.0)


@pytest.fixture
def jobs(client: redis.asyncio.Redis, limits: JobStoreLimits) -> RedisJobStore:
    """A job store."""
    return RedisJobStore(client, limits)


@pytest.fixture
def uploads(client: redis.asyncio.Redis) -> RedisUploadStore:
    """An upload store that takes 1000 bytes a study."""
    return RedisUploadStore(client, upload_lifetime_s=60, max_study_bytes=1000)


@pytest.fixture
def complete_upload(uploads: RedisUploadStore) -> Callable[..., Awaitable[Upload]]:
    """Make an upload of one closed file with the given content."""

    async def make(content: bytes = b"voxels") -> Upload:
        upload = await uploads.create_upload(DEFAULT_TENANT)
        place = (DEFAULT_TENANT, upload.upload_id)
        await uploads.open_file(*place, file_index=0, media_type=MediaType.NIFTI, sequence=Sequence.T1C, offset_bytes=0)
        part = f"{upload.prefix}0/0-a"
        await uploads.advance_file(*place, file_index=0, offset_bytes=0, path=part, size_bytes=len(content))
        await uploads.close_file(*place, file_index=0, last_part=part, sha256=hashlib.sha256(content).digest())
        return await uploads.read_upload(*place)

    return make


@pytest.fixture
def new_job(complete_upload: Callable[..., Awaitable[Upload]]) -> Callable[..., Awaitable[NewJob]]:
    """Make a request to accept a fresh upload; each has its own request_id unless one is given."""
    numbers = itertools.count()

    async def make(request_id: str = "", content: bytes = b"voxels", deadline_s: float = 60) -> NewJob:
        return NewJob(
            upload=await complete_upload(content),
            request_id=request_id or f"request-{next(numbers)}",
            options=b"options",
            deadline_s=deadline_s,
        )

    return make


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker does not work yet."""
    async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri()) as running:
        yield running


@pytest.fixture
async def working(bench: GatewayBench) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    async with bench.working():
        yield bench
