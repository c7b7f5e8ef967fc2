"""Owns the timing of tiles: what a study costs with tiles of other sizes, and whether they decide alike."""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from brainmets.imaging.evaluation import overlap
from brainmets.imaging.tile_contract import TileContract
from brainmets.training.heads import HALF
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.scoring import Scorer

REPETITIONS = 3


@dataclass(frozen=True, slots=True)
class TimedTiles:
    """A study with tiles of one size.

    Attributes:
        tiles: The contract that was tried.
        core_seconds: Median CPU time of aligning, normalising, inferring and blending.
        agreement: Dice at a probability of one half with the served tiles' decision.
    """

    tiles: TileContract
    core_seconds: float
    agreement: float


def time_tiles(model: Path, labelled: LabelledStudy, tiles: TileContract, *, threads: int) -> TimedTiles:
    """Return what a study costs with tiles of a size, in this process."""
    scorer = Scorer((model,), threads=threads, tiles=tiles)
    served = Scorer((model,), threads=threads).infer(labelled).probability_maps[model.name]
    seconds = []
    for _ in range(REPETITIONS):
        start_s = time.process_time()
        probability = scorer.infer(labelled).probability_maps[model.name]
        seconds.append(time.process_time() - start_s)
    agreement = overlap(np.asarray(served.voxels) > HALF, np.asarray(probability.voxels) > HALF)
    return TimedTiles(tiles, statistics.median(seconds), agreement)


def print_tiles(timed: Iterable[TimedTiles], console: Console) -> None:
    """Print one line for each size."""
    table = Table("slices", "rows and columns", "core s a study", "Dice with the served tiles")
    for each in timed:
        table.add_row(
            str(each.tiles.depth), f"<= {each.tiles.max_size}", f"{each.core_seconds:.2f}", f"{each.agreement:.4f}"
        )
    console.print(table)
