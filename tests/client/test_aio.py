"""The asynchronous client against a running gateway."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path

import grpc
import pytest

from brainmets.client import (
    AsyncClient,
    Job,
    JobState,
    SegmentationOptions,
    ServiceError,
    StudyFile,
    StudyPathError,
    aio,
)
from brainmets.client.errors import error_from_rpc
from brainmets.v1 import job_pb2
from faulty_line import FaultyLine
from gateway_bench import LESION_DIAMETER_MM, GatewayBench, study_bytes


@pytest.fixture
async def client(bench: GatewayBench) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with AsyncClient(bench.address) as opened:
        yield opened


async def test_a_folder_goes_in_and_a_segmentation_comes_out(client: AsyncClient, study: Path) -> None:
    """Lesions as plain values, and every file."""
    segmentation = await client.segment(study)
    (lesion,) = segmentation.lesions
    assert lesion.longest_axial_diameter_mm == pytest.approx(LESION_DIAMETER_MM, abs=1.5)
    assert segmentation.sequences_used == ("t1c", "t2f")
    names = {"mask.nii.gz", "probability.nii.gz", "report.json", "lesions.csv", "overlay.png"}
    assert set(segmentation.files) == names


async def test_a_folder_of_dicom_goes_in_and_its_chosen_series_is_named(
    client: AsyncClient, study: Path, dicom_study: Path
) -> None:
    """The same head as in NIfTI has the same lesion; what was left says why."""
    segmentation = await client.segment(dicom_study)
    (lesion,) = segmentation.lesions
    (same,) = (await client.segment(study / "patient-t1c.nii.gz")).lesions
    assert lesion.volume_mm3 == pytest.approx(same.volume_mm3, rel=1e-6)
    assert lesion.centroid_mm == pytest.approx(same.centroid_mm, abs=1e-3)
    assert [(use.number, use.used, use.reason) for use in segmentation.series] == [
        (1, False, "localizer"),
        (7, True, "chosen"),
    ]


async def test_a_series_can_be_chosen_by_its_number(client: AsyncClient, dicom_study: Path) -> None:
    """Against what its attributes say."""
    segmentation = await client.segment(dicom_study, SegmentationOptions(series={"t1c": 1}))
    assert [use.number for use in segmentation.series if use.used] == [1]


async def test_files_are_saved_where_the_caller_says(client: AsyncClient, study: Path, tmp_path: Path) -> None:
    """Under the service's usual names."""
    segmentation = await client.segment(study)
    paths = segmentation.save(tmp_path / "made" / "out")
    assert all(path.read_bytes() == segmentation.files[path.name] for path in paths)


async def test_progress_and_sent_bytes_are_told(client: AsyncClient, study: Path) -> None:
    """A caller can draw a bar."""
    jobs: list[Job] = []
    sent: list[int] = []
    await client.segment(study, on_progress=jobs.append, on_sent=sent.append)
    assert jobs[-1].state is JobState.SUCCEEDED
    assert sum(sent) == 2 * len(study_bytes())


async def test_options_reach_the_service(client: AsyncClient, study: Path) -> None:
    """Which networks, and where the line is drawn."""
    segmentation = await client.segment(study, SegmentationOptions(model="nested_unet", threshold=0.7))
    assert segmentation.models == ("nested_unet",)
    assert segmentation.threshold == pytest.approx(0.7)
    asked = await client.segment(study, SegmentationOptions(min_peak_probability=0.875))
    assert asked.min_peak_probability == 0.875


async def test_an_operating_point_reaches_the_service(client: AsyncClient, study: Path) -> None:
    """The result says which one decided, and a threshold of one's own has no name."""
    named = await client.segment(study, SegmentationOptions(operating_point="sensitive"))
    own = await client.segment(study, SegmentationOptions(threshold=0.2))
    assert (named.operating_point, named.threshold) == ("sensitive", pytest.approx(0.2))
    assert own.operating_point == "unspecified"


async def test_a_model_card_is_a_dictionary(client: AsyncClient) -> None:
    """As the export wrote it: whole numbers are whole, and its parts have one order."""
    card = await client.model_card("nested_unet")
    assert json.dumps(card) == '{"never_seen_in_training": ["haemorrhage"], "seed": 7}'


async def test_a_job_can_be_submitted_and_waited_for(client: AsyncClient, study: Path) -> None:
    """By whoever knows its identifier."""
    job = await client.submit(study)
    assert not job.state.is_final
    segmentation = await client.wait(job.job_id)
    assert segmentation.job.job_id == job.job_id
    assert len(segmentation.files) == 5


async def test_a_job_is_watched_to_its_end(client: AsyncClient, study: Path) -> None:
    """Each change once, and the iteration ends with the job."""
    job = await client.submit(study)
    states = [changed.state async for changed in client.watch(job.job_id)]
    assert states[-1] is JobState.SUCCEEDED
    assert JobState.SUCCEEDED not in states[:-1]


