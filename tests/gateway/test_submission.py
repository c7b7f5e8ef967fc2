"""How a study is accepted, followed, handed out and erased."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

import pytest
import redis.asyncio

from brainmets.gateway import submission
from brainmets.gateway.jobs import (
    DEFAULT_TENANT,
    ArtifactKind,
    Claim,
    Completion,
    Job,
    JobState,
    NewJob,
    StoredArtifact,
    Upload,
)
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.redis_job_store import RedisJobStore
from brainmets.gateway.redis_upload_store import RedisUploadStore
from brainmets.gateway.study_upload import FileClosing, FileOpening, UploadPiece
from brainmets.gateway.submission import CALL_UPLOAD_LIFETIME_S, StudyDesk, SubmissionOrder, find_artifact
from brainmets.imaging.errors import (
    DataLossError,
    DependencyUnavailableError,
    DigestMismatchError,
    InvalidArgumentError,
    MissingT1cError,
    RequestIdReusedError,
    UnknownArtifactError,
    UnknownJobError,
    UploadIncompleteError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.artifact_store import ArtifactStore

ORDER = SubmissionOrder("", b"options", 60.0)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    """An artefact store in a folder."""
    return ArtifactStore.open(f"file://{tmp_path}/store")


@pytest.fixture
def desk(jobs: RedisJobStore, uploads: RedisUploadStore, artifacts: ArtifactStore) -> StudyDesk:
    """A desk on a real Redis."""
    return StudyDesk(jobs, uploads, artifacts)


async def study(
    *sequences: Sequence | None, content: bytes = b"voxels", said: bytes = b"voxels", dicom: int = 0
) -> AsyncIterator[UploadPiece]:
    """Send a file of each sequence, the last `dicom` as DICOM; `said` differs: as another one's content."""
    for file_index, sequence in enumerate(sequences):
        media_type = MediaType.DICOM if file_index >= len(sequences) - dicom else MediaType.NIFTI
        yield FileOpening(file_index, media_type, sequence, 0)
        yield content
        yield FileClosing(hashlib.sha256(said).digest())


async def succeed(jobs: RedisJobStore, artifacts: ArtifactStore, content: bytes) -> tuple[Claim, StoredArtifact]:
    """Work the next job off with one artefact."""
    claim = await jobs.claim(DEFAULT_TENANT, "worker", block_s=1)
    assert claim is not None
    path = f"{claim.prefix}mask.nii.gz"
    await artifacts.put(path, content)
    artifact = StoredArtifact(
        ArtifactKind.MASK_NIFTI, "mask.nii.gz", path, len(content), hashlib.sha256(content).digest()
    )
    await jobs.complete(claim, Completion(b"result", (artifact,)))
    return claim, artifact


async def test_nothing_but_the_study_is_stored_when_it_is_accepted(desk: StudyDesk, artifacts: ArtifactStore) -> None:
    """What else there is to know of it stands in Redis: whoever accepts waits for no other file."""
    job = await desk.accept(DEFAULT_TENANT, study(None), SubmissionOrder("mine", b"options", 60.0))
    assert await artifacts.list_paths(f"uploads/{job.upload_id}/") == job.files[0].parts
    assert await artifacts.read(job.files[0].parts[0]) == b"voxels"


async def test_same_request_is_the_same_job(desk: StudyDesk, artifacts: ArtifactStore) -> None:
    """A client that calls again makes no second job, and its second upload is erased."""
    order = SubmissionOrder("mine", b"options", 60.0)
    first = await desk.accept(DEFAULT_TENANT, study(None), order)
    second = await desk.accept(DEFAULT_TENANT, study(None), order)
    assert second.job_id == first.job_id
    paths = await artifacts.list_paths("uploads/")
    assert {path.split("/")[1] for path in paths} == {first.upload_id}


async def test_same_request_with_other_bytes_is_refused(desk: StudyDesk) -> None:
    """One request_id stands for one study."""
    order = SubmissionOrder("mine", b"options", 60.0)
    await desk.accept(DEFAULT_TENANT, study(None), order)
    with pytest.raises(RequestIdReusedError):
        await desk.accept(DEFAULT_TENANT, study(None, content=b"other", said=b"other"), order)


