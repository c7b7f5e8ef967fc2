"""Uploads that break go on, and each fault of a study or request has its own answer, quickly."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest

from brainmets.gateway import study_upload
from brainmets.imaging.errors import (
    BrainmetsError,
    DigestMismatchError,
    InvalidArgumentError,
    InvalidJobStateError,
    MalformedFileError,
    MissingT1cError,
    RequestIdReusedError,
    StudyTooLargeError,
    UnknownArtifactError,
    UnknownJobError,
    UnknownUploadError,
    UnsupportedFormatError,
    UploadIncompleteError,
    UploadOffsetError,
)
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import job_pb2, study_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from gateway_bench import MAX_STUDY_BYTES, GatewayBench, study_bytes
from service_calls import (
    STUDY,
    UNKNOWN_ID,
    WAIT_S,
    Request,
    ended,
    file_messages,
    job_of,
    new_upload,
    refused,
    segment,
    start,
    submit,
    uploaded,
    write,
)


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
    async with asyncio.timeout(WAIT_S):
        while bench.sample("gateway_received_bytes_total") < 100_000:  # noqa: ASYNC110 -- a number
            await asyncio.sleep(0.02)
    call.cancel()
    received_bytes = 0
    async with asyncio.timeout(WAIT_S):
        while received_bytes == 0:
            answer = await bench.segmentation.GetUpload(messages.GetUploadRequest(upload_id=upload_id))
            received_bytes = sum(file.received_bytes for file in answer.upload.files)
    assert received_bytes == 100_000


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


async def test_a_series_of_too_many_single_files_is_told_to_come_as_a_zip(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first file too many, and without keeping those before it."""
    monkeypatch.setattr(study_upload, "MAX_FILES", 16)

    async def call() -> None:
        files = (file_messages(messages.SegmentStudyRequest, b"slice", file_index=index) for index in range(200))
        with rpc_errors():
            requests = itertools.chain([start()], itertools.chain.from_iterable(files))
            _ = [answer async for answer in bench.segmentation.SegmentStudy(requests)]

    with pytest.raises(InvalidArgumentError, match="zip") as caught:
        await call()
    assert caught.value.file_index == 16
    assert await bench.stores.artifacts.list_paths("uploads/") == ()


async def test_the_encoding_of_each_file_is_kept(bench: GatewayBench) -> None:
    """A client that asks what is there learns what it said."""
    upload_id = await new_upload(bench)
    for number, media_type in enumerate(study_pb2.MediaType.values()[1:]):
        requests = file_messages(messages.WriteUploadRequest, b"bytes", file_index=number, media_type=media_type)
        upload = await write(bench, upload_id, requests)
    assert [file.header.media_type for file in upload.files] == study_pb2.MediaType.values()[1:]


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
        (lambda kind: file_messages(kind, STUDY, file_index=1024), InvalidArgumentError),
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
        files = [file_messages(messages.SegmentStudyRequest, content, file_index=1024 + index) for index in range(3)]
        with rpc_errors():
            requests = iter([start(), *(request for file in files for request in file)])
            _ = [answer async for answer in bench.segmentation.SegmentStudy(requests)]

    await refused(InvalidArgumentError, call())


@pytest.mark.parametrize("content", [STUDY, bytes(MAX_STUDY_BYTES + 1)])
async def test_an_upload_that_is_refused_while_it_sends_hears_why(bench: GatewayBench, content: bytes) -> None:
    """Likewise."""
    files = [file_messages(messages.WriteUploadRequest, content, file_index=1024 + index) for index in range(3)]
    requests = (request for file in files for request in file)
    await refused(InvalidArgumentError, write(bench, await new_upload(bench), requests))


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
    """Return whatever error a call is answered with, soon: two seconds where nothing else runs."""
    started_s = time.monotonic()
    with pytest.raises(BrainmetsError) as caught:
        await call
    assert time.monotonic() - started_s < 45.0
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


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"min_lesion_volume_mm3": -1.0},
        {"min_peak_probability": 1.0},
        {"min_peak_probability": float("nan")},
    ],
)
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


async def test_a_refused_study_is_counted_by_its_code(bench: GatewayBench) -> None:
    """It was not accepted, and by whose fault its code tells."""
    await refused(UnknownUploadError, submit(bench, UNKNOWN_ID))
    assert bench.sample("gateway_submissions_total", code="NOT_FOUND") == 1
    assert bench.sample("gateway_submissions_total", code="OK") == 0


async def test_a_file_that_is_not_there_yet_is_not_found(bench: GatewayBench) -> None:
    """A queued job has no artefacts."""
    job = await submit(bench, await uploaded(bench))

    async def fetch() -> None:
        request = messages.DownloadArtifactRequest(job_id=job.job_id, kind=job_pb2.ARTIFACT_KIND_MASK_NIFTI)
        with rpc_errors():
            _ = [answer async for answer in bench.segmentation.DownloadArtifact(request)]

    await refused(UnknownArtifactError, fetch())
