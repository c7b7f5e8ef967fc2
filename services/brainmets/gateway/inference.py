"""Owns the gateway's two ports to the networks: one that infers tiles, one that tells what the models are."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.model_contract import ModelContract, ModelDescription

TileShape = tuple[int, int, int, int]
"""(C, D + 2 halo, H, W)."""


class TileInferencer(Protocol):
    """Runs networks on tiles."""

    def hold(self, shape: TileShape) -> AbstractAsyncContextManager[NDArray[np.float32]]:
        """Return memory for a tile's voxels (C, D + 2 halo, H, W), with anything in it, where networks read them.

        `infer` takes voxels that lie elsewhere too, and copies them. The memory is another tile's after the block.
        """
        ...

    async def infer(
        self, model: ModelContract, voxels: NDArray[np.float32], *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return the probability (D, H, W), in [0, 1], of a tile's voxels (C, D + 2 halo, H, W).

        An adapter repeats the call while the network is unavailable. Cancelling it stops the inference.

        Raises:
            InferenceFailedError: The network stayed unavailable until the deadline, or what it answers is none.
            UnknownModelError: Another version has taken the network's place; a study has to be planned anew.
            DeadlineExceededError: The deadline had passed before the call.
        """
        ...


class TileInference(Protocol):
    """`TileInferencer.infer`, or another function that does the same in its own way."""

    async def __call__(
        self, model: ModelContract, voxels: NDArray[np.float32], /, *, deadline: Deadline
    ) -> NDArray[np.float32]:
        """Return the probability (D, H, W) of a tile's voxels (C, D + 2 halo, H, W)."""
        ...


class ModelCatalogue(Protocol):
    """Tells what the models are."""

    async def describe(self, model_name: str) -> ModelDescription:
        """Return what is known of a model now.

        Raises:
            UnknownModelError: There is no such model.
            DependencyUnavailableError: It cannot be asked now.
        """
        ...
