"""Uploads: resumable by offset, bounded, taken over by a job, forgotten when they expire."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from brainmets.gateway.jobs import DEFAULT_TENANT, NewJob, Upload, UploadedFile
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.imaging.errors import (
    InvalidArgumentError,
    InvalidJobStateError,
    OverloadedError,
    StudyTooLargeError,
    UnknownUploadError,
    UploadOffsetError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence

MakeNewJob = Callable[..., Awaitable[NewJob]]


@pytest.fixture
async def upload(uploads: RedisUploadStore) -> Upload:
    """Return an empty upload."""
    return await uploads.create_upload(DEFAULT_TENANT)


async def open_at(uploads: RedisUploadStore, upload: Upload, offset: int) -> UploadedFile:
    """Open file 3 at an offset."""
    return await uploads.open_file(
        DEFAULT_TENANT,
        upload.upload_id,
        file_index=3,
        media_type=MediaType.NIFTI,
        sequence=Sequence.T2F,
        offset_bytes=offset,
    )


async def advance(
    uploads: RedisUploadStore, upload: Upload, offset: int, *, path: str = "", size: int = 10
) -> UploadedFile:
    """Append a part to file 3."""
    path = path or f"{upload.prefix}3/{offset}-{uuid.uuid4().hex}"
    return await uploads.advance_file(
        DEFAULT_TENANT, upload.upload_id, file_index=3, offset_bytes=offset, path=path, size_bytes=size
    )


async def close(
    uploads: RedisUploadStore, upload: Upload, last_part: str, *, sha256: bytes = b"a" * 32
) -> UploadedFile:
    """Close file 3."""
    return await uploads.close_file(DEFAULT_TENANT, upload.upload_id, file_index=3, last_part=last_part, sha256=sha256)


async def test_new_upload_is_empty(uploads: RedisUploadStore, upload: Upload) -> None:
    """An upload begins without files and is read as it was created."""
    assert upload.files == ()
    assert await uploads.read_upload(DEFAULT_TENANT, upload.upload_id) == upload


async def test_file_is_what_was_sent(uploads: RedisUploadStore, upload: Upload) -> None:
    """Header, parts in order, size and digest of a closed file are kept."""
    await open_at(uploads, upload, 0)
    await advance(uploads, upload, 0, path="uploads/u/3/0-a")
    await advance(uploads, upload, 10, path="uploads/u/3/10-b", size=5)
    parts = ("uploads/u/3/0-a", "uploads/u/3/10-b")
    file = await close(uploads, upload, parts[1], sha256=b"\n" * 32)
    assert file == UploadedFile(3, MediaType.NIFTI, Sequence.T2F, parts, 15, b"\n" * 32)


async def test_file_goes_on_where_it_ended(uploads: RedisUploadStore, upload: Upload) -> None:
    """A file is opened again at what was received, and nowhere else."""
    await open_at(uploads, upload, 0)
    await advance(uploads, upload, 0)
    assert (await open_at(uploads, upload, 10)).received_bytes == 10
    with pytest.raises(UploadOffsetError, match="10"):
        await open_at(uploads, upload, 5)


async def test_part_must_begin_where_the_file_ends(uploads: RedisUploadStore, upload: Upload) -> None:
    """Neither a gap nor an overlap is taken."""
    await open_at(uploads, upload, 0)
    with pytest.raises(UploadOffsetError):
        await advance(uploads, upload, 1)


async def test_repeated_part_counts_once(uploads: RedisUploadStore, upload: Upload) -> None:
    """After a lost reply the same part may be appended again."""
    await open_at(uploads, upload, 0)
    first = await advance(uploads, upload, 0, path="uploads/u/3/0-a")
    assert await advance(uploads, upload, 0, path="uploads/u/3/0-a") == first


async def test_one_of_two_parallel_writers_wins(uploads: RedisUploadStore, upload: Upload) -> None:
    """Two parts for the same place cannot both be in the file."""
    await open_at(uploads, upload, 0)
    answers = await asyncio.gather(advance(uploads, upload, 0), advance(uploads, upload, 0), return_exceptions=True)
    assert sorted(type(answer) for answer in answers if isinstance(answer, Exception)) == [UploadOffsetError]
    (file,) = (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).files
    assert file.received_bytes == 10


async def test_offset_0_starts_afresh(uploads: RedisUploadStore, upload: Upload) -> None:
    """A file sent again from the beginning holds only what comes then."""
    await open_at(uploads, upload, 0)
    await advance(uploads, upload, 0)
    assert (await open_at(uploads, upload, 0)).received_bytes == 0
    assert (await advance(uploads, upload, 0)).received_bytes == 10


async def test_a_late_end_does_not_close_a_file_begun_anew(uploads: RedisUploadStore, upload: Upload) -> None:
    """It belongs to bytes that were dropped, however many there are now; one that is repeated changes nothing."""
    await open_at(uploads, upload, 0)
    (first,) = (await advance(uploads, upload, 0)).parts
    assert await close(uploads, upload, first) == await close(uploads, upload, first)
    await open_at(uploads, upload, 0)
    with pytest.raises(UploadOffsetError, match="0"):
        await close(uploads, upload, first)
    await advance(uploads, upload, 0)
    with pytest.raises(UploadOffsetError, match="10"):
        await close(uploads, upload, first)
    assert not (await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)).is_complete


async def test_a_file_without_bytes_can_be_closed(uploads: RedisUploadStore, upload: Upload) -> None:
    """Whether it is a study is not the store's to say; bytes that came meanwhile are not closed with it."""
    await open_at(uploads, upload, 0)
    assert (await close(uploads, upload, "")).is_complete
    await advance(uploads, upload, 0)
    with pytest.raises(UploadOffsetError, match="10"):
        await close(uploads, upload, "")


