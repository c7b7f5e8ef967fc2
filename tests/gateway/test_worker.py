"""A worker claims, works and records; whatever happens to an attempt, its job ends, and ends once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.exceptions
import structlog.testing
from google.rpc import status_pb2

import brainmets.gateway.attempt
import brainmets.gateway.deadline
import brainmets.gateway.heartbeat
import brainmets.gateway.redis_records
import brainmets.gateway.worker
from brainmets.gateway.jobs import DEFAULT_TENANT, Claim, Completion, FailureReason, Job, JobState
from brainmets.gateway.outputs import check_digest
from brainmets.gateway.redis_connection import tenant_key
from brainmets.gateway.study_upload import FileClosing, FileOpening, UploadPiece
from brainmets.gateway.submission import SubmissionOrder
from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.runtime.network_version import name_version
from brainmets.v1 import job_pb2, result_pb2
from gateway_bench import PROBES, GatewayBench, running_gateway, study_bytes
from job_cases import claim_now, expire_lease

STUDY = study_bytes()
WAIT_S = 30.0
# Beyond every wait.
HANGS_S = 3600.0
TILES_IN_FLIGHT = 4


@pytest.fixture
async def bench(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatewayBench]:
    """A gateway whose leases do not run out by themselves, and whose worker is told soon of a loss."""
    monkeypatch.setattr(brainmets.gateway.heartbeat, "LONGEST_PAUSE_S", 0.2)
    limits = {"lease_s": 30.0, "max_attempts": 2, "tiles_in_flight": TILES_IN_FLIGHT}
    async with running_gateway(redis_url, (tmp_path / "artifacts").as_uri(), **limits) as running:
        yield running


async def pieces(content: bytes) -> AsyncIterator[UploadPiece]:
    """Send one file."""
    yield FileOpening(0, MediaType.NIFTI, Sequence.T1C, 0)
    yield content
    yield FileClosing(hashlib.sha256(content).digest())


async def submitted(
    bench: GatewayBench, content: bytes = STUDY, *, options: bytes = b"", deadline_s: float = 60.0
) -> Job:
    """Submit a study."""
    return await bench.desk.accept(DEFAULT_TENANT, pieces(content), SubmissionOrder("", options, deadline_s))


async def ended(bench: GatewayBench, job: Job) -> Job:
    """Return a job once it has ended."""
    async with asyncio.timeout(WAIT_S):
        async for change in bench.stores.jobs.watch(DEFAULT_TENANT, job.job_id):
            job = change
    return job


async def inferring(bench: GatewayBench) -> None:
    """Return once the first job's tiles are at Triton, after the probes."""
    async with asyncio.timeout(WAIT_S):
        while len(bench.triton.time_left_s) <= PROBES:  # noqa: ASYNC110 -- what is waited for is a number
            await asyncio.sleep(0.02)


async def breaks(claim: Claim) -> None:
    """Fail as nobody expected."""
    raise ZeroDivisionError(f"the name of a patient in {claim.job.job_id}")


def replace_segment(bench: GatewayBench, attempt: Callable[[Claim], Awaitable[object]]) -> None:
    """Let the worker's attempts do something else."""

    class Replaced:
        metrics = bench.crew.worker._attempts.metrics  # noqa: SLF001 -- the same meters

        async def segment(self, claim: Claim) -> object:
            return await attempt(claim)

    bench.crew.worker._attempts = Replaced()  # type: ignore[assignment]  # noqa: SLF001 -- only its method is called


async def test_a_claimed_job_succeeds(bench: GatewayBench) -> None:
    """Result, files and cache entry are recorded together."""
    job = await submitted(bench)
    async with bench.working():
        job = await ended(bench, job)
    assert job.state is JobState.SUCCEEDED
    assert len(job.artifacts) == 5
    assert job.attempt == 1


