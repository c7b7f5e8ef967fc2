"""Owns what of a volume is head: the whole of it with its skull, or the brain alone when that is all there is."""

import cv2
import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.components import keep_largest
from brainmets.imaging.errors import EmptyVolumeError
from brainmets.imaging.volume import Volume, store_by_rows

# A volume of which this much has exactly its lowest value was masked, or filled up with zeros: air has noise.
MASKED_FRACTION = 0.2
# Most of what is not masked that may be as dark as air; beyond, it is head and air between zeros.
# Measured: of stripped brains 0.01, of a head whose air is zero 0.26; of a field of view filled up with zeros at its
# sides or corners, or whose face was cut off, 0.56 to 0.65.
MAX_DARK_FRACTION = 0.4
# Air and head are told apart on voxels of about this size, on which noise is averaged out.
COARSE_MM = 4.0
# Otsu's threshold halves head and air by their means; CSF and bone of the head lie below it.
THRESHOLD_FRACTION = 0.5
# Brightest share that is cut off first: vessels and fat would lift the threshold.
BRIGHT_PERCENTILE = 98.0
# Levels of the histogram that the threshold is taken from.
LEVELS = 255


def find_foreground(volume: Volume) -> NDArray[np.bool_]:
    """Return the head's voxels (D, H, W) without holes, with its skull when the volume has one.

    Raises:
        EmptyVolumeError: The volume shows nothing.

    References:
        Otsu 1979, A threshold selection method from gray-level histograms, IEEE Trans SMC 9:62.
    """
    voxels = store_by_rows(volume.voxels)
    lowest = voxels.min()
    # A mask's zeros are its air, also where an interpolation has left something darker.
    is_masked_by_zero = lowest < 0.0 and np.count_nonzero(voxels == 0.0) > MASKED_FRACTION * voxels.size
    above = voxels != (0.0 if is_masked_by_zero else lowest)
    above_count = np.count_nonzero(above)
    if above_count == 0:
        raise _empty()
    factors = [max(1, round(COARSE_MM / spacing_mm)) for spacing_mm in volume.geometry.spacing_mm]
    in_air = _find_in_air(voxels, factors)
    if above_count < (1.0 - MASKED_FRACTION) * above.size:
        masked = _largest_filled(above)
        if _is_masked_head(masked[tuple(slice(None, None, factor) for factor in factors)], in_air):
            return masked
    for axis, factor in enumerate(factors):
        in_air = np.repeat(in_air, factor, axis=axis)
    return in_air[tuple(slice(0, size) for size in voxels.shape)]


def _is_masked_head(masked: NDArray[np.bool_], in_air: NDArray[np.bool_]) -> bool:
    """True when what is not masked is a head, neither half air nor beside it; both on coarse voxels (d, h, w)."""
    shared_count = np.count_nonzero(masked & in_air)
    mostly_dark = shared_count < (1.0 - MAX_DARK_FRACTION) * np.count_nonzero(masked)
    # What is bright beside it makes no air of a masked head.
    lies_within = 2 * shared_count > np.count_nonzero(in_air)
    return not (mostly_dark and lies_within)


def _find_in_air(voxels: NDArray[np.float32], factors: list[int]) -> NDArray[np.bool_]:
    """Return the head (d, h, w) as it stands out from noisy air, found on coarse voxels."""
    coarse = block_means(voxels, factors)
    top = np.percentile(coarse, BRIGHT_PERCENTILE)
    bottom = coarse.min()
    levels = ((coarse - bottom) / max(float(top - bottom), np.finfo(np.float32).tiny)).clip(0.0, 1.0) * LEVELS
    threshold, _ = cv2.threshold(levels.astype(np.uint8).reshape(1, -1), 0, LEVELS, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return _largest_filled(levels > THRESHOLD_FRACTION * threshold)


def block_means(voxels: NDArray[np.float32], factors: list[int]) -> NDArray[np.float32]:
    """Return the means of blocks; a block that reaches beyond the end is filled with the last voxels."""
    for axis, factor in enumerate(factors):
        voxels = _means_along(voxels, factor, axis=axis)
    return voxels


def _means_along(voxels: NDArray[np.float32], factor: int, *, axis: int) -> NDArray[np.float32]:
    lines = np.moveaxis(voxels, axis, 0)
    # Strided sums, one axis after the other: five times as fast as one mean over blocks.
    means = lines[::factor].copy(order="K")
    for phase in range(1, factor):
        added = lines[phase::factor]
        means[: len(added)] += added
        means[len(added) :] += lines[-1]
    means /= np.float32(factor)
    return np.moveaxis(means, 0, axis)


def _largest_filled(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest face-connected component, its holes filled slice by slice on the first axis."""
    box = find_bounding_box(voxels)
    if box is None:
        raise _empty()
    framed = np.zeros([size + 2 for size in box.shape], dtype=np.bool_)
    framed[1:-1, 1:-1, 1:-1] = voxels[box.slices]
    keep_largest(framed)
    _fill(framed)
    filled = np.zeros_like(voxels)
    filled[box.slices] = framed[1:-1, 1:-1, 1:-1]
    return filled


def _fill(framed: NDArray[np.bool_]) -> None:
    """Fill every region of a slice that the outside, which the frame is part of, does not reach."""
    outside = framed.view(np.uint8)
    # Each slice by itself: OpenCV's flood counts rows in 16 bits, and ends silently in a stack of slices.
    for plane in outside:
        cv2.floodFill(plane, None, (0, 0), 2)
    np.not_equal(outside, 2, out=framed)  # the colour of the flood


def _empty() -> EmptyVolumeError:
    return EmptyVolumeError(
        "The T1c shows no head",
        expected="a head that stands out from its background",
        got="one value everywhere",
        remedy="check the export of the series",
    )
