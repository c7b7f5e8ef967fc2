"""Owns how far two networks agree: the Dice of what each of them alone would decide."""

import numpy as np
from numpy.typing import NDArray


class DecisionAgreement:
    """Counts what both networks and what each of them decides at a common threshold, tile by tile.

    Tiles overlap, and voxels in several of them count as often; so it is a measure of agreement, not of a mask.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._both = 0
        self._sum = 0

    def add(self, first: NDArray[np.floating], second: NDArray[np.floating]) -> None:
        """Count the probabilities (D, H, W) of one tile, of both networks."""
        decided_first, decided_second = first >= self._threshold, second >= self._threshold
        self._both += int(np.count_nonzero(decided_first & decided_second))
        self._sum += int(np.count_nonzero(decided_first)) + int(np.count_nonzero(decided_second))

    @property
    def dice(self) -> float | None:
        """Dice in [0, 1] of the two decisions; None where neither decides anything, which says nothing."""
        return 2 * self._both / self._sum if self._sum else None
