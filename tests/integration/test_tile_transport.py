"""Tiles reach the real Triton inside the call and through shared memory: the same answer, nothing left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway import tile_transport, triton_tile_inferencer
from brainmets.gateway.deadline import Deadline
from brainmets.gateway.model_contract import ModelContract, read_contract
from brainmets.gateway.tile_transport import SharedMemoryTransport
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.gateway.triton_tile_inferencer import TritonTileInferencer
from brainmets.imaging.errors import DependencyUnavailableError
from integration.running_stack import RunningStack, wait_until
from local.ports import HOST

SHARED_MEMORY = Path("/dev/shm")
KILLED_AMID_A_TILE = """
import asyncio, os, signal, sys
import numpy as np
from brainmets.gateway.tile_transport import SharedMemoryTransport
from brainmets.gateway.triton_connection import connect_triton

async def main():
    async with connect_triton(sys.argv[1]) as client:
        async with SharedMemoryTransport(client).place(np.zeros((4, 5, 32, 32), np.float32)):
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
async def triton(stack: RunningStack) -> AsyncIterator[InferenceServerClient]:
    """A client of the stack's Triton."""
    async with connect_triton(f"{HOST}:{stack.place.ports.triton}") as client:
        yield client


@pytest.fixture
async def model(triton: InferenceServerClient) -> ModelContract:
    """The quicker of the networks."""
    return read_contract(await TritonModelCatalogue(triton).describe("attention_unet"))


@pytest.fixture
async def shared(triton: InferenceServerClient) -> AsyncIterator[SharedMemoryTransport]:
    """A transport through shared memory."""
    transport = SharedMemoryTransport(triton)
    yield transport
    await transport.close()


def make_tile(model: ModelContract, *, size: int = 32, seed: int = 0) -> NDArray[np.float32]:
    """Return a tile that the network takes."""
    shape = (len(model.tiles.sequences), 2 + 2 * model.tiles.halo, size, size)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def regions_of(pid: int) -> list[Path]:
    """Return the regions of a process's tiles."""
    return sorted(SHARED_MEMORY.glob(f"brainmets_tile_{pid}_*"))


async def infer(
    triton: InferenceServerClient, model: ModelContract, tile: NDArray[np.float32], **transport: SharedMemoryTransport
) -> NDArray[np.float32]:
    """Return a tile's probability."""
    return await TritonTileInferencer(triton, **transport).infer(model, tile, deadline=Deadline.after(30))


async def test_both_ways_answer_the_same(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport
) -> None:
    """Bit for bit, also when a region is used again for another tile."""
    for seed in range(3):
        tile = make_tile(model, seed=seed)
        through_memory = await infer(triton, model, tile, transport=shared)
        np.testing.assert_array_equal(through_memory, await infer(triton, model, tile))


async def test_a_tile_is_inferred_where_it_was_written(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport
) -> None:
    """By one network after the other, from one region and without a copy."""
    others = set(regions_of(os.getpid()))
    inferencer = TritonTileInferencer(triton, transport=shared)
    expected = make_tile(model)
    d, h, w = expected.shape[1:]
    async with inferencer.hold((len(expected), d, h, w)) as voxels:
        voxels[:] = expected
        assert len(set(regions_of(os.getpid())) - others) == 1
        answers = [await inferencer.infer(model, voxels, deadline=Deadline.after(30)) for _ in range(2)]
        assert len(set(regions_of(os.getpid())) - others) == 1
    for answer in answers:
        np.testing.assert_array_equal(answer, await infer(triton, model, expected))


async def is_known(triton: InferenceServerClient, regions: set[Path]) -> bool:
    """Return whether Triton knows any of some regions."""
    status = await triton.get_system_shared_memory_status()
    return any(region.name in status.regions for region in regions)


async def test_tiles_at_a_time_do_not_mix(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport
) -> None:
    """Each inference has a region of its own."""
    tiles = [make_tile(model, size=size, seed=size) for size in (32, 64, 48, 32)]
    answers = await asyncio.gather(*(infer(triton, model, tile, transport=shared) for tile in tiles))
    for tile, answer in zip(tiles, answers, strict=True):
        np.testing.assert_array_equal(answer, await infer(triton, model, tile))