async def open_uploads(client: redis.asyncio.Redis) -> dict[bytes, float]:
    """Return when each open upload expires, Unix time in seconds."""
    listed = await client.zrange(tenant_key(DEFAULT_TENANT, "uploads"), 0, -1, withscores=True)
    return {upload_id: expire_time_ms / 1000 for upload_id, expire_time_ms in listed}


async def test_a_call_that_is_killed_leaves_an_upload_for_minutes_alone(
    jobs: RedisJobStore, client: redis.asyncio.Redis, artifacts: ArtifactStore
) -> None:
    """Nobody can go on with it, and it counts against those that may be open; one that was created lives on."""
    uploads = RedisUploadStore(client, upload_lifetime_s=3600, max_study_bytes=1000)
    created = await uploads.create_upload(DEFAULT_TENANT)

    async def lives_s() -> list[float]:
        now_s, _ = await client.time()
        return sorted(expires_s - now_s for expires_s in (await open_uploads(client)).values())

    async def pieces() -> AsyncIterator[UploadPiece]:
        async for piece in study(None):
            yield piece
            seen.append(await lives_s())

    seen: list[list[float]] = []
    await StudyDesk(jobs, uploads, artifacts).accept(DEFAULT_TENANT, pieces(), ORDER)
    assert seen[-1] == pytest.approx([CALL_UPLOAD_LIFETIME_S, 3600], abs=30)
    assert list(await open_uploads(client)) == [created.upload_id.encode()]


@pytest.mark.parametrize("created", [True, False])
async def test_a_study_that_comes_slowly_keeps_its_upload(
    *, created: bool, jobs: RedisJobStore, client: redis.asyncio.Redis, artifacts: ArtifactStore
) -> None:
    """Its bytes are not stored before there are many, and it is swept meanwhile."""
    uploads = RedisUploadStore(client, upload_lifetime_s=1.0, max_study_bytes=1000)
    desk = StudyDesk(jobs, uploads, artifacts)

    async def pieces() -> AsyncIterator[UploadPiece]:
        yield FileOpening(0, MediaType.NIFTI, None, 0)
        for byte in b"voxels":
            await asyncio.sleep(0.4)
            await jobs.sweep(DEFAULT_TENANT)
            yield bytes([byte])
        yield FileClosing(hashlib.sha256(b"voxels").digest())

    if created:
        upload = await uploads.create_upload(DEFAULT_TENANT)
        assert (await desk.write(DEFAULT_TENANT, upload.upload_id, pieces())).is_complete
    else:
        assert (await desk.accept(DEFAULT_TENANT, pieces(), ORDER)).state is JobState.QUEUED


async def test_refused_study_leaves_nothing(desk: StudyDesk, artifacts: ArtifactStore) -> None:
    """A study that is not accepted in one call is erased at once."""
    with pytest.raises(DigestMismatchError):
        await desk.accept(DEFAULT_TENANT, study(None, said=b"other"), ORDER)
    assert await artifacts.list_paths("uploads/") == ()


class LostReply:
    """A job store whose reply to a submission is lost, or does not come."""

    def __init__(self, jobs: RedisJobStore, *, comes: bool) -> None:
        self._jobs = jobs
        self._comes = comes
        self.cancel, self.is_watched = jobs.cancel, jobs.is_watched
        self.submitted = asyncio.Event()

    async def submit(self, new_job: NewJob) -> NoReturn:
        """Submit, and do not tell."""
        await self._jobs.submit(new_job)
        self.submitted.set()
        if not self._comes:
            await asyncio.Event().wait()
        raise DependencyUnavailableError("Redis is not available", expected="an answer", got="none", remedy="retry")


async def test_a_lost_reply_is_told_as_such(
    jobs: RedisJobStore, uploads: RedisUploadStore, artifacts: ArtifactStore
) -> None:
    """The client is to call again, and finds the job that it made."""
    order = SubmissionOrder("mine", b"options", 60.0)
    broken = StudyDesk(LostReply(jobs, comes=True), uploads, artifacts)  # type: ignore[arg-type] # what a desk calls
    with pytest.raises(DependencyUnavailableError):
        await broken.accept(DEFAULT_TENANT, study(None), order)
    job = await StudyDesk(jobs, uploads, artifacts).accept(DEFAULT_TENANT, study(None), order)
    assert job.state is JobState.QUEUED
    assert [listed.job_id for listed in (await jobs.list_jobs(DEFAULT_TENANT, 10))[0]] == [job.job_id]


