"""The published service over a real socket: a study goes in, its result comes out, and it can be followed."""

import asyncio
import hashlib
import time

import grpc
import grpc.aio
import numpy as np
import pytest
from google.protobuf import json_format

from brainmets.formats.nifti import read_nifti
from brainmets.gateway import submission
from brainmets.imaging.errors import (
    ArtifactOffsetError,
    DataLossError,
    JobCancelledError,
    UnknownJobError,
    UnknownModelError,
)
from brainmets.runtime.grpc_client import rpc_errors
from brainmets.v1 import job_pb2, model_service_pb2, result_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from gateway_bench import LESION_DIAMETER_MM, PROBES, GatewayBench, study_bytes
from preparation_bench import VOXEL_MM
from service_calls import KINDS, STUDY, WAIT_S, ended, file_messages, job_of, refused, segment, start, submit, uploaded


async def test_a_study_goes_in_and_its_lesion_comes_out(working: GatewayBench) -> None:
    """One call: accepted, followed, and the lesion is where it was put, on the patient's left."""
    jobs, _ = await segment(working)
    assert jobs[-1].state == job_pb2.JOB_STATE_SUCCEEDED
    (lesion,) = jobs[-1].result.lesions
    assert lesion.longest_axial_diameter_mm == pytest.approx(LESION_DIAMETER_MM, abs=1.5)
    # RAS column 20, row 30, slice 24.
    place_mm = tuple(VOXEL_MM * index for index in (-20, -30, 24))
    centroid = lesion.centroid
    assert (centroid.x_mm, centroid.y_mm, centroid.z_mm) == pytest.approx(place_mm, abs=0.5)


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
    assert len(working.triton.time_left_s) == inferred


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


async def test_a_cancelled_job_stops_triton(working: GatewayBench) -> None:
    """Nothing is inferred for nobody."""
    working.triton.delay_s = 3600.0
    job = await submit(working, await uploaded(working))
    async with asyncio.timeout(30):
        while len(working.triton.time_left_s) <= PROBES:  # noqa: ASYNC110 -- what is waited for is a number
            await asyncio.sleep(0.02)
    await working.segmentation.CancelJob(messages.CancelJobRequest(job_id=job.job_id))
    started_s = time.monotonic()
    while working.triton.cancelled == 0:
        await asyncio.sleep(0.02)
        assert time.monotonic() - started_s < 30.0
    assert (await job_of(working, job.job_id)).state == job_pb2.JOB_STATE_CANCELLED
    working.triton.delay_s = 0.0


async def test_a_cancelled_call_cancels_its_job(bench: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that hangs up, and does not come back, does not want the study any more."""
    monkeypatch.setattr(submission, "RETURN_GRACE_S", 0.2)
    requests = [start(), *file_messages(messages.SegmentStudyRequest, STUDY)]
    call = bench.segmentation.SegmentStudy(iter(requests))
    job_id = (await call.read()).job.job_id  # type: ignore[union-attr]  # not the end
    call.cancel()
    async with asyncio.timeout(WAIT_S):
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


async def test_a_model_comes_with_its_points_and_its_card(bench: GatewayBench) -> None:
    """A client learns where the network can decide, and what is known of it."""
    answer = await bench.models.GetModel(model_service_pb2.GetModelRequest(model_name="nested_unet"))
    points = [(point.operating_point, point.threshold) for point in answer.model.operating_points]
    assert points == [
        (result_pb2.OPERATING_POINT_SENSITIVE, 0.2),
        (result_pb2.OPERATING_POINT_BALANCED, 0.5),
        (result_pb2.OPERATING_POINT_SPECIFIC, 0.8),
    ]
    assert answer.model_card["seed"] == 7
    assert list(answer.model_card["never_seen_in_training"]) == ["haemorrhage"]


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
    assert working.sample("gateway_submissions_total", code="OK") == 1
    assert working.sample("gateway_sent_bytes_total") == sum(len(content) for content in files.values())