async def test_a_repeated_submit_is_the_same_job(client: AsyncClient, study: Path) -> None:
    """Under one request_id."""
    first = await client.submit(study, request_id="mine")
    assert (await client.submit(study, request_id="mine")).job_id == first.job_id


async def test_all_jobs_are_listed_page_by_page(client: AsyncClient, study: Path) -> None:
    """Newest first."""
    ids = [(await client.submit(study)).job_id for _ in range(3)]
    assert [job.job_id async for job in client.jobs(page_size=2)] == ids[::-1]


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call that is given up wait longer until the service knows, on a machine that is busy."""
    monkeypatch.setattr(aio, "GIVE_UP_TIMEOUT_S", 30.0)


@pytest.mark.usefixtures("_patient")
async def test_cancelling_the_call_cancels_the_job(client: AsyncClient, bench: GatewayBench, study: Path) -> None:
    """A caller who gives up leaves no work behind, not even for the time in which a broken line is mended."""
    bench.triton.delay_s = 30.0
    jobs: list[Job] = []
    call = asyncio.create_task(client.segment(study, on_progress=jobs.append))
    while not jobs:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await client.job(jobs[0].job_id)).state is JobState.CANCELLED


@pytest.mark.usefixtures("_patient")
async def test_a_call_whose_time_is_up_cancels_the_job(client: AsyncClient, bench: GatewayBench, study: Path) -> None:
    """Its caller is told of a job that will not end by itself, and has no other way to know it."""
    bench.triton.delay_s = 30.0
    jobs: list[Job] = []
    for timeout_s in (1.0, 5.0, 25.0):
        with pytest.raises(TimeoutError, match=f"no result within {timeout_s:g} s; ") as caught:
            await client.segment(study, on_progress=jobs.append, timeout_s=timeout_s)
        # Else it was not accepted in time.
        if jobs:
            break
    assert f"job {jobs[0].job_id} is cancelled" in str(caught.value)
    assert (await client.job(jobs[0].job_id)).state is JobState.CANCELLED


@pytest.mark.usefixtures("_patient")
async def test_a_callback_that_raises_cancels_the_job(idle: GatewayBench, study: Path) -> None:
    """Its caller has the error as it is, and nobody waits for the result any more."""
    error, jobs = OSError("a disk that is full"), list[Job]()

    def changed(job: Job) -> None:
        jobs.append(job)
        raise error

    async with AsyncClient(idle.address) as client:
        with pytest.raises(OSError, match="full") as caught:
            await client.segment(study, on_progress=changed)
        assert caught.value is error
        assert (await client.job(jobs[0].job_id)).state is JobState.CANCELLED


@pytest.mark.usefixtures("_patient")
async def test_a_client_that_is_closed_cancels_the_jobs_it_waits_for(idle: GatewayBench, study: Path) -> None:
    """Its calls end, and what is called later is told in our words."""
    async with AsyncClient(idle.address) as client:
        accepted = asyncio.Event()
        call = asyncio.create_task(client.segment(study, on_progress=lambda _: accepted.set()))
        await accepted.wait()
    # Which one is chance: what is heard first.
    with pytest.raises((asyncio.CancelledError, ServiceError, RuntimeError)):
        await call
    with pytest.raises(RuntimeError, match="after close"):
        await client.models()
    async with AsyncClient(idle.address) as other:
        assert [job.state async for job in other.jobs()] == [JobState.CANCELLED]


async def test_a_client_that_is_closed_while_its_line_is_broken_ends_its_calls(
    idle: GatewayBench, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can be told to cancel the job, and what gRPC says of a closed channel stays here."""
    monkeypatch.setattr(aio, "GIVE_UP_TIMEOUT_S", 0.1)
    async with FaultyLine(idle.address).open() as line, AsyncClient(line.address) as client:
        accepted = asyncio.Event()
        call = asyncio.create_task(client.segment(study, on_progress=lambda _: accepted.set()))
        await accepted.wait()
        line.cut()
        await client.close()
        with pytest.raises((asyncio.CancelledError, RuntimeError)):
            await call


async def test_a_job_can_be_cancelled_and_erased(client: AsyncClient, bench: GatewayBench, study: Path) -> None:
    """Then it is not found any more."""
    bench.triton.delay_s = 30.0
    job = await client.submit(study)
    assert (await client.cancel(job.job_id)).state is JobState.CANCELLED
    await client.delete(job.job_id)
    with pytest.raises(ServiceError) as caught:
        await client.job(job.job_id)
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert caught.value.reason == "UNKNOWN_JOB"