async def test_a_study_whose_networks_are_replaced_begins_again_with_the_new_ones(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same attempt; what is recorded is the digest of what ran."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 0.02)
    digest = "cd" * 32
    job = await submitted(bench)
    async with bench.working():
        bench.triton.delay_s = 0.2
        await inferring(bench)
        bench.triton.version, bench.triton.onnx_sha256, bench.triton.delay_s = name_version(digest), digest, 0.0
        job = await ended(bench, job)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    result = result_pb2.SegmentationResult.FromString(job.result)
    assert {(model.model_version, model.onnx_sha256) for model in result.models} == {(name_version(digest), digest)}


async def test_an_unreadable_study_fails_with_its_reason(bench: GatewayBench) -> None:
    """At the first attempt: the same bytes would fail again."""
    job = await submitted(bench, STUDY[:5000])
    async with bench.working():
        job = await ended(bench, job)
    assert job.failure is not None
    assert job.failure.reason is FailureReason.INVALID_STUDY
    assert job.attempt == 1


async def test_an_unexpected_error_ends_failed(bench: GatewayBench) -> None:
    """With a reason, and nothing of what the exception said."""
    replace_segment(bench, breaks)
    job = await submitted(bench)
    async with bench.working():
        job = await ended(bench, job)
    assert job.failure is not None
    assert job.failure.reason is FailureReason.INTERNAL
    status = status_pb2.Status.FromString(job.failure.status)
    assert "ZeroDivisionError" in status.message
    assert "patient" not in str(status)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ModelContractError("Another target", expected="tumour core", got="oedema", remedy="load the right model"),
    ],
)
async def test_whoever_looks_for_a_study_that_broke_finds_where(bench: GatewayBench, error: Exception) -> None:
    """Of each that failed with INTERNAL, as the runbook says, whether the error is one of ours or not."""

    async def breaks_so(_: Claim) -> None:
        raise error

    replace_segment(bench, breaks_so)
    with structlog.testing.capture_logs() as events:
        job = await submitted(bench)
        async with bench.working():
            await ended(bench, job)
    (event,) = [event for event in events if event["event"] == "attempt_broke"]
    assert (event["job_id"], event["kind"]) == (job.job_id, type(error).__name__)
    assert event["where"][-1].startswith("breaks_so:")


async def test_a_study_that_cannot_be_read_is_no_study_that_broke(bench: GatewayBench) -> None:
    """It is its sender's to mend."""
    with structlog.testing.capture_logs() as events:
        job = await submitted(bench, STUDY[:5000])
        async with bench.working():
            await ended(bench, job)
    assert "attempt_broke" not in {event["event"] for event in events}


async def test_a_result_that_cannot_be_recorded_ends_failed(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first attempt, for the next would find the same; it is counted as what became of it."""
    monkeypatch.setattr(brainmets.gateway.redis_records, "MAX_RESULT_BYTES", 10)
    job = await submitted(bench)
    with structlog.testing.capture_logs() as events:
        async with bench.working():
            job = await ended(bench, job)
    assert job.failure is not None
    assert job.failure.reason is FailureReason.INTERNAL
    assert "attempt_broke" in {event["event"] for event in events}
    assert "too large" in status_pb2.Status.FromString(job.failure.status).message
    assert job.attempt == 1
    assert bench.sample("worker_attempts_total", outcome="failed") == 1
    assert bench.sample("worker_attempts_total", outcome="succeeded") == 0


async def test_an_attempt_cancelled_while_it_is_recorded_is_counted_as_cancelled(bench: GatewayBench) -> None:
    """Its result is nobody's."""

    async def cancels(claim: Claim) -> Completion:
        # The heartbeat does not notice in time.
        await bench.stores.jobs.cancel(DEFAULT_TENANT, claim.job.job_id)
        return Completion(b"result", ())

    replace_segment(bench, cancels)
    job = await submitted(bench)
    async with bench.working():
        job = await ended(bench, job)
        async with asyncio.timeout(WAIT_S):
            while bench.sample("worker_attempts_total", outcome="cancelled") != 1:  # noqa: ASYNC110 -- a metric
                await asyncio.sleep(0.02)
    assert job.state is JobState.CANCELLED
    assert bench.sample("worker_attempts_total", outcome="succeeded") == 0


async def test_the_worker_goes_on_after_an_unexpected_error(bench: GatewayBench) -> None:
    """The next job is claimed as if nothing had been."""
    replace_segment(bench, breaks)
    jobs = [await submitted(bench), await submitted(bench)]
    async with bench.working():
        states = [(await ended(bench, job)).state for job in jobs]
    assert states == [JobState.FAILED, JobState.FAILED]


async def test_a_cancelled_job_stays_cancelled(bench: GatewayBench) -> None:
    """The attempt stops, and records nothing."""
    async with bench.working():
        bench.triton.delay_s = HANGS_S
        job = await submitted(bench)
        await inferring(bench)
        await bench.stores.jobs.cancel(DEFAULT_TENANT, job.job_id)
        async with asyncio.timeout(WAIT_S):
            while bench.sample("worker_attempts_total", outcome="cancelled") == 0:  # noqa: ASYNC110 -- a number
                await asyncio.sleep(0.02)
    assert (await ended(bench, job)).state is JobState.CANCELLED
    assert await bench.stores.artifacts.list_paths(f"jobs/{job.job_id}/") == ()


async def test_a_lost_lease_ends_the_attempt_without_an_outcome(bench: GatewayBench) -> None:
    """Whoever has the job now decides how it ends."""
    begun, going_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Claim) -> None:
        begun.set()
        await going_on.wait()

    replace_segment(bench, wait)
    job = await submitted(bench)
    async with bench.working():
        await begun.wait()
        # As if the worker had been frozen: the lease is another's although the heartbeat goes on.
        await bench.stores.client.hset(f"brainmets:{{{DEFAULT_TENANT}}}:job:{job.job_id}", "holder", "another")
        async with asyncio.timeout(WAIT_S):
            while bench.sample("worker_attempts_total", outcome="cancelled") == 0:  # noqa: ASYNC110 -- a number
                await asyncio.sleep(0.02)
    job = await bench.stores.jobs.read(DEFAULT_TENANT, job.job_id)
    assert job.state is JobState.RUNNING