@pytest.mark.parametrize("drains", [False, True])
async def test_a_process_that_stops_leaves_refused_studies_to_the_sweep(
    desk: StudyDesk, artifacts: ArtifactStore, client: redis.asyncio.Redis, *, drains: bool
) -> None:
    """The store may be what it waits for, and it is killed when it takes long."""
    if drains:
        desk.drain()
    with pytest.raises(DigestMismatchError):
        await desk.accept(DEFAULT_TENANT, study(None, said=b"other"), ORDER)
    stored = await artifacts.list_folders("uploads/")
    assert len(stored) == drains
    due = {prefix.decode() for prefix in await client.zrange(tenant_key(DEFAULT_TENANT, "erasures"), 0, -1)}
    assert due >= set(stored)


@pytest.mark.parametrize(("drains", "state"), [(False, JobState.CANCELLED), (True, JobState.QUEUED)])
@pytest.mark.usefixtures("_short_grace")
async def test_a_call_that_is_left_while_it_submits_leaves_no_job_to_run(
    jobs: RedisJobStore,
    uploads: RedisUploadStore,
    artifacts: ArtifactStore,
    *,
    drains: bool,
    state: JobState,
) -> None:
    """Nobody comes back for its result; when the gateway stops, it was not the client who left."""
    reply = LostReply(jobs, comes=False)
    desk = StudyDesk(reply, uploads, artifacts)  # type: ignore[arg-type] # what a desk calls
    accepting = asyncio.create_task(desk.accept(DEFAULT_TENANT, study(None), ORDER))
    await reply.submitted.wait()
    if drains:
        desk.drain()
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    (job,) = (await jobs.list_jobs(DEFAULT_TENANT, 10))[0]
    if state is JobState.CANCELLED:
        await wait_until_cancelled(jobs, job)
    else:
        await wait_until_decided(desk)
    assert (await jobs.read(DEFAULT_TENANT, job.job_id)).state is state


@pytest.mark.parametrize(
    ("sequences", "error"),
    [
        ((), UploadIncompleteError),
        ((Sequence.T2F,), MissingT1cError),
        ((Sequence.T1N, Sequence.T2W), MissingT1cError),
        ((Sequence.T1C, None), InvalidArgumentError),
    ],
)
async def test_study_without_a_t1c_is_refused(
    desk: StudyDesk, sequences: tuple[Sequence | None, ...], error: type[Exception]
) -> None:
    """What can be known before decoding is told before accepting."""
    with pytest.raises(error):
        await desk.accept(DEFAULT_TENANT, study(*sequences), ORDER)


@pytest.mark.parametrize(
    "sequences", [(None,), (None, None), (Sequence.T2F, None), (Sequence.T2F,)], ids=["one", "two", "other", "stated"]
)
async def test_what_dicom_holds_is_not_judged_before_it_is_read(
    desk: StudyDesk, sequences: tuple[Sequence | None, ...]
) -> None:
    """A series by hand or another file may be the T1c: preprocessing decides."""
    job = await desk.accept(DEFAULT_TENANT, study(*sequences, dicom=len(sequences)), ORDER)
    assert job.state is JobState.QUEUED


async def test_a_nifti_file_beside_dicom_states_its_sequence(desk: StudyDesk) -> None:
    """It has no attributes that could say it."""
    with pytest.raises(InvalidArgumentError) as caught:
        await desk.accept(DEFAULT_TENANT, study(None, None, dicom=1), ORDER)
    assert caught.value.file_index == 0


@pytest.mark.parametrize("request_id", ["x" * 129, "ä", "a\nb"])
def test_request_id_is_short_and_printable(request_id: str) -> None:
    """A request_id is a key, not a text."""
    with pytest.raises(InvalidArgumentError):
        SubmissionOrder(request_id, b"", 60.0)


async def test_submit_is_repeatable(desk: StudyDesk, complete_upload: Callable[..., Awaitable[Upload]]) -> None:
    """A lost answer is asked for again."""
    upload = await complete_upload()
    first = await desk.submit(DEFAULT_TENANT, upload.upload_id, ORDER)
    assert (await desk.submit(DEFAULT_TENANT, upload.upload_id, ORDER)).job_id == first.job_id


