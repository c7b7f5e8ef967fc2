"""Owns how well a T1c's signal stands out: from noise, and from ghosts in the air beside the head.

Both are judged on the networks' grid, on what the networks see: averaging thin slices makes noise smaller.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_extent import coarse_steps, length_mm, places_along
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume

# Difference of two Laplacians of a slice: blind to what is linear, and 6 the root of the sum of its squares.
# Immerkaer 1996, Fast noise variance estimation, Comput Vis Image Underst 64:300.
NOISE_KERNEL = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], dtype=np.float32)
NOISE_KERNEL_NORM = 6.0
# Median of the absolute value of normal noise of standard deviation 1.
HALF_NORMAL_MEDIAN = 0.6745
# Noise as a fraction of the head's median signal. What enhances is half again to twice as bright as tissue around it,
# and is seen where it stands out by five times the noise (Rose criterion): up to a noise of 0.1 to 0.2.
# Measured: heads and brains 0.004 to 0.06; of noise of 0.10 that was added to them 0.10 to 0.11 is found, of 0.33 0.31
# to 0.33. Noise that was acquired finer and averaged is found too small: nothing is refused that should not be.
NOISY_FRACTION = 0.15
DROWNED_FRACTION = 0.3
# Of slices, rows and columns, so many are skipped where a median or mean is the same without them.
NOISE_STEP = 6
SIGNAL_STEP = 4
# Edges of the head are no noise.
EDGE_VOXELS = 4
# Air this many coarse voxels beside the head is left out: its fat is shifted, and its skin moves.
NEAR_STEPS = 3
# Air voxels from which a mean is one: 6 ml.
MIN_AIR_VOXELS = 100
# How much brighter, of the head's signal, air beside it is along one in-plane axis than along the other or elsewhere.
# Measured: head_thick_slices_brain2 0.005; moved at random by 2 mm between nine parts of k-space, along x 0.026; Colin
# 27 and metastasis_bratsmet_00110, whose air is zero, moved likewise 0.008 to 0.015, by 4 mm 0.015 to 0.022.
GHOST_FRACTION = 0.015


def find_signal_faults(
    t1c: Volume, foreground: NDArray[np.bool_], *, grid: Geometry, acquired: Geometry
) -> tuple[Finding, ...]:
    """Return what is to be said of noise and motion.

    Args:
        t1c: Aligned, not normalised.
        foreground: (D, H, W), the head's voxels, cropped out of the T1c's grid.
        grid: The foreground's grid.
        acquired: Grid of the T1c as it was acquired; beyond it the aligned T1c is empty.
    """
    start = np.rint(t1c.geometry.world_to_index(grid.affine[np.newaxis, :3, 3])[0]).astype(int)
    box = tuple(slice(first, first + size) for first, size in zip(start.tolist(), foreground.shape, strict=True))
    head = t1c.voxels[box]
    coarse = (slice(None, None, SIGNAL_STEP),) * 3
    whole = np.zeros(t1c.voxels.shape, dtype=np.bool_)
    whole[box] = foreground
    air = t1c.voxels[coarse][~whole[coarse]]
    # Air has some signal, and less than none where intensities were shifted.
    level = min(0.0, float(np.median(air))) if air.size else 0.0
    signal = float(np.median(head[coarse][foreground[coarse]])) - level
    if signal <= 0.0:
        return (_low_signal("there is none", severe=True),)
    ghost_fraction = measure_ghosts(t1c, whole, acquired=acquired) / signal
    return (*_judge_noise(measure_noise(head, foreground) / signal), *_judge_ghosts(ghost_fraction))


def measure_noise(voxels: NDArray[np.float32], foreground: NDArray[np.bool_]) -> float:
    """Return the standard deviation of the noise in a head (D, H, W), in its own intensities; 0 where none is told."""
    inner = np.ones((2 * EDGE_VOXELS + 1,) * 2, dtype=np.uint8)
    residuals = [
        np.abs(cv2.filter2D(np.ascontiguousarray(plane), cv2.CV_32F, NOISE_KERNEL))[
            cv2.erode(mask.astype(np.uint8), inner, borderValue=0) != 0
        ]
        for plane, mask in zip(
            voxels[NOISE_STEP // 2 :: NOISE_STEP], foreground[NOISE_STEP // 2 :: NOISE_STEP], strict=True
        )
    ]
    joined = np.concatenate(residuals) if residuals else np.empty(0, dtype=np.float32)
    return float(np.median(joined)) / (HALF_NORMAL_MEDIAN * NOISE_KERNEL_NORM) if joined.size else 0.0


def measure_ghosts(t1c: Volume, head: NDArray[np.bool_], *, acquired: Geometry) -> float:
    """Return how much brighter air is in the head's shadow along x or y than where it is darkest, in intensities.

    Motion and pulsation smear the head along the direction of phase encoding, which is one of the two in most
    acquisitions. Where the scanner or an anonymiser set the air to zero, nothing is told and this is 0.
    """
    steps = coarse_steps(t1c.geometry)
    near = ndimage.binary_dilation(head[steps], iterations=NEAR_STEPS)
    # Zeros among noise are air, and blocks of them are nothing: the rest of the field of view was filled up. A grey
    # opening takes one axis after the other, and half the time of a binary one.
    air = ~near & ~ndimage.grey_opening(t1c.voxels[steps] == 0.0, size=(3, 3, 3), mode="constant")
    for axis in range(3):  # beyond what was acquired there is no air, but nothing
        places_mm = places_along(t1c.geometry, acquired=acquired, axis=axis)
        air &= (places_mm >= 0.0) & (places_mm <= length_mm(acquired, axis))
    along_y, along_x = (near.any(axis=axis, keepdims=True) for axis in (1, 2))
    above = near.any(axis=0, keepdims=True)
    zones = (air & along_y & ~along_x & ~above, air & along_x & ~along_y & ~above, air & ~along_x & ~along_y & ~above)
    values = (t1c.voxels[steps][zone] for zone in zones)
    means = [float(np.mean(zone)) for zone in values if zone.size >= MIN_AIR_VOXELS]
    return max(means) - min(means) if means else 0.0


def _judge_noise(noise_fraction: float) -> tuple[Finding, ...]:
    if noise_fraction <= NOISY_FRACTION:
        return ()
    return (_low_signal(f"it is {1 / noise_fraction:.1f} times the noise", severe=noise_fraction > DROWNED_FRACTION),)


def _low_signal(why: str, *, severe: bool) -> Finding:
    message = f"The T1c's signal barely stands out, {why}: small lesions may be missed, and noise taken for them."
    return Finding(FindingCode.LOW_SIGNAL, message, Sequence.T1C, Severity.SEVERE if severe else Severity.WARNING)


def _judge_ghosts(ghost_fraction: float) -> tuple[Finding, ...]:
    if ghost_fraction <= GHOST_FRACTION:
        return ()
    message = (
        f"Air beside the head is brighter in one direction by {ghost_fraction:.1%} of its signal: the patient probably "
        "moved, and small lesions may be smeared."
    )
    return (Finding(FindingCode.MOTION, message, Sequence.T1C),)
