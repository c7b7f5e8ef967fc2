"""A model whose backend process died is brought back by unload and load, once, and a living one is left alone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_recovery import revive
from brainmets.imaging.errors import BrainmetsError, DependencyUnavailableError
from integration.running_stack import RunningStack, wait_until
from local.ports import HOST
from local.triton_values import infer, sample_model_tile

MODEL = "attention_unet"


@pytest.fixture
async def triton(stack: RunningStack) -> AsyncIterator[InferenceServerClient]:
    """A client of the stack's Triton, as the worker has one."""
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


async def count_successes(client: InferenceServerClient) -> int:
    """Return the model's inferences since it was loaded."""
    answer = await client.get_inference_statistics(MODEL)
    return sum(model.inference_stats.success.count for model in answer.model_stats)


async def test_a_dead_model_infers_again(stack: RunningStack, triton: InferenceServerClient) -> None:
    """Although Triton never said that it was dead."""
    await asyncio.to_thread(stack.kill_backend, MODEL)
    assert not await asyncio.to_thread(infers, stack)
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
    await asyncio.to_thread(stack.kill_backend, MODEL)
    assert not await asyncio.to_thread(infers, stack)
    await asyncio.gather(*(revive(triton, MODEL) for _ in range(4)))
    await asyncio.to_thread(wait_until, lambda: infers(stack), timeout_s=30)


async def test_a_model_that_is_not_there_is_an_error(triton: InferenceServerClient) -> None:
    """It cannot be loaded, and whoever asked must know."""
    with pytest.raises(BrainmetsError):
        await revive(triton, "no_such_model", longest_hesitation_s=0.0)


async def test_a_triton_out_of_reach_is_told_at_once() -> None:
    """Whoever starts beside it does not hesitate before asking again."""
    async with connect_triton(f"{HOST}:1") as nobody:
        with pytest.raises(DependencyUnavailableError):
            await asyncio.wait_for(revive(nobody, MODEL, longest_hesitation_s=3600.0), 30.0)