@pytest.fixture
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client be away for a moment only."""
    monkeypatch.setattr(submission, "RETURN_GRACE_S", 0.05)


async def wait_until_cancelled(jobs: RedisJobStore, job: Job) -> None:
    """Return once a job is cancelled."""
    async with asyncio.timeout(30):
        while (await jobs.read(DEFAULT_TENANT, job.job_id)).state is not JobState.CANCELLED:  # noqa: ASYNC110 -- Redis
            await asyncio.sleep(0.02)


async def wait_until_decided(desk: StudyDesk) -> None:
    """Return once it is decided what becomes of the jobs that were left."""
    async with asyncio.timeout(30):
        while desk._departures:  # noqa: ASYNC110, SLF001 -- a set that nobody else is told of
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("_short_grace")
async def test_leaving_follower_cancels(desk: StudyDesk, jobs: RedisJobStore) -> None:
    """A client that gives its call up does not want the study any more."""
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    async with aclosing(desk.follow(job)) as changes:
        await anext(changes)
    await wait_until_cancelled(jobs, job)


async def test_a_follower_who_comes_back_finds_the_job(
    desk: StudyDesk, jobs: RedisJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that broke is no wish; the job goes on as long as somebody watches it."""
    monkeypatch.setattr(submission, "RETURN_GRACE_S", 2.0)
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    async with aclosing(desk.follow(job)) as changes:
        await anext(changes)
    async with aclosing(jobs.watch(DEFAULT_TENANT, job.job_id)) as changes:
        await anext(changes)
        await wait_until_decided(desk)
        assert (await jobs.read(DEFAULT_TENANT, job.job_id)).state is JobState.QUEUED


@pytest.mark.usefixtures("_short_grace")
async def test_cancelled_follower_cancels(desk: StudyDesk, jobs: RedisJobStore) -> None:
    """A broken call ends its task, and the job with it."""
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    seen: list[Job] = []
    following = asyncio.create_task(_collect(desk.follow(job), seen))
    while not seen:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.01)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await wait_until_cancelled(jobs, job)


async def _collect(changes: AsyncIterator[Job], seen: list[Job]) -> None:
    async for job in changes:
        seen.append(job)  # noqa: PERF401 -- one by one, as the test looks at them


@pytest.mark.usefixtures("_short_grace")
async def test_draining_desk_leaves_jobs_alone(desk: StudyDesk, jobs: RedisJobStore) -> None:
    """A gateway that stops ends calls, not studies."""
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    async with aclosing(desk.follow(job)) as changes:
        await anext(changes)
        desk.drain()
    await wait_until_decided(desk)
    assert (await jobs.read(DEFAULT_TENANT, job.job_id)).state is JobState.QUEUED


async def test_part_of_an_artifact_is_streamed(desk: StudyDesk, jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    """Offset and length count bytes; a length beyond the end stops there."""
    await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    _, artifact = await succeed(jobs, artifacts, b"0123456789")
    pieces = desk.stream_artifact(artifact, offset_bytes=4, length_bytes=100)
    assert b"".join([piece async for piece in pieces]) == b"456789"


async def test_changed_artifact_is_not_served(desk: StudyDesk, jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    """Not one byte of a file that no longer agrees with its digest is sent."""
    await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    _, artifact = await succeed(jobs, artifacts, b"0123456789")
    await artifacts.put(artifact.path, b"0123456780")
    with pytest.raises(DataLossError):
        await anext(desk.stream_artifact(artifact))


async def test_unknown_artifact_is_told(desk: StudyDesk) -> None:
    """A job that has not succeeded has no artefacts."""
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    with pytest.raises(UnknownArtifactError):
        find_artifact(job, ArtifactKind.MASK_NIFTI)


async def test_erased_job_leaves_nothing(desk: StudyDesk, jobs: RedisJobStore, artifacts: ArtifactStore) -> None:
    """Input, results and record are gone when the call answers."""
    job = await desk.accept(DEFAULT_TENANT, study(None), ORDER)
    await succeed(jobs, artifacts, b"mask")
    await desk.erase(DEFAULT_TENANT, job.job_id)
    assert await artifacts.list_paths("uploads/") + await artifacts.list_paths("jobs/") == ()
    with pytest.raises(UnknownJobError):
        await jobs.read(DEFAULT_TENANT, job.job_id)
