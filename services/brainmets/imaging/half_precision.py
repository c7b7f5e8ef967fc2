"""Owns the way to float16 and back.

OpenCV uses the processor's instruction for it; NumPy, which is built for every processor, takes ten times as long.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def to_half(voxels: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return voxels (C, D, H, W) rounded to float16, contiguous."""
    half = np.empty(voxels.shape, dtype=np.float16)
    for source, out in zip(voxels, half, strict=True):
        _convert(source, out, depth=cv2.CV_16F)
    return half


def to_single(voxels: NDArray[np.floating], *, out: NDArray[np.float32]) -> None:
    """Write voxels (D, H, W) as float32 to an array of their shape, which may be a box of another one."""
    for source, plane in zip(voxels, out, strict=True):
        _convert(source, plane, depth=cv2.CV_32F)


def _convert(source: NDArray[np.floating], out: NDArray[np.floating], *, depth: int) -> None:
    # OpenCV's arrays have two axes and channels. Subtracting zero changes no bit; adding it would -0.
    planes = (array.reshape(-1, array.shape[-1]) for array in (source, out))
    cv2.subtract(next(planes), 0.0, dst=next(planes), dtype=depth)  # type: ignore[call-overload]  # it knows no scalars
