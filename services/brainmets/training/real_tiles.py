"""Owns a labelled study's tiles, as the service cuts them: for what the export must try on heads, not on noise."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import align_study
from brainmets.imaging.tiling import crop_tile, plan_tiles, spread_tile
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.served_contract import TILES

Tile = NDArray[np.float32]


def cut_real_tiles(labelled: LabelledStudy) -> Iterator[Tile]:
    """Yield a study's tiles (1, C, D + 2h, H, W) from below to above; sequences that it lacks are zero."""
    aligned = align_study(labelled.study, spacing_mm=TILES.spacing_mm)
    normalized = normalize_study(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))
    grid = plan_tiles(normalized.foreground.shape, TILES, occupied=normalized.brain)
    present, wanted = normalized.sequences, TILES.sequences
    for index in range(len(grid.boxes)):
        tile = crop_tile(normalized, grid, index=index)
        yield spread_tile(tile, grid, present=present, wanted=wanted)[np.newaxis]
