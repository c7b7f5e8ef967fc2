"""A model whose backend process died is brought back by unload and load, once, and a living one is left alone."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_recovery import is_loading, revive
from brainmets.imaging.errors import BrainmetsError, DependencyUnavailableError
from integration.running_stack import RunningStack, wait_until
from local.ports import HOST
from local.triton_values import infer, sample_model_tile

MODEL = "attention_unet"
WAIT_S = 30.0


@pytest.fixture
async def triton(stack: RunningStack) -> AsyncIterator[InferenceServerClient]:
    """A client of the stack's Triton, as the worker has one."""
    # The worker would bring it back as well.
    with stack.frozen("worker"):
        async with connect_triton(f"{HOST}:{stack.place.ports.triton}") as client:
            # Whatever inferences failed before, they were of a model that is loaded anew now.
            await revive(client, MODEL, longest_hesitation_s=0.0)
            yield client


def infer_once(stack: RunningStack) -> None:
    """Run the model on a small tile."""
    client = stack.triton()
    try:
        infer(client, MODEL, sample_model_tile(client, MODEL))
    finally:
        client.close()


def infers(stack: RunningStack) -> bool:
    """Return whether the model infers."""
    try:
        infer_once(stack)
    except Exception:  # noqa: BLE001 -- whatever Triton says of a dead backend
        return False
    return True


async def kill(stack: RunningStack, client: InferenceServerClient) -> None:
    """Kill the model's backend; return once Triton has counted a failure, which it does a moment after it answered."""
    await asyncio.to_thread(stack.kill_backend, MODEL)
    assert not await asyncio.to_thread(infers, stack)
    async with asyncio.timeout(WAIT_S):
        while not any(model.inference_stats.fail.count for model in await read_statistics(client)):  # noqa: ASYNC110 -- Triton is asked
            await asyncio.sleep(0.02)


async def loading(client: InferenceServerClient) -> None:
    """Return once Triton says that it loads the model."""
    async with asyncio.timeout(WAIT_S):
        while not await is_loading(client, MODEL):  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.02)


async def read_statistics(client: InferenceServerClient) -> list[Any]:
    """Return what Triton has counted of each version since it was loaded."""
    return list((await client.get_inference_statistics(MODEL)).model_stats)


async def count_successes(client: InferenceServerClient) -> int:
    """Return the model's inferences since it was loaded."""
    return sum(model.inference_stats.success.count for model in await read_statistics(client))


async def test_a_dead_model_infers_again(stack: RunningStack, triton: InferenceServerClient) -> None:
    """Although Triton never said that it was dead."""
    await kill(stack, triton)
    await revive(triton, MODEL, longest_hesitation_s=0.0)
    await asyncio.to_thread(wait_until, lambda: infers(stack), timeout_s=30)


async def test_a_living_model_is_left_alone(stack: RunningStack, triton: InferenceServerClient) -> None:
    """Triton counts from each load anew, and this one goes on counting."""
    await asyncio.to_thread(infer_once, stack)
    before = await count_successes(triton)
    await revive(triton, MODEL, longest_hesitation_s=0.0)
    assert await count_successes(triton) >= before > 0


@pytest.mark.fault
async def test_several_may_bring_it_back_at_once(stack: RunningStack, triton: InferenceServerClient) -> None:
    """As several workers do, which notice at the same moment."""
    await kill(stack, triton)
    await asyncio.gather(*(revive(triton, MODEL) for _ in range(4)))
    await asyncio.to_thread(wait_until, lambda: infers(stack), timeout_s=30)


@pytest.mark.fault
async def test_who_comes_while_it_is_loaded_waits(stack: RunningStack, triton: InferenceServerClient) -> None:
    """And finds it alive, in place of unloading what has just come back."""
    with capture_logs() as events:
        await kill(stack, triton)
        first = asyncio.create_task(revive(triton, MODEL, longest_hesitation_s=0.0))
        await loading(triton)
        await asyncio.gather(first, *(revive(triton, MODEL, longest_hesitation_s=0.0) for _ in range(3)))
        assert await asyncio.to_thread(infers, stack)
    assert [event["event"] for event in events] == ["model_loaded_again"]


async def test_a_model_that_is_not_there_is_an_error(triton: InferenceServerClient) -> None:
    """It cannot be loaded, and whoever asked must know."""
    with pytest.raises(BrainmetsError):
        await revive(triton, "no_such_model", longest_hesitation_s=0.0)


async def test_a_triton_out_of_reach_is_told_at_once() -> None:
    """Whoever starts beside it does not hesitate before asking again."""
    async with connect_triton(f"{HOST}:1") as nobody:
        with pytest.raises(DependencyUnavailableError):
            await asyncio.wait_for(revive(nobody, MODEL, longest_hesitation_s=3600.0), 30.0)
