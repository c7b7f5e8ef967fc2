"""Inference: the port's contract for adapter and fake, and what only the adapter can do."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

import brainmets.gateway.deadline
from brainmets.gateway.deadline import Deadline
from brainmets.gateway.inference import TileInferencer
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_tile_inferencer import TritonTileInferencer
from brainmets.imaging.errors import DeadlineExceededError, InferenceFailedError, UnknownModelError
from fakes import FakeTileInferencer, FakeTriton, make_contract

TILE = np.random.default_rng(0).uniform(-1, 2, (4, 6, 32, 16)).astype(np.float32)
STUB_DIED = (grpc.StatusCode.INTERNAL, "Stub process 'nested_unet_0_0' is not healthy.")


@pytest.fixture
def triton() -> FakeTriton:
    """A Triton on loopback."""
    return FakeTriton()


@pytest.fixture
async def adapter(triton: FakeTriton) -> AsyncIterator[TritonTileInferencer]:
    """The adapter, connected to it."""
    async with triton.serve() as address, connect_triton(address) as client:
        yield TritonTileInferencer(client)


@pytest.fixture(params=["adapter", "fake"])
def inferencer(request: pytest.FixtureRequest, adapter: TritonTileInferencer) -> TileInferencer:
    """Adapter and fake in turn."""
    return adapter if request.param == "adapter" else FakeTileInferencer()


async def test_probability_has_the_tile_without_its_context(inferencer: TileInferencer) -> None:
    """A tile of 6 slices with a halo of 1 is decided in 4."""
    probability = await inferencer.infer(make_contract(), TILE, deadline=Deadline.after(5))
    np.testing.assert_array_equal(probability, np.clip(TILE[0, 1:-1], 0, 1))


async def test_nothing_is_inferred_after_the_deadline(inferencer: TileInferencer) -> None:
    """A deadline that has passed is an error at once."""
    with pytest.raises(DeadlineExceededError):
        await inferencer.infer(make_contract(), TILE, deadline=Deadline.after(0))


async def test_cancellation_reaches_triton(adapter: TritonTileInferencer, triton: FakeTriton) -> None:
    """A cancelled study stops its inferences at once."""
    triton.delay_s = 60
    task = asyncio.create_task(adapter.infer(make_contract(), TILE, deadline=Deadline.after(60)))
    while not triton.time_left_s:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.01)
    task.cancel()
    give_up = time.monotonic() + 10
    while triton.cancelled == 0:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)


async def test_deadline_reaches_triton(adapter: TritonTileInferencer, triton: FakeTriton) -> None:
    """Triton sees the time the job has left, which gRPC rounds up on its way."""
    await adapter.infer(make_contract(), TILE, deadline=Deadline.after(20))
    assert 0.0 < triton.time_left_s[0] < 21.0


async def test_tiles_go_to_all_tritons_in_turn() -> None:
    """Those of one study too: its networks are the same everywhere."""
    tritons = FakeTriton(), FakeTriton()
    async with (
        tritons[0].serve() as first,
        tritons[1].serve() as second,
        connect_triton(f"ipv4:{first},{second}") as client,
        asyncio.timeout(10),
    ):
        adapter = TritonTileInferencer(client)
        while not all(triton.time_left_s for triton in tritons):
            await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
        before = [len(triton.time_left_s) for triton in tritons]
        for _ in range(6):
            await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
    assert [len(triton.time_left_s) - count for triton, count in zip(tritons, before, strict=True)] == [3, 3]


async def test_a_study_keeps_its_network_amid_a_roll_out() -> None:
    """A Triton that has other weights already has no part in it, and costs no pause."""
    old, new = FakeTriton(), FakeTriton(version="2", answer_offset=0.25)
    async with (
        old.serve() as first,
        new.serve() as second,
        connect_triton(f"ipv4:{first},{second}") as client,
        asyncio.timeout(10),
    ):
        adapter = TritonTileInferencer(client)
        while not (old.time_left_s and new.time_left_s):
            await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
        start_s = time.monotonic()
        for _ in range(20):
            probability = await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
            np.testing.assert_array_equal(probability, np.clip(TILE[0, 1:-1], 0, 1))
        assert time.monotonic() - start_s < 20 * brainmets.gateway.deadline.FIRST_PAUSE_S


async def test_a_network_that_comes_back_is_waited_for(
    adapter: TritonTileInferencer, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a roll-out is taken back."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 0.1)
    triton.version = "2"
    task = asyncio.create_task(adapter.infer(make_contract(), TILE, deadline=Deadline.after(60)))
    while not triton.time_left_s:  # noqa: ASYNC110 -- what is waited for is a list
        await asyncio.sleep(0.01)
    triton.version = "1"
    assert (await task).shape == (4, 32, 16)


async def test_a_network_that_is_gone_is_told_before_the_deadline(
    adapter: TritonTileInferencer, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its study can be planned anew, with the one that took its place."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 0.02)
    triton.version = "2"
    with pytest.raises(UnknownModelError):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(60))


@pytest.mark.parametrize("refusal", [STUB_DIED, (grpc.StatusCode.UNAVAILABLE, "restarting")])
async def test_dead_backend_is_waited_for(
    adapter: TritonTileInferencer,
    triton: FakeTriton,
    monkeypatch: pytest.MonkeyPatch,
    refusal: tuple[grpc.StatusCode, str],
) -> None:
    """A backend that comes back answers the same tile."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 0.02)
    triton.refusals = [refusal, refusal]
    probability = await adapter.infer(make_contract(), TILE, deadline=Deadline.after(60))
    assert probability.shape == (4, 32, 16)


async def test_backend_that_stays_dead_fails_by_the_deadline(
    adapter: TritonTileInferencer, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job then says that inference was not available."""
    monkeypatch.setattr(brainmets.gateway.deadline, "FIRST_PAUSE_S", 60.0)
    triton.refusals = [STUB_DIED] * 100
    with pytest.raises(InferenceFailedError, match="stayed unavailable"):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(20.0))


async def test_a_slow_network_is_late_and_not_unavailable(adapter: TritonTileInferencer, triton: FakeTriton) -> None:
    """A Triton that computes when the time is up need not be restarted."""
    triton.delay_s = 60
    with pytest.raises(DeadlineExceededError):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(0.5))


async def test_a_backend_that_died_before_the_time_was_up_is_unavailable(
    adapter: TritonTileInferencer, triton: FakeTriton
) -> None:
    """Even if the last call of all got no answer in time."""
    triton.refusals = [STUB_DIED]
    triton.delay_s = 60
    with pytest.raises(InferenceFailedError, match="stayed unavailable"):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(2.0))


async def test_refused_tile_is_not_repeated(adapter: TritonTileInferencer, triton: FakeTriton) -> None:
    """A tile the network cannot take is an error at once."""
    triton.refusals = [(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape")]
    with pytest.raises(InferenceFailedError):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
    assert len(triton.time_left_s) == 1


@pytest.mark.parametrize("offset", [0.5, -0.5, float("nan")])
async def test_answer_outside_zero_to_one_is_no_probability(
    adapter: TritonTileInferencer, triton: FakeTriton, offset: float
) -> None:
    """A network that answers something else never makes a mask."""
    triton.answer_offset = offset
    with pytest.raises(InferenceFailedError, match="no probability"):
        await adapter.infer(make_contract(), TILE, deadline=Deadline.after(5))
