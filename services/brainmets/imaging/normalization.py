"""Owns the normalised volume: a study cropped to its head, in the intensities that the networks were trained on.

Intensities are measured over the brain alone, so that a brain looks the same with and without its skull.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import EmptyVolumeError, InternalError
from brainmets.imaging.findings import Finding
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import HeadOutline
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy
from brainmets.imaging.volume import store_by_rows

# Vessels and scanner spikes end here, on either side; lesions are larger than a two-hundredth of a head.
CLIP_PERCENTILES = (0.5, 99.5)
# Percentiles are taken from every third voxel: of a million they are the same, in a third of the time.
PERCENTILE_STEP = 3
# They lie among the outermost values, which a sample of every so many bounds at these percentiles: selecting from a
# fiftieth takes a fifth of the time that selecting from all takes.
SAMPLE_STEP = 64
OUTER_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True, slots=True, eq=False)
class NormalizedVolume:
    """A study as the networks see it.

    Attributes:
        voxels: (C, D, H, W), float32: percentile-clipped z-scores in the foreground, 0 elsewhere; the percentiles, mean
            and deviation are the brain's.
        sequences: The channels, in order.
        geometry: Isotropic axial grid, cropped to the head.
        acquired: Grid of the T1c as it was acquired.
        foreground: (D, H, W), the head's voxels.
        brain: (D, H, W), the brain's among them: all that lesions are looked for in.
        findings: What a reader should know about the input.

    Raises:
        InternalError: The parts do not fit together.
    """

    voxels: NDArray[np.float32]
    sequences: tuple[Sequence, ...]
    geometry: Geometry
    acquired: Geometry
    foreground: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        shape = (len(self.sequences), *self.geometry.shape)
        masks = (self.foreground.shape, self.brain.shape)
        if self.voxels.shape != shape or masks != (self.geometry.shape,) * len(masks):
            raise InternalError(
                "A normalised volume does not fit its grid",
                expected=f"voxels {shape}, a foreground and a brain of the same grid",
                got=f"{self.voxels.shape} and {masks}",
                remedy="report it as a defect of brainmets",
            )


def normalize_study(study: AlignedStudy, outline: HeadOutline) -> NormalizedVolume:
    """Crop a study to its head and normalise each sequence over the brain ("percentile-zscore-v2").

    Raises:
        EmptyVolumeError: A sequence shows nothing.
    """
    box = find_bounding_box(outline.head)
    if box is None:
        raise InternalError(
            "A head has voxels", expected="some", got="none", remedy="report it as a defect of brainmets"
        )
    # On memory of their own, as every sequence's voxels: masks of unlike rows take four times as long to be joined.
    head = np.ascontiguousarray(outline.head[box.slices])
    brain = np.ascontiguousarray(outline.brain[box.slices]) if outline.has_skull else head
    # In the order of the enumeration, which is the order in which networks name their channels.
    sequences = tuple(sequence for sequence in Sequence if sequence in study.volumes)
    cropped = HeadOutline(head, brain)
    voxels = np.zeros((len(sequences), *box.shape), dtype=np.float32)

    def normalize(channel: int) -> None:
        source = study.volumes[sequences[channel]].voxels[box.slices]
        _normalize(source, cropped, out=voxels[channel], sequence=sequences[channel])

    # Beside each other: numpy leaves Python's lock for most of it.
    with ThreadPoolExecutor(len(sequences)) as threads:
        list(threads.map(normalize, range(len(sequences))))
    return NormalizedVolume(
        voxels=voxels,
        sequences=sequences,
        geometry=study.geometry.crop(box),
        acquired=study.acquired,
        foreground=head,
        brain=brain,
        findings=study.findings,
    )


def _normalize(
    voxels: NDArray[np.float32], outline: HeadOutline, *, out: NDArray[np.float32], sequence: Sequence
) -> None:
    # On memory of its own: four passes over rows of the whole volume take longer than they and one copy do.
    voxels = store_by_rows(voxels)
    # Where a sequence was not acquired it is zero, which says nothing about its intensities.
    acquired = voxels != 0.0
    measured = outline.brain & acquired
    inside = voxels[measured]
    if not inside.size:
        return
    low, high = clip_ends(inside[::PERCENTILE_STEP].copy())
    np.clip(inside, low, high, out=inside)
    # OpenCV adds up in float64, which holds the square of whatever float32 holds, and needs no copy for it. In float64
    # the mean is subtracted as well.
    mean = np.float64(cv2.mean(inside)[0])
    inside -= mean
    deviation = cv2.norm(inside) / math.sqrt(inside.size)
    if deviation == 0.0:
        raise EmptyVolumeError(
            f"Sequence {sequence} shows nothing",
            expected="tissues of different intensity",
            got="one value all over the head",
            remedy="check the export of the series",
        )
    if outline.brain is outline.head:
        out[measured] = np.divide(inside, deviation, out=inside)
        return
    shown = outline.head & acquired
    values = voxels[shown]
    np.clip(values, low, high, out=values)
    values -= mean
    out[shown] = np.divide(values, deviation, out=values)


def clip_ends(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the `CLIP_PERCENTILES` (2,) of some values (N,), as np.percentile has them."""
    low, high = np.percentile(values[::SAMPLE_STEP], OUTER_PERCENTILES)
    lowest, highest = values[values <= low], values[values >= high]
    places = np.array(CLIP_PERCENTILES) / 100.0 * (len(values) - 1)
    first = len(values) - len(highest)
    if places[0] + 1 >= len(lowest) or places[1] < first:  # the sample misled
        return np.percentile(values, CLIP_PERCENTILES).astype(np.float32)
    return np.array([_at(lowest, places[0]), _at(highest, places[1] - first)], dtype=np.float32)


def _at(values: NDArray[np.float32], place: float) -> float:
    """Return what lies at a place between two values in their order, interpolated."""
    before = int(place)
    below, above = np.partition(values, (before, before + 1))[before : before + 2].astype(np.float64)
    return float(below + (above - below) * (place - before))
