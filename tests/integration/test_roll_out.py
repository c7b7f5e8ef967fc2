"""Weights are rolled out: of two real Tritons behind one target one has a network as shipped, one its next export."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.model_contract import ModelContract, read_contract
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.gateway.triton_tile_inferencer import TritonTileInferencer
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.runtime.network_version import FIRST_VERSION
from brainmets.training.decisions import Decision
from brainmets.training.recalibration import recalibrate_network
from integration.running_stack import RunningStack
from local.engine import sample_tile
from local.layout import MODEL_REPOSITORY, TRITON_BACKENDS
from local.ports import HOST

MODEL = "attention_unet"
# The next release's network is half as sure of everything.
NEXT = Decision(2.0, {name: OperatingPoint(0.25, 10.0, 0.75) for name in OperatingPointName})
WAIT_S = 60.0
CALLS = 6


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Both Tritons, as one name would give their addresses."""
    if not TRITON_BACKENDS.exists():
        pytest.skip("needs Triton in build/ (make test unpacks it)")
    with ExitStack() as running:
        ports = []
        for name in ("shipped", "next"):
            folder = tmp_path_factory.mktemp(name)
            network = Path(shutil.copytree(MODEL_REPOSITORY / MODEL, folder / "models" / MODEL))
            if name == "next":
                recalibrate_network(network, NEXT)
            stack = RunningStack(folder, model_repository=network.parent)
            running.callback(stack.__exit__)
            stack.start("triton")
            ports.append(stack.place.ports.triton)
        yield f"ipv4:{','.join(f'{HOST}:{port}' for port in ports)}"


@pytest.fixture
async def client(target: str) -> AsyncIterator[InferenceServerClient]:
    """A client that calls both in turn, once both serve."""
    async with connect_triton(target) as client:
        async with asyncio.timeout(WAIT_S):
            while len(await described(client)) < 2:  # noqa: ASYNC110 -- Tritons are asked
                await asyncio.sleep(0.2)
        yield client


async def described(client: InferenceServerClient) -> dict[str, ModelContract]:
    """Return what some descriptions say, by version."""
    found = {}
    for _ in range(CALLS):
        try:
            contract = read_contract(await TritonModelCatalogue(client).describe(MODEL))
        except BrainmetsError:
            # It is still starting.
            continue
        found[contract.model_version] = contract
    return found


async def test_each_network_is_inferred_by_itself_alone(client: InferenceServerClient) -> None:
    """A study's tiles are all answered by the network that its contract describes, wherever that runs."""
    contracts = await described(client)
    shipped = contracts.pop(FIRST_VERSION)
    (exported,) = contracts.values()
    assert shipped.onnx_sha256 != exported.onnx_sha256
    adapter, means = TritonTileInferencer(client), []
    tile = sample_tile(channels=4, depth=2 + 2 * shipped.tiles.halo, size=64)[0]
    for contract in (shipped, exported):
        answers = [await adapter.infer(contract, tile, deadline=Deadline.after(WAIT_S)) for _ in range(CALLS)]
        assert all(np.allclose(answer, answers[0], atol=1e-3) for answer in answers)
        means.append(answers[0].mean())
    assert abs(means[0] - means[1]) > 0.01