async def test_a_bad_study_is_an_error_with_details(client: AsyncClient, tmp_path: Path) -> None:
    """The service's own words, and which file."""
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(study_bytes()[:5000])
    with pytest.raises(ServiceError) as caught:
        await client.segment(path)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.reason == "MALFORMED_FILE"
    assert caught.value.metadata["file_index"] == "0"
    assert not caught.value.is_transient


async def test_waiting_for_a_failed_job_raises_its_error(client: AsyncClient, tmp_path: Path) -> None:
    """The same as the direct call."""
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(study_bytes()[:5000])
    job = await client.submit(path)
    with pytest.raises(ServiceError) as caught:
        await client.wait(job.job_id)
    assert caught.value.reason == "MALFORMED_FILE"


async def test_a_study_without_t1c_is_refused_while_it_is_sent(client: AsyncClient, study: Path) -> None:
    """The service's reason arrives, whatever gRPC makes of the broken stream."""
    files = [StudyFile(study / "patient-t2f.nii.gz", "t2f")]
    with pytest.raises(ServiceError) as caught:
        await client.segment(files)
    assert caught.value.reason == "MISSING_T1C"


async def test_one_file_can_be_fetched(client: AsyncClient, study: Path) -> None:
    """Checked against its digest."""
    segmentation = await client.segment(study)
    name, content = await client.download(segmentation.job.job_id, job_pb2.ARTIFACT_KIND_LESIONS_CSV)
    assert (name, content) == ("lesions.csv", segmentation.files["lesions.csv"])


async def test_models_are_told(client: AsyncClient) -> None:
    """By name, with what they were trained for."""
    models = await client.models()
    assert [model.model_name for model in models] == ["attention_unet", "nested_unet"]
    assert all(model.ready and model.sequences == ("t1c", "t1n", "t2w", "t2f") for model in models)


async def test_no_service_is_told_in_one_sentence(study: Path) -> None:
    """With the address, and what to do."""
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(ServiceError, match=r"127\.0\.0\.1:1") as caught:
            await client.models()
        assert caught.value.is_transient
        with pytest.raises(ServiceError):
            await client.submit(study)


async def test_a_path_with_nothing_to_send_is_refused_before_a_call(tmp_path: Path) -> None:
    """No service is needed to know."""
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(StudyPathError):
            await client.segment(tmp_path)


@pytest.mark.parametrize("send", [AsyncClient.segment, AsyncClient.submit])
async def test_a_file_that_cannot_be_read_while_it_is_sent_is_told(
    client: AsyncClient, tmp_path: Path, send: Callable[[AsyncClient, list[StudyFile]], Awaitable[object]]
) -> None:
    """It was there when it was found."""
    with pytest.raises(FileNotFoundError, match="gone"):
        await send(client, [StudyFile(tmp_path / "gone-t1c.nii.gz", "t1c")])


@pytest.mark.parametrize("send", [AsyncClient.segment, AsyncClient.submit])
async def test_whoever_cancels_a_call_finds_it_cancelled(
    client: AsyncClient, study: Path, send: Callable[..., Coroutine[None, None, object]]
) -> None:
    """Whatever else goes wrong then."""

    def sent(_: int) -> None:
        call.cancel()
        raise ValueError

    call = asyncio.ensure_future(send(client, study, on_sent=sent))
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_an_upload_that_breaks_goes_on_where_it_was(bench: GatewayBench, tmp_path: Path) -> None:
    """What the service has is not sent again, and the study is whole: its digest is checked at the end."""
    noise = random.Random(0).randbytes(3_900_000)  # noqa: S311 -- bytes that do not shrink
    path = tmp_path / "large-t1c.nii"
    path.write_bytes(noise)
    sent: list[int] = []
    line = FaultyLine(bench.address, cut_after_bytes=2_500_000)
    async with line.open(), AsyncClient(line.address) as client:
        job = await client.submit(path, on_sent=sent.append)
        assert not job.state.is_final
    assert len(line.up_bytes) == 2
    # What came before the line broke was stored, and not sent again.
    assert line.up_bytes[1] < len(noise) - 1_500_000
    assert sum(sent) == len(noise)


@pytest.mark.parametrize(
    ("code", "details", "transient"),
    [
        (grpc.StatusCode.INTERNAL, "Internal error from Core", True),
        (grpc.StatusCode.INTERNAL, "request id 4711", False),
        (grpc.StatusCode.UNAVAILABLE, "Connection refused", True),
    ],
)
def test_a_line_that_broke_while_it_was_sent_on_is_no_defect_of_the_service(
    code: grpc.StatusCode, details: str, *, transient: bool
) -> None:
    """Though gRPC says INTERNAL of some of them; the call may be repeated."""
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=details)
    assert error_from_rpc(error, address="127.0.0.1:1").is_transient is transient
