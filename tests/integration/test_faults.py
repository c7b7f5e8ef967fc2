"""Processes are killed and frozen in the middle of a study, which ends SUCCEEDED all the same, and once."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmets.client import Client, Job
from integration.running_stack import LEASE_S, RunningStack, wait_until


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    """A client of the stack, which is whole again afterwards."""
    with stack.client() as connection:
        yield connection
    stack.wait_until_ready()


def start_study(client: Client, study: Path) -> Job:
    """Submit a study and return its job once some of its tiles are inferred, and not all."""
    job = client.submit(study, request_id=str(study))
    wait_until(lambda: client.job(job.job_id).tiles_done > 0, timeout_s=60)
    running = client.job(job.job_id)
    assert running.state == "running"
    assert running.tiles_done < running.tiles_total
    return running


def check_succeeds_once(client: Client, job: Job) -> None:
    """Wait for a job's end: it succeeds, with all artefacts, and is the only one."""
    segmentation = client.wait(job.job_id)
    assert segmentation.job.state == "succeeded"
    assert len(segmentation.files) == len(segmentation.job.artifacts) == 5
    assert [listed.job_id for listed in client.jobs()].count(job.job_id) == 1


def test_a_killed_workers_study_succeeds_once(stack: RunningStack, client: Client, large_head: Path) -> None:
    """Its lease runs out, and the next worker does the study again."""
    job = start_study(client, large_head)
    stack.kill("worker")
    stack.start("worker")
    check_succeeds_once(client, job)


@pytest.mark.fault
def test_a_killed_backend_process_is_brought_back(stack: RunningStack, client: Client, large_head: Path) -> None:
    """Triton goes on saying ready; the worker notices by inferring, and has the model loaded again."""
    job = start_study(client, large_head)
    stack.kill_backend("nested_unet")
    triton = stack.triton()
    assert triton.is_model_ready("nested_unet")
    triton.close()
    wait_until(lambda: not stack.inference_serves(), timeout_s=30)
    wait_until(stack.inference_serves, timeout_s=60)
    check_succeeds_once(client, job)


@pytest.mark.fault
def test_one_of_two_backend_processes_is_missed(stack: RunningStack, client: Client, large_head: Path) -> None:
    """Its network answers on, from the other; both are started anew, and nothing of before is left."""
    before = stack.find_backends("nested_unet")
    assert len(before) == 2
    job = start_study(client, large_head)
    stack.kill_backend("nested_unet", most=1)
    wait_until(lambda: not stack.inference_serves(), timeout_s=30)
    wait_until(stack.inference_serves, timeout_s=60)
    check_succeeds_once(client, job)

    def are_replaced() -> bool:
        now = stack.find_backends("nested_unet")
        return len(now) == 2 and not set(now) & set(before)

    wait_until(are_replaced, timeout_s=30)


@pytest.mark.fault
def test_a_killed_triton_is_waited_for(stack: RunningStack, client: Client, large_head: Path) -> None:
    """Tiles are repeated once it is back."""
    job = start_study(client, large_head)
    stack.kill("triton")
    time.sleep(3.0)
    assert client.job(job.job_id).state == "running"
    stack.start("triton")
    check_succeeds_once(client, job)


@pytest.mark.fault
def test_a_killed_preprocessing_is_waited_for(stack: RunningStack, client: Client, large_head: Path) -> None:
    """A study whose tiles can no longer be fetched is prepared again."""
    job = client.submit(large_head)
    wait_until(lambda: client.job(job.job_id).stage == "preparing", timeout_s=30)
    stack.kill("preprocessing")
    stack.start("preprocessing")
    check_succeeds_once(client, job)


@pytest.mark.fault
@pytest.mark.parametrize("pause_s", [0.3, 5.0])
def test_a_killed_redis_loses_nothing(stack: RunningStack, client: Client, large_head: Path, pause_s: float) -> None:
    """What was accepted is in its append-only file."""
    job = start_study(client, large_head)
    stack.kill("redis")
    time.sleep(pause_s)
    stack.start("redis")
    wait_until(lambda: _answers(client, job), timeout_s=30)
    check_succeeds_once(client, job)


@pytest.mark.fault
def test_a_worker_frozen_past_its_lease_does_not_end_the_study_twice(
    stack: RunningStack, client: Client, large_head: Path
) -> None:
    """Another attempt has the job by then, and the fence holds the frozen one off."""
    job = start_study(client, large_head)
    with stack.frozen("worker"):
        time.sleep(3 * LEASE_S)
    check_succeeds_once(client, job)


@pytest.mark.fault
def test_a_killed_api_loses_nothing(stack: RunningStack, client: Client, large_head: Path) -> None:
    """The study goes on without it, and the next one tells how it ended."""
    job = start_study(client, large_head)
    stack.kill("api")
    stack.start("api")
    wait_until(lambda: _answers(client, job), timeout_s=30)
    check_succeeds_once(client, job)


def _answers(client: Client, job: Job) -> bool:
    try:
        client.job(job.job_id)
    except Exception:  # noqa: BLE001 -- whatever it says while it comes back
        return False
    return True
