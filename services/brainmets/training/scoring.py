"""Owns what exported networks say of labelled studies, which go through the very code that serves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from brainmets.imaging.blending import ProbabilityAccumulator, ProbabilityTile
from brainmets.imaging.brain_mask import BrainMask, pack_brain
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import HeadOutline, outline_head
from brainmets.imaging.lesions import InstanceMap, drop_outside_brain, find_candidates
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.resampling import resample_like
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy, align_study
from brainmets.imaging.tile_contract import INPUT_NAME, OUTPUT_NAME, TileContract
from brainmets.imaging.tiling import crop_tile, plan_tiles, spread_tile
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.runtime.network_version import GRAPH_NAME, find_graph
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.served_contract import TILES

MEAN = "mean"
"""What the average of several networks is called."""


@dataclass(frozen=True, slots=True, eq=False)
class InferredStudy:
    """What networks say about a study.

    Attributes:
        probability_maps: Each network's probability on the acquired grid, and their mean when there are several.
        brain: Where the brain was found.
        grid: The grid that the brain's mask was taken from.
        with_skull: Whether the head had a skull.
    """

    probability_maps: Mapping[str, ProbabilityMap]
    brain: BrainMask
    grid: Geometry
    with_skull: bool

    def with_map(self, name: str, probability: ProbabilityMap) -> Self:
        """Return the study with another probability for one network."""
        return replace(self, probability_maps={**self.probability_maps, name: probability})

    def with_only(self, names: Iterable[str]) -> Self:
        """Return the study with the probabilities of some networks."""
        return replace(self, probability_maps={name: self.probability_maps[name] for name in names})

    def decide(self, name: str, point: OperatingPoint) -> InstanceMap:
        """Return one network's lesions at an operating point, as the service finds them."""
        return drop_outside_brain(find_candidates(self.probability_maps[name], point), self.brain, self.grid)


def average_maps(maps: Iterable[ProbabilityMap]) -> ProbabilityMap:
    """Return the mean of networks' probabilities on one grid."""
    maps = tuple(maps)
    mean = np.stack([each.voxels for each in maps]).mean(axis=0, dtype=np.float32)
    return ProbabilityMap(mean, maps[0].geometry)


class Scorer:
    """Runs networks, alone or averaged, over labelled studies."""

    def __init__(
        self, models: Iterable[Path], *, threads: int, tiles: TileContract = TILES, graph: str = GRAPH_NAME
    ) -> None:
        self._tiles = tiles
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = {
            model.name: onnxruntime.InferenceSession(
                find_graph(model).with_name(graph), options, providers=["CPUExecutionProvider"]
            )
            for model in models
        }

    def infer(self, labelled: LabelledStudy) -> InferredStudy:
        """Return what each network says about a study."""
        aligned = align_study(labelled.study, spacing_mm=TILES.spacing_mm)
        return self.infer_in(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))

    def infer_in(self, aligned: AlignedStudy, outline: HeadOutline) -> InferredStudy:
        """Return what each network says about a study whose brain is where an outline says."""
        normalized = normalize_study(aligned, outline)
        maps = {name: self._infer(session, normalized) for name, session in self._sessions.items()}
        if len(maps) > 1:
            maps[MEAN] = average_maps(maps.values())
        acquired = {name: resample_like(each, aligned.acquired) for name, each in maps.items()}
        return InferredStudy(acquired, pack_brain(normalized.brain), normalized.geometry, outline.has_skull)

    def _infer(self, session: onnxruntime.InferenceSession, normalized: NormalizedVolume) -> ProbabilityMap:
        grid = plan_tiles(normalized.foreground.shape, self._tiles, occupied=normalized.brain)
        accumulator = ProbabilityAccumulator(grid)
        present, wanted = normalized.sequences, self._tiles.sequences
        for index in range(len(grid.boxes)):
            tile = crop_tile(normalized, grid, index=index)
            voxels = spread_tile(tile, grid, present=present, wanted=wanted)
            (probability,) = session.run([OUTPUT_NAME], {INPUT_NAME: voxels[np.newaxis]})
            accumulator.add(ProbabilityTile(index, probability[0, 0]))
        return accumulator.finish(normalized.geometry)
