"""The published service over a real socket: a study goes in, its result comes out, and each fault has its answer."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import json_format

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.errors import (
    ArtifactOffsetError,
    BrainmetsError,
    DataLossError,
    DigestMismatchError,
    InvalidArgumentError,
    InvalidJobStateError,
    JobCancelledError,
    MalformedFileError,
    MissingT1cError,
    RequestIdReusedError,
    StudyTooLargeError,
    UnknownArtifactError,
    UnknownJobError,
    UnknownModelError,
    UnknownUploadError,
    UnsupportedFormatError,
    UploadIncompleteError,
    UploadOffsetError,
)
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import job_pb2, model_service_pb2, result_pb2, study_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from gateway_bench import LESION_DIAMETER_MM, MAX_STUDY_BYTES, GatewayBench, running_gateway, study_bytes

STUDY = study_bytes()
KINDS = [kind for kind in job_pb2.ArtifactKind.values() if kind]
UNKNOWN_ID = "0" * 32
WAIT_S = 20.0

Request = messages.SegmentStudyRequest | messages.WriteUploadRequest


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker does not work yet."""
    async with running_gateway(redis_url, tmp_path / "artifacts") as running:
        yield running


@pytest.fixture
async def working(bench: GatewayBench) -> AsyncIterator[GatewayBench]:
    """A gateway whose worker works."""
    async with bench.working():
        yield bench


def file_messages(
    kind: type[Request],
    content: bytes,
    *,
    file_index: int = 0,
    sequence: int = study_pb2.SEQUENCE_T1C,
    offset_bytes: int = 0,
    sha256: bytes | None = None,
) -> list[Request]:
    """Return the messages that send one file; those of a file that goes on send its rest."""
    header = study_pb2.FileHeader(
        file_index=file_index,
        media_type=study_pb2.MEDIA_TYPE_NIFTI,
        sequence=sequence,  # type: ignore[arg-type]  # also numbers that the contract does not know
        offset_bytes=offset_bytes,
    )
    chunks = [content[start : start + 50_000] for start in range(offset_bytes, len(content), 50_000)]
    end = study_pb2.FileEnd(sha256=hashlib.sha256(content).digest() if sha256 is None else sha256)
    return [kind(file_header=header), *(kind(chunk=chunk) for chunk in chunks), kind(file_end=end)]


def start(request_id: str = "", kinds: Iterable[int] = (), **options: object) -> messages.SegmentStudyRequest:
    """Return the first message of SegmentStudy."""
    return messages.SegmentStudyRequest(
        start=messages.SegmentStudyStart(
            request_id=request_id,
            options=job_pb2.SegmentationOptions(**options),  # type: ignore[arg-type]  # any of them
            artifacts=kinds,  # type: ignore[arg-type]  # numbers of the contract
        )
    )


async def segment(
    bench: GatewayBench, content: bytes = STUDY, *, request_id: str = "", **options: object
) -> tuple[list[job_pb2.Job], dict[int, bytes]]:
    """Send a study in one call; return the job's changes and the artefacts by kind.

    Raises:
        BrainmetsError: What the service answered.
    """
    requests = [start(request_id, KINDS, **options), *file_messages(messages.SegmentStudyRequest, content)]
    jobs: list[job_pb2.Job] = []
    files: dict[int, bytes] = {}
    opened = 0
    with rpc_errors():
        async for response in bench.segmentation.SegmentStudy(iter(requests), timeout=WAIT_S):
            payload = response.WhichOneof("payload")
            if payload == "job":
                jobs.append(response.job)
            elif payload == "artifact":
                opened = response.artifact.kind
                files[opened] = b""
            else:
                files[opened] += response.chunk
    return jobs, files


async def new_upload(bench: GatewayBench) -> str:
    """Open an upload."""
    answer = await bench.segmentation.CreateUpload(messages.CreateUploadRequest())
    return answer.upload.upload_id


async def write(bench: GatewayBench, upload_id: str, requests: Iterable[Request]) -> study_pb2.Upload:
    """Write into an upload."""
    first = messages.WriteUploadRequest(upload_id=upload_id)
    with rpc_errors():
        answer = await bench.segmentation.WriteUpload(iter([first, *requests]), timeout=WAIT_S)
    return answer.upload