async def test_a_worker_that_is_cancelled_leaves_no_attempt_behind(bench: GatewayBench) -> None:
    """What it began would go on inferring for nobody, with a lease that nobody renews."""
    async with bench.working():
        bench.triton.delay_s = HANGS_S
        await submitted(bench)
        await inferring(bench)
    async with asyncio.timeout(WAIT_S):
        while any("_outcome_of" in repr(task.get_coro()) for task in asyncio.all_tasks()):  # noqa: ASYNC110 -- tasks
            await asyncio.sleep(0.02)


async def test_a_worker_that_breaks_leaves_no_attempt_behind(bench: GatewayBench) -> None:
    """Its process ends, and closes the stores under whatever goes on."""
    begun = asyncio.Event()

    async def wait(claim: Claim) -> Completion:
        if begun.is_set():
            # Nothing can be recorded of a job that is no hash.
            await bench.stores.client.set(f"brainmets:{{{DEFAULT_TENANT}}}:job:{claim.job.job_id}", b"")
            return Completion(b"result", ())
        begun.set()
        await asyncio.sleep(HANGS_S)
        raise AssertionError

    replace_segment(bench, wait)
    watching = asyncio.create_task(bench.crew.inference.watch())
    work = asyncio.create_task(bench.crew.worker.run(asyncio.Event()))
    await submitted(bench)
    await begun.wait()
    await submitted(bench, study_bytes(seed=1))
    with pytest.raises(redis.exceptions.ResponseError):
        await work
    watching.cancel()
    assert not any("_outcome_of" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_a_job_of_a_lost_worker_is_taken_over(bench: GatewayBench) -> None:
    """Its second attempt succeeds."""
    job = await submitted(bench)
    await expire_lease(bench.stores.client, await claim_now(bench.stores.jobs, worker="lost"))
    async with bench.working():
        job = await ended(bench, job)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


async def test_attempts_are_bounded(bench: GatewayBench) -> None:
    """A study that kills its workers is given up, and says so."""
    job = await submitted(bench)
    for _ in range(2):
        await expire_lease(bench.stores.client, await claim_now(bench.stores.jobs, worker="lost"))
    async with bench.working():
        job = await ended(bench, job)
    assert job.failure is not None
    assert job.failure.reason is FailureReason.ATTEMPTS_EXHAUSTED


async def test_a_job_ends_at_its_deadline(bench: GatewayBench) -> None:
    """Networks that hang do not hold a job for ever."""
    async with bench.working():
        bench.triton.delay_s = HANGS_S
        job = await ended(bench, await submitted(bench, deadline_s=2.0))
        bench.triton.delay_s = 0.0
    assert job.failure is not None
    assert job.failure.reason is FailureReason.DEADLINE_EXCEEDED


async def waiting_for_its_turn(bench: GatewayBench, deadline_s: float = 60.0) -> tuple[Job, Job]:
    """Return a job whose networks hang, and the next one, once that is prepared or has ended."""
    bench.triton.delay_s = HANGS_S
    first = await submitted(bench)
    await inferring(bench)
    second = await submitted(bench, study_bytes(seed=1), deadline_s=deadline_s)
    async with asyncio.timeout(WAIT_S):
        while bench.sample("worker_rpcs_total", method="PrepareStudy", code="OK") < 2:
            if (await bench.stores.jobs.read(DEFAULT_TENANT, second.job_id)).state.is_final:
                break
            await asyncio.sleep(0.02)
    return first, second


async def test_the_next_study_is_prepared_while_one_is_inferred(bench: GatewayBench) -> None:
    """It sends no tile before its turn, which comes when the one before it has ended."""
    async with bench.working():
        first, second = await waiting_for_its_turn(bench)
        await asyncio.sleep(0.2)
        # The first one's, after a probe of each network.
        assert len(bench.triton.time_left_s) <= PROBES + TILES_IN_FLIGHT
        bench.triton.delay_s = 0.0
        await bench.stores.jobs.cancel(DEFAULT_TENANT, first.job_id)
        assert (await ended(bench, second)).state is JobState.SUCCEEDED
    assert (await ended(bench, first)).state is JobState.CANCELLED


async def test_a_study_whose_turn_does_not_come_ends_at_its_deadline(bench: GatewayBench) -> None:
    """Networks that hang over one study do not hold the next for ever."""
    async with bench.working():
        _, second = await waiting_for_its_turn(bench, deadline_s=3.0)
        second = await ended(bench, second)
    assert second.failure is not None
    assert second.failure.reason is FailureReason.DEADLINE_EXCEEDED


async def test_a_worker_that_is_told_to_stop_gives_every_study_back(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is inferred, and the one that waits."""
    monkeypatch.setattr(brainmets.gateway.worker, "SHUTDOWN_GRACE_S", 0.1)
    async with stoppable(bench) as stopping:
        jobs = await waiting_for_its_turn(bench)
        stopping.set()
    claims = [await bench.stores.jobs.claim(DEFAULT_TENANT, "next", block_s=1) for _ in jobs]
    assert {claim.job.job_id for claim in claims if claim} == {job.job_id for job in jobs}
    assert [claim.job.attempt for claim in claims if claim] == [1, 1]


async def test_nothing_is_claimed_while_inference_fails(bench: GatewayBench) -> None:
    """A job waits in the queue, not in the hands of a worker that can do nothing."""
    bench.triton.answer_offset = 5.0
    job = await submitted(bench)
    watching = asyncio.create_task(bench.crew.inference.watch())
    stopping = asyncio.Event()
    work = asyncio.create_task(bench.crew.worker.run(stopping))
    await asyncio.sleep(0.5)
    stopping.set()
    await work
    watching.cancel()
    assert (await bench.stores.jobs.read(DEFAULT_TENANT, job.job_id)).state is JobState.QUEUED


async def test_a_worker_that_is_told_to_stop_finishes_its_study(bench: GatewayBench) -> None:
    """SIGTERM loses no work that is nearly done."""
    async with stoppable(bench) as stopping:
        bench.triton.delay_s = 0.05
        job = await submitted(bench)
        await inferring(bench)
        stopping.set()
    assert (await ended(bench, job)).state is JobState.SUCCEEDED


async def test_a_worker_that_cannot_wait_gives_its_study_back(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is queued again, and the attempt does not count."""
    monkeypatch.setattr(brainmets.gateway.worker, "SHUTDOWN_GRACE_S", 0.1)
    async with stoppable(bench) as stopping:
        bench.triton.delay_s = HANGS_S
        job = await submitted(bench)
        await inferring(bench)
        stopping.set()
    claim = await bench.stores.jobs.claim(DEFAULT_TENANT, "next", block_s=1)
    assert claim is not None
    assert (claim.job.job_id, claim.job.attempt) == (job.job_id, 1)


@asynccontextmanager
async def stoppable(bench: GatewayBench) -> AsyncIterator[asyncio.Event]:
    """Let the worker work until it is told to stop, and wait for it."""
    stopping = asyncio.Event()
    watching = asyncio.create_task(bench.crew.inference.watch())
    work = asyncio.create_task(bench.crew.worker.run(stopping))
    await bench.crew.inference.wait_until_serving()
    try:
        yield stopping
    finally:
        stopping.set()
        await asyncio.wait_for(work, WAIT_S)
        watching.cancel()


async def test_a_result_already_computed_is_copied(bench: GatewayBench) -> None:
    """The second job has files of its own, with the same bytes."""
    async with bench.working():
        first = await ended(bench, await submitted(bench))
        second = await ended(bench, await submitted(bench))
    assert second.from_cache
    assert [artifact.sha256 for artifact in second.artifacts] == [artifact.sha256 for artifact in first.artifacts]
    assert not {artifact.path for artifact in second.artifacts} & {artifact.path for artifact in first.artifacts}
    assert bench.sample("worker_cache_hits_total") == 1


async def test_a_cached_result_whose_files_are_gone_is_computed_anew(bench: GatewayBench) -> None:
    """A cache that lost something is no reason to fail."""
    async with bench.working():
        first = await ended(bench, await submitted(bench))
        await bench.stores.artifacts.delete_prefix(first.prefix)
        second = await ended(bench, await submitted(bench))
    assert second.state is JobState.SUCCEEDED
    assert not second.from_cache


async def test_a_cached_result_whose_files_are_damaged_is_computed_anew(bench: GatewayBench) -> None:
    """And its successor takes its place, so that the damage is told once and copied never."""
    async with bench.working():
        first = await ended(bench, await submitted(bench))
        await bench.stores.artifacts.put(first.artifacts[0].path, bytes(first.artifacts[0].size_bytes))
        second = await ended(bench, await submitted(bench))
        third = await ended(bench, await submitted(bench))
    assert second.state is JobState.SUCCEEDED
    assert (second.from_cache, third.from_cache) == (False, True)
    for artifact in (*second.artifacts, *third.artifacts):
        await check_digest(bench.stores.artifacts, artifact)


async def test_a_result_leaves_the_cache_with_the_job_that_computed_it(bench: GatewayBench) -> None:
    """And not with the last job that it answered, which keeps its own files."""
    async with bench.working():
        first = await ended(bench, await submitted(bench))
        second = await ended(bench, await submitted(bench))
        await bench.stores.client.zadd(tenant_key(DEFAULT_TENANT, "results"), {first.job_id: 1})
        await bench.stores.jobs.sweep(DEFAULT_TENANT)
        await bench.stores.artifacts.delete_prefix(first.prefix)
        third = await ended(bench, await submitted(bench))
    assert (second.from_cache, third.from_cache) == (True, False)
    for artifact in second.artifacts:
        await check_digest(bench.stores.artifacts, artifact)


async def test_a_result_of_another_build_is_no_answer(bench: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was mended computes again; the version may be the same."""
    async with bench.working():
        await ended(bench, await submitted(bench))
        monkeypatch.setattr(brainmets.gateway.attempt, "identify_build", lambda: "mended")
        mended = await ended(bench, await submitted(bench))
    assert not mended.from_cache


async def test_what_a_worker_did_is_counted(bench: GatewayBench) -> None:
    """Attempts, stages, tiles of each network, lesions, and bytes in and out."""
    async with bench.working():
        job = await ended(bench, await submitted(bench))
    assert bench.sample("worker_attempts_total", outcome="succeeded") == 1
    for stage in ("preparing", "inferring", "measuring", "writing"):
        assert bench.sample("worker_stage_duration_seconds_count", stage=stage) == 1
    tiles = {bench.sample("worker_tiles_total", model=name) for name in ("nested_unet", "attention_unet")}
    assert len(tiles) == 1
    assert tiles.pop() > 0
    assert bench.sample("worker_study_lesions_count") == 1
    # Both fake networks answer the same.
    assert bench.sample("worker_network_agreement_sum") == 1
    assert bench.sample("worker_model_digest", model="nested_unet") == 0xABABABABABAB
    assert bench.sample("worker_written_bytes_total") == sum(artifact.size_bytes for artifact in job.artifacts)
    assert bench.sample("worker_received_bytes_total") > 0
    assert bench.sample("worker_rpcs_total", method="PrepareStudy", code="OK") == 1


CLINICAL = (
    "study_lesions",
    "lesion_volume_mm3",
    "study_spacing_mm",
    "study_intensity_ceiling_deviations",
    "network_agreement",
)


@pytest.mark.parametrize("test", [False, True])
async def test_a_test_is_no_patient_s(bench: GatewayBench, *, test: bool) -> None:
    """It is told of as work and as a job that ended, and not as a study with lesions and slices."""
    options = job_pb2.SegmentationOptions(test=test).SerializeToString()
    async with bench.working():
        await ended(bench, await submitted(bench, options=options))
    assert {bench.sample(f"worker_{name}_count") > 0 for name in CLINICAL} == {not test}
    assert bench.sample("worker_test_studies_total") == test
    assert bench.sample("worker_attempts_total", outcome="succeeded") == 1
    assert bench.sample("worker_stage_duration_seconds_count", stage="writing") == 1
    ledger = await bench.stores.jobs.ledger(DEFAULT_TENANT)
    assert sum(ledger.ended.values()) == sum(ledger.turnarounds["succeeded"].counts.values()) == 1


async def test_a_failure_is_counted_by_its_reason(bench: GatewayBench) -> None:
    """Operators see what studies fail of."""
    async with bench.working():
        await ended(bench, await submitted(bench, STUDY[:5000]))
    assert bench.sample("worker_failures_total", reason="invalid_study") == 1
    assert bench.sample("worker_attempts_total", outcome="failed") == 1
