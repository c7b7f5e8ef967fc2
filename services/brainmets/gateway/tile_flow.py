"""Owns the overlap of preparation, inference and blending: tiles come in, one blended study goes out."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.gateway.deadline import Deadline
from brainmets.gateway.inference import TileInferencer
from brainmets.gateway.model_contract import SegmentationPlan
from brainmets.gateway.preparation import PreparedStudy
from brainmets.imaging.agreement import DecisionAgreement
from brainmets.imaging.blending import ProbabilityAccumulator, ProbabilityTile
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tiling import Tile, cropped_shape, spread_shape, spread_tile
from brainmets.imaging.volume import Volume
from brainmets.runtime.tasks import task_group

# Prepared tiles that may wait for inference: more than a head at 1 mm has, so that preprocessing is done with a study
# long before inference is, and still a bound.
BUFFER_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlendedStudy:
    """What the networks say together, and the T1c they saw, both on the grid of the normalised volume.

    `agreement` is the Dice of what two networks decide each, in their tiles; None where it says nothing.
    """

    probability: ProbabilityMap
    t1c: Volume
    agreement: float | None = None

    @property
    def t1c_ceiling(self) -> float:
        """The T1c's largest voxel, where normalisation clips it; standard deviations above the brain's mean."""
        return float(self.t1c.voxels.max())


@dataclass(frozen=True, slots=True)
class TileFlow:
    """How tiles flow: who infers, when, how many inferences run at a time, and who is told how many (done, total).

    `turn` is one study's at a time, until it has no more tiles to begin; tiles of one that waits for it come in
    meanwhile.
    """

    inferencer: TileInferencer
    turn: asyncio.Semaphore
    tiles_in_flight: int
    on_inferred: Callable[[int, int], Awaitable[None]]
    deadline: Deadline


async def infer_tiles(prepared: PreparedStudy, plan: SegmentationPlan, flow: TileFlow) -> BlendedStudy:
    """Infer every tile with every network of the plan and blend the mean of their probabilities.

    Raises:
        StudyError: The study cannot be read or used.
        InferenceFailedError: A network stayed unavailable until the deadline, or answers no probability.
        UnknownModelError: Another version has taken a network's place.
        DeadlineExceededError: The deadline passed, perhaps before it was this study's turn.
    """
    blend = _Blend(prepared, plan, flow)
    buffer: asyncio.Queue[Tile | None] = asyncio.Queue(_buffered_tiles(prepared))
    async with task_group() as group:
        group.create_task(_drain(prepared.tiles, buffer, readers=flow.tiles_in_flight))
        async with flow.deadline.turn(flow.turn):
            lanes = [group.create_task(blend.work_off(buffer)) for _ in range(flow.tiles_in_flight)]
            # The next study begins as soon as a lane is free, while the last tiles of this one are under way.
            await asyncio.wait(lanes, return_when=asyncio.FIRST_COMPLETED)
    return await asyncio.to_thread(blend.finish)


def _buffered_tiles(prepared: PreparedStudy) -> int:
    grid = prepared.header.grid
    voxels = max((math.prod(cropped_shape(grid, index=index)) for index in range(len(grid.boxes))), default=1)
    return max(1, BUFFER_BYTES // (len(prepared.header.sequences) * voxels * 2))  # float16


async def _drain(tiles: AsyncIterator[Tile], buffer: asyncio.Queue[Tile | None], *, readers: int) -> None:
    async for tile in tiles:
        await buffer.put(tile)
    for _ in range(readers):
        await buffer.put(None)


class _Blend:
    """One study's tiles on their way through the networks into one probability map."""

    def __init__(self, prepared: PreparedStudy, plan: SegmentationPlan, flow: TileFlow) -> None:
        self._header = prepared.header
        self._plan = plan
        self._flow = flow
        self._accumulator = ProbabilityAccumulator(prepared.header.grid)
        self._agreement = DecisionAgreement(plan.point.threshold)
        self._t1c = np.zeros(prepared.header.grid.volume_shape, dtype=np.float32)  # (D, H, W)
        self._inferred = 0
        self._telling = asyncio.Lock()

    async def work_off(self, buffer: asyncio.Queue[Tile | None]) -> None:
        """Take tiles until there are no more."""
        while (tile := await buffer.get()) is not None:
            await self._add(tile)

    async def _add(self, tile: Tile) -> None:
        grid, wanted = self._header.grid, self._plan.tiles.sequences
        async with self._flow.inferencer.hold((len(wanted), *spread_shape(grid, index=tile.index))) as voxels:
            spread_tile(tile, grid, present=self._header.sequences, wanted=wanted, out=voxels)
            self._accumulator.add(await self._infer(tile, voxels))
            self._paste_t1c(tile, voxels[wanted.index(Sequence.T1C)])

    async def _infer(self, tile: Tile, voxels: NDArray[np.float32]) -> ProbabilityTile:
        mean = np.zeros(self._header.grid.boxes[tile.index].shape, dtype=np.float32)  # (D, H, W)
        probabilities = []
        for model in self._plan.models:
            probability = await self._flow.inferencer.infer(model, voxels, deadline=self._flow.deadline)
            mean += probability / len(self._plan.models)
            probabilities.append(probability)
            await self._tell()
        for first, second in itertools.pairwise(probabilities):
            self._agreement.add(first, second)
        return ProbabilityTile(tile.index, mean)

    async def _tell(self) -> None:
        """Count an inference and tell it, one after the other: whoever follows a study never sees it go back."""
        async with self._telling:
            self._inferred += 1
            await self._flow.on_inferred(self._inferred, len(self._plan.models) * len(self._header.grid.boxes))

    def _paste_t1c(self, tile: Tile, t1c: NDArray[np.float32]) -> None:
        """Put a tile's T1c (D + 2 halo, H, W), without its context, where it came from."""
        grid = self._header.grid
        place, inside = grid.decided_place(tile.index)
        self._t1c[place] = t1c[grid.halo : len(t1c) - grid.halo][inside]

    def finish(self) -> BlendedStudy:
        """Return the whole study once every tile was added."""
        geometry = self._header.normalized
        return BlendedStudy(self._accumulator.finish(geometry), Volume(self._t1c, geometry), self._agreement.dice)