async def uploaded(bench: GatewayBench, content: bytes = STUDY, **file: object) -> str:
    """Upload one file; return the upload."""
    upload_id = await new_upload(bench)
    await write(bench, upload_id, file_messages(messages.WriteUploadRequest, content, **file))  # type: ignore[arg-type]  # as there
    return upload_id


async def submit(bench: GatewayBench, upload_id: str, *, request_id: str = "", **options: object) -> job_pb2.Job:
    """Submit an upload."""
    request = messages.SubmitStudyRequest(
        upload_id=upload_id,
        request_id=request_id,
        options=job_pb2.SegmentationOptions(**options),  # type: ignore[arg-type]  # any of them
    )
    with rpc_errors():
        return (await bench.segmentation.SubmitStudy(request, timeout=WAIT_S)).job


async def job_of(bench: GatewayBench, job_id: str) -> job_pb2.Job:
    """Return a job."""
    with rpc_errors():
        return (await bench.segmentation.GetJob(messages.GetJobRequest(job_id=job_id))).job


async def ended(bench: GatewayBench, job_id: str) -> job_pb2.Job:
    """Watch a job to its end."""
    job = job_pb2.Job()
    with rpc_errors():
        async for change in bench.segmentation.WatchJob(messages.WatchJobRequest(job_id=job_id), timeout=WAIT_S):
            job = change.job
    return job


async def refused(kind: type[BrainmetsError], call: Awaitable[object]) -> BrainmetsError:
    """Return the error that a call is answered with, within two seconds."""
    started_s = time.monotonic()
    with pytest.raises(BrainmetsError) as caught:
        await call
    assert type(caught.value) is kind
    assert time.monotonic() - started_s < 2.0
    return caught.value


async def test_a_study_goes_in_and_its_lesion_comes_out(working: GatewayBench) -> None:
    """One call: accepted, followed, and the lesion is where it was put, on the patient's left."""
    jobs, _ = await segment(working)
    assert jobs[-1].state == job_pb2.JOB_STATE_SUCCEEDED
    (lesion,) = jobs[-1].result.lesions
    assert lesion.longest_axial_diameter_mm == pytest.approx(LESION_DIAMETER_MM, abs=1.5)
    # RAS column 20, row 30, slice 24 at 1 mm.
    centroid = lesion.centroid
    assert (centroid.x_mm, centroid.y_mm, centroid.z_mm) == pytest.approx((-20.0, -30.0, 24.0), abs=0.5)


async def test_the_mask_lies_on_the_studys_own_voxels(working: GatewayBench) -> None:
    """Shape and affine are the file's, and the lesion's voxels are marked."""
    _, files = await segment(working)
    study, mask = (read_nifti(content, file_index=0) for content in (STUDY, files[job_pb2.ARTIFACT_KIND_MASK_NIFTI]))
    assert mask.geometry == study.geometry
    overlap = np.count_nonzero((mask.voxels > 0) & (study.voxels > 800.0))
    assert 2 * overlap / (np.count_nonzero(mask.voxels) + np.count_nonzero(study.voxels > 800.0)) > 0.9


async def test_all_files_come_and_the_report_is_the_result(working: GatewayBench) -> None:
    """report.json is the canonical JSON of the job's own result."""
    jobs, files = await segment(working)
    assert sorted(files) == KINDS
    report = json_format.Parse(files[job_pb2.ARTIFACT_KIND_REPORT_JSON], result_pb2.SegmentationResult())
    assert report == jobs[-1].result


async def test_no_lesion_is_a_result(working: GatewayBench) -> None:
    """The mask is empty, the files are there, and the words do not promise health."""
    jobs, files = await segment(working, study_bytes(lesion=False))
    result = jobs[-1].result
    assert jobs[-1].state == job_pb2.JOB_STATE_SUCCEEDED
    assert sorted(files) == KINDS
    if not result.lesions:
        assert "does not exclude" in result.statement


async def test_progress_is_told(working: GatewayBench) -> None:
    """A client sees the tiles of both networks go by."""
    working.triton.delay_s = 0.02
    jobs, _ = await segment(working)
    seen = [job.progress for job in jobs if job.progress.stage == job_pb2.STAGE_INFERRING]
    assert seen[-1].tiles_total % 2 == 0
    assert [progress.tiles_done for progress in seen] == sorted(progress.tiles_done for progress in seen)


