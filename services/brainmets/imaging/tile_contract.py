"""Owns the tile contract: how a network wants its tiles, and what all networks have in common."""

import math
from dataclasses import dataclass

from brainmets.imaging.errors import ModelContractError
from brainmets.imaging.sequence import Sequence

# A network's one input and one output.
INPUT_NAME = "tile"
OUTPUT_NAME = "probability"
# The only normalisation preprocessing knows; a network trained on another would see intensities it never saw.
NORMALIZATION = "percentile-zscore-v2"


@dataclass(frozen=True, slots=True)
class TileContract:
    """How a network wants its tiles.

    Attributes:
        sequences: Its channels, in order.
        spacing_mm: Isotropic spacing of the grid it was trained on.
        depth: Most axial slices that one tile decides.
        halo: Slices of context on either side of those.
        stride: Rows and columns of a tile are a multiple of this, which the network's poolings divide.
        max_size: Most rows or columns of a tile, a multiple of `stride`.
        overlap: Least overlap of neighbouring tiles in the plane, as a fraction of their size, in [0, 1).

    Raises:
        ModelContractError: No tile can keep it.
    """

    sequences: tuple[Sequence, ...]
    spacing_mm: float
    depth: int
    halo: int
    stride: int
    max_size: int
    overlap: float

    def __post_init__(self) -> None:
        promises = {
            "one sequence or more, each once": 0 < len(self.sequences) == len(set(self.sequences)),
            "a positive spacing": 0.0 < self.spacing_mm < math.inf,
            "a depth of 1 slice or more": self.depth >= 1,
            "a halo of 0 slices or more": self.halo >= 0,
            "a stride of 1 voxel or more": self.stride >= 1,
            "a largest size that is a multiple of the stride": self.stride >= 1
            and self.max_size >= self.stride
            and self.max_size % self.stride == 0,
            "an overlap in [0, 1)": 0.0 <= self.overlap < 1.0,
        }
        broken = [promise for promise, kept in promises.items() if not kept]
        if broken:
            raise ModelContractError(
                "No tile can keep this contract",
                expected=" and ".join(broken),
                got=repr(self),
                remedy="correct the model's config.pbtxt",
            )
