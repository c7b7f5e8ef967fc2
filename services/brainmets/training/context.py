"""Owns a network's context: the slices that it sees for those that it decides."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.training.heads import CHANNELS
from brainmets.training.networks.blocks import PLANAR, VOLUMETRIC, Space

# The near slices show the shape, the far ones tell a vessel, which goes on, from a small metastasis,
# which ends. The farthest reach the next slice of a thick acquisition.
OFFSETS = (-6, -3, -1, 0, 1, 3, 6)
# The served contract's halo: no context reaches farther.
HALO = max(OFFSETS)


@dataclass(frozen=True, slots=True)
class Context:
    """What a network sees.

    Attributes:
        offsets: Its slices, counted from the one that a planar network decides.
        volumetric: Whether it decides all of them together, as a volume (3-D), instead of the one at 0 (2-D, 2.5-D).
    """

    offsets: tuple[int, ...] = OFFSETS
    volumetric: bool = False

    @property
    def space(self) -> Space:
        """The layers of its networks."""
        return VOLUMETRIC if self.volumetric else PLANAR

    @property
    def input_channels(self) -> int:
        """Channels of its networks' input: a planar one has each sequence's slices, one sequence after the other."""
        return CHANNELS if self.volumetric else CHANNELS * len(self.offsets)

    @property
    def decided(self) -> tuple[int, ...]:
        """The offsets of the slices that are decided."""
        return self.offsets if self.volumetric else (0,)

    def arrange(self, slices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return slices (C, S, H, W) as a network's input: (C · S, H, W), or the same (C, S, H, W) of a volume."""
        return slices if self.volumetric else slices.reshape(-1, *slices.shape[2:])


# What is served.
SERVED = Context()
# A volume that five levels halve four times.
VOLUME = Context(tuple(range(-8, 8)), volumetric=True)