async def test_one_network_may_decide_alone(working: GatewayBench) -> None:
    """The result names those that took part."""
    jobs, _ = await segment(working, model=job_pb2.MODEL_CHOICE_NESTED_UNET)
    assert [model.model_name for model in jobs[-1].result.models] == ["nested_unet"]


async def test_the_same_study_again_is_not_computed_again(working: GatewayBench) -> None:
    """A second job has the first one's result, and files of its own."""
    first, files = await segment(working)
    inferred = len(working.triton.time_left_s)
    second, again = await segment(working)
    assert second[-1].from_cache
    assert second[-1].job_id != first[-1].job_id
    assert again == files
    assert len(working.triton.time_left_s) - inferred <= 2  # probes at most


async def test_a_job_can_be_submitted_watched_and_its_files_fetched(working: GatewayBench) -> None:
    """The calls one by one do what the one call does."""
    job = await ended(working, (await submit(working, await uploaded(working))).job_id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    (mask,) = [artifact for artifact in job.artifacts if artifact.kind == job_pb2.ARTIFACT_KIND_MASK_NIFTI]
    request = messages.DownloadArtifactRequest(job_id=job.job_id, kind=mask.kind)
    content = b"".join([answer.chunk async for answer in working.segmentation.DownloadArtifact(request)])
    assert hashlib.sha256(content).digest() == mask.sha256


async def test_a_part_of_a_file_can_be_fetched(working: GatewayBench) -> None:
    """A download that broke goes on where it stopped."""
    jobs, files = await segment(working)
    request = messages.DownloadArtifactRequest(
        job_id=jobs[-1].job_id, kind=job_pb2.ARTIFACT_KIND_LESIONS_CSV, offset_bytes=5, length_bytes=10
    )
    answers = [answer async for answer in working.segmentation.DownloadArtifact(request)]
    assert b"".join(answer.chunk for answer in answers) == files[job_pb2.ARTIFACT_KIND_LESIONS_CSV][5:15]
    assert answers[0].artifact.file_name == "lesions.csv"


async def test_an_offset_past_the_end_is_out_of_range(working: GatewayBench) -> None:
    """Nothing is there."""
    jobs, files = await segment(working)
    request = messages.DownloadArtifactRequest(
        job_id=jobs[-1].job_id,
        kind=job_pb2.ARTIFACT_KIND_LESIONS_CSV,
        offset_bytes=len(files[job_pb2.ARTIFACT_KIND_LESIONS_CSV]) + 1,
    )
    with pytest.raises(ArtifactOffsetError), rpc_errors():
        _ = [answer async for answer in working.segmentation.DownloadArtifact(request)]


async def test_a_file_that_changed_in_the_store_is_not_served(working: GatewayBench) -> None:
    """A flipped bit is data loss, never a mask."""
    job = await ended(working, (await submit(working, await uploaded(working))).job_id)
    stored = await working.stores.jobs.read("default", job.job_id)
    await working.stores.artifacts.put(stored.artifacts[0].path, b"another file")

    async def fetch() -> None:
        request = messages.DownloadArtifactRequest(job_id=job.job_id, kind=job_pb2.ARTIFACT_KIND_MASK_NIFTI)
        with rpc_errors():
            _ = [answer async for answer in working.segmentation.DownloadArtifact(request)]

    await refused(DataLossError, fetch())


async def test_jobs_are_listed_newest_first_by_pages(bench: GatewayBench) -> None:
    """Each page tells where the next one begins."""
    ids = [(await submit(bench, await uploaded(bench))).job_id for _ in range(3)]
    first = await bench.segmentation.ListJobs(messages.ListJobsRequest(page_size=2))
    second = await bench.segmentation.ListJobs(messages.ListJobsRequest(page_size=2, page_token=first.next_page_token))
    assert [job.job_id for job in (*first.jobs, *second.jobs)] == ids[::-1]
    assert second.next_page_token == ""


async def test_an_upload_goes_on_where_it_broke(bench: GatewayBench) -> None:
    """What was received of a cut upload is kept, and its rest completes the file."""
    upload_id = await new_upload(bench)
    cut = file_messages(messages.WriteUploadRequest, STUDY)[:3]
    upload = await write(bench, upload_id, cut)
    (file,) = upload.files
    assert not file.complete
    assert file.received_bytes == 100_000
    rest = file_messages(messages.WriteUploadRequest, STUDY, offset_bytes=file.received_bytes)
    upload = await write(bench, upload_id, rest)
    assert upload.files[0].complete


async def test_a_broken_connection_keeps_what_came(bench: GatewayBench) -> None:
    """Cancelling a call in the middle of a file loses none of the bytes that arrived before."""
    upload_id = await new_upload(bench)
    call = bench.segmentation.WriteUpload()
    for request in [
        messages.WriteUploadRequest(upload_id=upload_id),
        *file_messages(messages.WriteUploadRequest, STUDY)[:3],
    ]:
        await call.write(request)
    await asyncio.sleep(0.3)
    call.cancel()
    await asyncio.sleep(0.3)
    answer = await bench.segmentation.GetUpload(messages.GetUploadRequest(upload_id=upload_id))
    assert answer.upload.files[0].received_bytes == 100_000


async def test_an_upload_cut_in_the_middle_cannot_be_submitted(bench: GatewayBench) -> None:
    """Half a file is no study."""
    upload_id = await new_upload(bench)
    await write(bench, upload_id, file_messages(messages.WriteUploadRequest, STUDY)[:3])
    await refused(UploadIncompleteError, submit(bench, upload_id))


async def test_bytes_that_do_not_go_on_are_out_of_range(bench: GatewayBench) -> None:
    """A gap would be a wrong study."""
    upload_id = await new_upload(bench)
    rest = file_messages(messages.WriteUploadRequest, STUDY, offset_bytes=50_000)
    error = await refused(UploadOffsetError, write(bench, upload_id, rest))
    assert error.file_index == 0


async def test_a_wrong_sha256_is_data_loss(bench: GatewayBench) -> None:
    """The error names the file, and the file can be sent again."""
    upload_id = await new_upload(bench)
    wrong = file_messages(messages.WriteUploadRequest, STUDY, file_index=3, sha256=bytes(32))
    error = await refused(DigestMismatchError, write(bench, upload_id, wrong))
    assert error.file_index == 3
    again = file_messages(messages.WriteUploadRequest, STUDY, file_index=3)
    assert (await write(bench, upload_id, again)).files[0].complete


async def test_a_study_too_large_is_refused(bench: GatewayBench) -> None:
    """While it comes in, and without filling the disk."""
    large = file_messages(messages.WriteUploadRequest, bytes(MAX_STUDY_BYTES + 1))
    await refused(StudyTooLargeError, write(bench, await new_upload(bench), large))


def unstated(kind: type[Request]) -> list[Request]:
    """Return a file whose encoding is not stated."""
    requests = file_messages(kind, STUDY)
    requests[0].file_header.media_type = study_pb2.MEDIA_TYPE_UNSPECIFIED
    return requests


def of_another_encoding(kind: type[Request]) -> list[Request]:
    """Return a file of an encoding of a newer contract."""
    requests = file_messages(kind, STUDY)
    requests[0].file_header.media_type = 99  # type: ignore[assignment]  # a number that the contract does not know
    return requests


@pytest.mark.parametrize(
    ("requests", "kind"),
    [
        (lambda kind: file_messages(kind, STUDY)[1:], InvalidArgumentError),
        (lambda kind: file_messages(kind, STUDY)[:1] * 2, InvalidArgumentError),
        (lambda kind: file_messages(kind, STUDY, file_index=64), InvalidArgumentError),
        (lambda kind: file_messages(kind, STUDY, sha256=b"short"), InvalidArgumentError),
        (unstated, InvalidArgumentError),
        (of_another_encoding, UnsupportedFormatError),
    ],
)
async def test_messages_out_of_order_or_range_are_refused(
    bench: GatewayBench, requests: Callable[[type[Request]], list[Request]], kind: type[BrainmetsError]
) -> None:
    """The contract's order and ranges are checked as messages come."""
    await refused(kind, write(bench, await new_upload(bench), requests(messages.WriteUploadRequest)))


async def test_a_call_that_does_not_begin_with_its_start_is_refused(bench: GatewayBench) -> None:
    """The service must know how before it takes what."""

    async def call() -> None:
        with rpc_errors():
            requests = file_messages(messages.SegmentStudyRequest, STUDY)
            _ = [answer async for answer in bench.segmentation.SegmentStudy(iter(requests))]

    await refused(InvalidArgumentError, call())


@pytest.mark.parametrize("content", [STUDY, bytes(MAX_STUDY_BYTES + 1)])
async def test_a_call_that_is_refused_while_it_sends_hears_why(bench: GatewayBench, content: bytes) -> None:
    """The client learns the status although it had not finished."""

    async def call() -> None:
        files = [file_messages(messages.SegmentStudyRequest, content, file_index=64 + index) for index in range(3)]
        with rpc_errors():
            requests = iter([start(), *(request for file in files for request in file)])
            _ = [answer async for answer in bench.segmentation.SegmentStudy(requests)]

    await refused(InvalidArgumentError, call())


async def test_a_study_without_t1c_is_refused(bench: GatewayBench) -> None:
    """It is known before anything is computed."""
    upload_id = await uploaded(bench, sequence=study_pb2.SEQUENCE_T2F)
    await refused(MissingT1cError, submit(bench, upload_id))


@pytest.mark.parametrize("content", [b"PK\x03\x04" + bytes(500), STUDY[:10_000]])
async def test_a_file_that_cannot_be_read_fails_the_job_with_details(working: GatewayBench, content: bytes) -> None:
    """The call ends with the status that names the file, and the job keeps it."""
    error = await refused_any(segment(working, content))
    assert isinstance(error, MalformedFileError | UnsupportedFormatError)
    assert error.file_index == 0
    listed = await working.segmentation.ListJobs(messages.ListJobsRequest())
    job = await job_of(working, listed.jobs[0].job_id)
    assert job.failure.reason == job_pb2.FAILURE_REASON_INVALID_STUDY
    assert job.failure.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def refused_any(call: Awaitable[object]) -> BrainmetsError:
    """Return whatever error a call is answered with, within two seconds."""
    started_s = time.monotonic()
    with pytest.raises(BrainmetsError) as caught:
        await call
    assert time.monotonic() - started_s < 2.0
    return caught.value


async def test_the_service_goes_on_after_a_bad_study(working: GatewayBench) -> None:
    """The next study is segmented by the same worker."""
    await refused_any(segment(working, STUDY[:10_000]))
    jobs, _ = await segment(working)
    assert jobs[-1].state == job_pb2.JOB_STATE_SUCCEEDED


async def test_the_same_request_id_is_the_same_job(bench: GatewayBench) -> None:
    """A client that lost the answer asks again and gets the job it made."""
    first = await submit(bench, await uploaded(bench), request_id="mine")
    second = await submit(bench, await uploaded(bench), request_id="mine")
    assert first.job_id == second.job_id


async def test_a_request_id_with_other_bytes_already_exists(bench: GatewayBench) -> None:
    """One request_id stands for one study."""
    await submit(bench, await uploaded(bench), request_id="mine")
    other = await uploaded(bench, study_bytes(seed=1))
    await refused(RequestIdReusedError, submit(bench, other, request_id="mine"))


async def test_a_request_id_with_other_options_already_exists(bench: GatewayBench) -> None:
    """Nor for two ways of segmenting it."""
    await submit(bench, await uploaded(bench), request_id="mine")
    upload_id = await uploaded(bench)
    await refused(RequestIdReusedError, submit(bench, upload_id, request_id="mine", threshold=0.9))


async def test_an_upload_is_submitted_once(bench: GatewayBench) -> None:
    """Its bytes belong to the job from then on."""
    upload_id = await uploaded(bench)
    await submit(bench, upload_id, request_id="first")
    await refused(InvalidJobStateError, submit(bench, upload_id, request_id="second"))


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": float("nan")}, {"min_lesion_volume_mm3": -1.0}])
async def test_options_out_of_range_are_refused(bench: GatewayBench, options: dict[str, float]) -> None:
    """Before the study waits in the queue."""
    upload_id = await uploaded(bench)
    await refused(InvalidArgumentError, submit(bench, upload_id, **options))


@pytest.mark.parametrize("job_id", [UNKNOWN_ID, "", "../../etc/passwd", "a" * 5000])
async def test_an_unknown_job_is_not_found(bench: GatewayBench, job_id: str) -> None:
    """Whatever is asked for by a name that no job has."""
    await refused(UnknownJobError, job_of(bench, job_id))
    await refused(UnknownJobError, ended(bench, job_id))


async def test_an_unknown_upload_is_not_found(bench: GatewayBench) -> None:
    """It may have expired."""
    await refused(UnknownUploadError, write(bench, UNKNOWN_ID, file_messages(messages.WriteUploadRequest, STUDY)))
    await refused(UnknownUploadError, submit(bench, UNKNOWN_ID))


async def test_a_file_that_is_not_there_yet_is_not_found(bench: GatewayBench) -> None:
    """A queued job has no artefacts."""
    job = await submit(bench, await uploaded(bench))

    async def fetch() -> None:
        request = messages.DownloadArtifactRequest(job_id=job.job_id, kind=job_pb2.ARTIFACT_KIND_MASK_NIFTI)
        with rpc_errors():
            _ = [answer async for answer in bench.segmentation.DownloadArtifact(request)]

    await refused(UnknownArtifactError, fetch())


async def test_a_cancelled_job_stops_triton_within_a_second(working: GatewayBench) -> None:
    """Nothing is inferred for nobody."""
    working.triton.delay_s = 30.0
    job = await submit(working, await uploaded(working))
    async with asyncio.timeout(10):
        while len(working.triton.time_left_s) < 3:  # noqa: ASYNC110 -- what is waited for is a number
            await asyncio.sleep(0.02)
    await working.segmentation.CancelJob(messages.CancelJobRequest(job_id=job.job_id))
    started_s = time.monotonic()
    while working.triton.cancelled == 0:
        await asyncio.sleep(0.02)
        assert time.monotonic() - started_s < 3.0
    assert (await job_of(working, job.job_id)).state == job_pb2.JOB_STATE_CANCELLED
    working.triton.delay_s = 0.0


async def test_a_cancelled_call_cancels_its_job(bench: GatewayBench) -> None:
    """A client that hangs up does not want the study any more."""
    requests = [start(), *file_messages(messages.SegmentStudyRequest, STUDY)]
    call = bench.segmentation.SegmentStudy(iter(requests))
    job_id = (await call.read()).job.job_id  # type: ignore[union-attr]  # not the end
    call.cancel()
    async with asyncio.timeout(2):
        while (await job_of(bench, job_id)).state != job_pb2.JOB_STATE_CANCELLED:  # noqa: ASYNC110 -- Redis is asked
            await asyncio.sleep(0.02)


async def test_a_job_cancelled_by_another_ends_the_call(bench: GatewayBench) -> None:
    """Whoever follows it is told so."""
    requests = [start(), *file_messages(messages.SegmentStudyRequest, STUDY)]
    call = bench.segmentation.SegmentStudy(iter(requests))
    job_id = (await call.read()).job.job_id  # type: ignore[union-attr]  # not the end
    await bench.segmentation.CancelJob(messages.CancelJobRequest(job_id=job_id))

    async def follow() -> None:
        with rpc_errors():
            while await call.read() is not grpc.aio.EOF:
                pass

    await refused(JobCancelledError, follow())


async def test_an_erased_job_is_gone_with_its_files_and_its_cache(working: GatewayBench) -> None:
    """Nothing of the study is left in the store, and the next one is computed anew."""
    jobs, _ = await segment(working)
    await working.segmentation.DeleteJob(messages.DeleteJobRequest(job_id=jobs[-1].job_id))
    assert await working.stores.artifacts.list_paths("uploads/") == ()
    assert await working.stores.artifacts.list_paths("jobs/") == ()
    await refused(UnknownJobError, job_of(working, jobs[-1].job_id))
    again, _ = await segment(working)
    assert not again[-1].from_cache


async def test_models_are_listed_with_their_contract(bench: GatewayBench) -> None:
    """A client learns what decides and what it may be used for."""
    answer = await bench.models.ListModels(model_service_pb2.ListModelsRequest())
    assert [model.model_name for model in answer.models] == ["attention_unet", "nested_unet"]
    assert all(model.intended_use == "Research use only. Not for diagnosis." for model in answer.models)


async def test_an_unknown_model_is_not_found(bench: GatewayBench) -> None:
    """Only the service's own networks are told."""

    async def ask() -> None:
        with rpc_errors():
            await bench.models.GetModel(model_service_pb2.GetModelRequest(model_name="unet"))

    await refused(UnknownModelError, ask())


async def test_bytes_in_and_out_are_counted(working: GatewayBench) -> None:
    """What clients sent and fetched, in bytes."""
    _, files = await segment(working)
    assert working.sample("gateway_received_bytes_total") == len(STUDY)
    assert working.sample("gateway_sent_bytes_total") == sum(len(content) for content in files.values())