async def test_a_region_serves_tiles_of_any_size(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport
) -> None:
    """The next slab is larger, and no region is made and told of anew for it."""
    others = set(regions_of(os.getpid()))
    regions = []
    for size in (16, 64, 32):
        await infer(triton, model, make_tile(model, size=size), transport=shared)
        regions.append(set(regions_of(os.getpid())) - others)
    assert regions == [regions[0]] * 3
    assert len(regions[0]) == 1


async def test_a_triton_that_forgot_the_memory_is_told_again(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport
) -> None:
    """As after a restart, without which the worker would have to be restarted too."""
    before = await infer(triton, model, make_tile(model), transport=shared)
    await triton.unregister_system_shared_memory()
    np.testing.assert_array_equal(before, await infer(triton, model, make_tile(model), transport=shared))


async def test_a_call_that_broke_off_is_repeated(
    triton: InferenceServerClient, model: ModelContract, shared: SharedMemoryTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton computes on, and keeps the memory that it reads: that passes, and is no refusal."""
    # Large enough to be computed for a while.
    shape = (len(model.tiles.sequences), model.tiles.depth + 2 * model.tiles.halo, 256, 256)
    tile = np.zeros(shape, dtype=np.float32)
    inferencer = TritonTileInferencer(triton, transport=shared)
    # Known before, so that the next call breaks off while Triton computes.
    before = await inferencer.infer(model, tile, deadline=Deadline.after(30))
    monkeypatch.setattr(triton_tile_inferencer, "CALL_TIMEOUT_S", 0.1)
    with pytest.raises(DependencyUnavailableError):
        await inferencer.infer_once(model, tile, deadline=Deadline.after(30))
    monkeypatch.undo()
    np.testing.assert_array_equal(before, await inferencer.infer(model, tile, deadline=Deadline.after(30)))


async def test_nothing_is_left_after_closing(
    triton: InferenceServerClient, model: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in Triton nor on the machine, also of a region that became too small."""
    monkeypatch.setattr(tile_transport, "REGION_BYTES", 0)
    others = regions_of(os.getpid())
    transport = SharedMemoryTransport(triton)
    for size in (32, 64):
        await infer(triton, model, make_tile(model, size=size), transport=transport)
    (region,) = set(regions_of(os.getpid())) - set(others)
    await transport.close()
    assert regions_of(os.getpid()) == others
    status = await triton.get_system_shared_memory_status()
    assert region.name not in status.regions


async def test_what_triton_still_reads_is_given_back_too(
    triton: InferenceServerClient, model: ModelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a study that was cancelled just before its worker stops: Triton refuses it until it has computed."""
    # A busy machine may compute for longer than a worker waits.
    monkeypatch.setattr(tile_transport, "REGISTER_TIMEOUT_S", 60.0)
    transport = SharedMemoryTransport(triton)
    shape = (len(model.tiles.sequences), model.tiles.depth + 2 * model.tiles.halo, 256, 256)
    tile = np.zeros(shape, dtype=np.float32)
    others = regions_of(os.getpid())
    inferring = asyncio.create_task(infer(triton, model, tile, transport=transport))
    async with asyncio.timeout(30):
        while not await is_known(triton, regions := set(regions_of(os.getpid())) - set(others)):  # noqa: ASYNC110 -- Triton tells nobody
            await asyncio.sleep(0.01)
    # Triton reads it by now.
    await asyncio.sleep(0.1)
    inferring.cancel()
    await asyncio.wait([inferring])
    await transport.close()
    assert not await is_known(triton, regions)


def test_a_killed_worker_leaves_nothing(stack: RunningStack) -> None:
    """The names of its regions vanish with it."""
    address = f"{HOST}:{stack.place.ports.triton}"
    with subprocess.Popen([sys.executable, "-c", KILLED_AMID_A_TILE, address], env=dict(os.environ)) as worker:
        assert worker.wait() == -signal.SIGKILL
    wait_until(lambda: not regions_of(worker.pid), timeout_s=30)
