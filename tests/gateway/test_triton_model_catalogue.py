"""What is known of the models: the port's contract for adapter and fake."""

from collections.abc import AsyncIterator

import pytest

from brainmets.gateway.inference import ModelCatalogue
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.imaging.errors import DependencyUnavailableError, UnknownModelError
from brainmets.runtime.network_version import name_version
from fakes import FakeCatalogue, FakeTriton, describe_model


@pytest.fixture(params=["adapter", "fake"])
async def catalogue(request: pytest.FixtureRequest) -> AsyncIterator[ModelCatalogue]:
    """Adapter and fake in turn."""
    async with FakeTriton().serve() as address, connect_triton(address) as client:
        yield TritonModelCatalogue(client) if request.param == "adapter" else FakeCatalogue()


async def test_description_is_the_configuration(catalogue: ModelCatalogue) -> None:
    """Version, parameters and tensors are Triton's own."""
    assert await catalogue.describe("nested_unet") == describe_model("nested_unet")


async def test_unknown_model_is_told(catalogue: ModelCatalogue) -> None:
    """A model Triton does not have is not found."""
    with pytest.raises(UnknownModelError):
        await catalogue.describe("unet")


async def test_no_triton_is_unavailable() -> None:
    """A Triton that is not there may be asked again."""
    async with connect_triton("127.0.0.1:1") as client:
        with pytest.raises(DependencyUnavailableError):
            await TritonModelCatalogue(client).describe("nested_unet")


async def test_a_description_is_of_one_network() -> None:
    """Amid a roll-out of weights too, when each Triton in turn has other ones."""
    digests = "a" * 64, "b" * 64
    old, new = (FakeTriton(version=name_version(digest), onnx_sha256=digest) for digest in digests)
    async with old.serve() as first, new.serve() as second, connect_triton(f"ipv4:{first},{second}") as client:
        seen = [await TritonModelCatalogue(client).describe("nested_unet") for _ in range(20)]
    assert {each.parameters["onnx_sha256"] for each in seen} == set(digests)
    assert all(each.model_version == name_version(each.parameters["onnx_sha256"]) for each in seen)
