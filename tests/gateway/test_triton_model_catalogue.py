"""What is known of the models: the port's contract for adapter and fake."""

from collections.abc import AsyncIterator

import pytest

from brainmets.gateway.inference import ModelCatalogue
from brainmets.gateway.triton_connection import connect_triton
from brainmets.gateway.triton_model_catalogue import TritonModelCatalogue
from brainmets.imaging.errors import DependencyUnavailableError, UnknownModelError
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
