"""Owns the brain network: a small network that says, on coarse voxels, how much of a head is brain."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# The network's voxels are of about this size, mm.
COARSE_MM = 4.0
# It halves its grid three times.
STRIDE = 8
# Fat and vessels beyond so many times the head's mean are all the same.
MOST = 3.0


@dataclass(frozen=True, slots=True)
class BrainNetwork:
    """The network as an ONNX file's bytes; whoever may read files loads it (`runtime.brain_weights`).

    OpenCV runs it: it is a dependency already, and the graph takes a twentieth of a second. A graph belongs to the
    thread that runs it, so that each call reads its own, which takes some milliseconds.
    """

    onnx: bytes

    def infer(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how much of each coarse voxel is brain (d, h, w), 0 to 1.

        Args:
            coarse: (d, h, w), intensities of a T1c on axial voxels of `COARSE_MM`, of any scale.
        """
        d, h, w = coarse.shape
        padded = np.pad(scale_coarse(coarse), [(0, -size % STRIDE) for size in (d, h, w)])
        graph = cv2.dnn.readNetFromONNX(np.frombuffer(self.onnx, dtype=np.uint8))
        graph.setInput(padded[np.newaxis, np.newaxis])
        return np.asarray(graph.forward()[0, 0, :d, :h, :w], dtype=np.float32)


def scale_coarse(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a head's coarse voxels (d, h, w) in the network's units: 0 is the darkest, 1 the mean of the bright ones.

    Bright is what lies above the mean, which leaves air out whatever share of the volume it has.
    """
    above: NDArray[np.float32] = coarse - coarse.min()
    bright = above >= min(float(above.mean(dtype=np.float64)), float(above.max()))
    level = float(above[bright].mean(dtype=np.float64)) or 1.0  # one value everywhere is 0
    scaled: NDArray[np.float32] = np.clip(above / np.float32(level), 0.0, MOST)
    return scaled