async def test_bytes_need_a_header(uploads: RedisUploadStore, upload: Upload) -> None:
    """Neither a part nor an end is taken for a file that was not opened."""
    with pytest.raises(InvalidArgumentError):
        await advance(uploads, upload, 0)
    with pytest.raises(InvalidArgumentError):
        await close(uploads, upload, "")


async def test_upload_is_bounded(uploads: RedisUploadStore, upload: Upload) -> None:
    """All files together hold no more than a study may; a file dropped makes room."""
    await open_at(uploads, upload, 0)
    await advance(uploads, upload, 0, size=1000)
    with pytest.raises(StudyTooLargeError):
        await advance(uploads, upload, 1000, size=1)
    await open_at(uploads, upload, 0)
    await advance(uploads, upload, 0, size=1000)


async def test_a_file_costs_the_same_however_many_there_are(
    uploads: RedisUploadStore, upload: Upload, client: redis.asyncio.Redis
) -> None:
    """A series of a thousand files is not answered with all of them a thousand times."""

    async def answered_bytes(file_index: int) -> int:
        before = (await client.info("stats"))["total_net_output_bytes"]
        await uploads.open_file(
            DEFAULT_TENANT,
            upload.upload_id,
            file_index=file_index,
            media_type=MediaType.DICOM,
            sequence=None,
            offset_bytes=0,
        )
        return int((await client.info("stats"))["total_net_output_bytes"]) - int(before)

    costs = [await answered_bytes(file_index) for file_index in range(100)]
    assert costs[99] < 1.1 * costs[1]


async def test_open_uploads_are_bounded_and_counted(client: redis.asyncio.Redis, jobs: RedisJobStore) -> None:
    """Abandoned uploads cannot fill the store."""
    uploads = RedisUploadStore(client, upload_lifetime_s=60, max_study_bytes=1000, max_open_uploads=2)
    for count in range(2):
        assert (await jobs.queue_depth(DEFAULT_TENANT)).uploads_open == count
        await uploads.create_upload(DEFAULT_TENANT)
    with pytest.raises(OverloadedError, match="fewer than 2"):
        await uploads.create_upload(DEFAULT_TENANT)


@pytest.mark.parametrize("upload_id", ["", "0" * 32, "x", "../../etc"])
async def test_unknown_upload(uploads: RedisUploadStore, upload_id: str) -> None:
    """What CreateUpload did not hand out is not known."""
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload(DEFAULT_TENANT, upload_id)


async def test_upload_is_its_tenants(uploads: RedisUploadStore, upload: Upload) -> None:
    """Another tenant cannot find it."""
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload("other", upload.upload_id)


async def test_submitted_upload_is_closed_but_readable(
    uploads: RedisUploadStore, jobs: RedisJobStore, new_job: MakeNewJob
) -> None:
    """A submitted upload names its job and takes no more bytes."""
    request = await new_job()
    job = await jobs.submit(request)
    assert (await uploads.read_upload(DEFAULT_TENANT, job.upload_id)).job_id == job.job_id
    with pytest.raises(InvalidJobStateError):
        await open_at(uploads, request.upload, 0)
    with pytest.raises(InvalidJobStateError):
        await uploads.delete_upload(DEFAULT_TENANT, job.upload_id)


async def test_deleted_upload_leaves_an_erasure(uploads: RedisUploadStore, upload: Upload) -> None:
    """Deleting an upload tells which bytes to erase, and it is gone."""
    (erasure,) = await uploads.delete_upload(DEFAULT_TENANT, upload.upload_id)
    assert erasure.prefix == upload.prefix
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)


async def test_a_renewed_upload_lives_on(client: redis.asyncio.Redis, uploads: RedisUploadStore) -> None:
    """For its lifetime from now, in the store that renews it; what has ended cannot be renewed."""
    upload = await uploads.short_lived(1.0).create_upload(DEFAULT_TENANT)
    await uploads.renew_upload(DEFAULT_TENANT, upload.upload_id)
    renewed = await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)
    assert renewed.expire_time_ms == pytest.approx(upload.expire_time_ms + 59_000, abs=10_000)
    assert await client.zscore("brainmets:{default}:uploads", upload.upload_id) == renewed.expire_time_ms
    await uploads.delete_upload(DEFAULT_TENANT, upload.upload_id)
    with pytest.raises(UnknownUploadError):
        await uploads.renew_upload(DEFAULT_TENANT, upload.upload_id)


async def test_abandoned_upload_expires(client: redis.asyncio.Redis, jobs: RedisJobStore) -> None:
    """A sweep forgets an upload that nothing was written to for its lifetime."""
    uploads = RedisUploadStore(client, upload_lifetime_s=0.01, max_study_bytes=1000)
    upload = await uploads.create_upload(DEFAULT_TENANT)
    await asyncio.sleep(0.02)
    await jobs.sweep(DEFAULT_TENANT)
    with pytest.raises(UnknownUploadError):
        await uploads.read_upload(DEFAULT_TENANT, upload.upload_id)
    assert await client.zrange("brainmets:{default}:erasures", 0, -1) == [upload.prefix.encode()]
