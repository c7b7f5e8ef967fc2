"""Owns the normalised volume: a study cropped to its head, in the intensities that the networks were trained on."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import EmptyVolumeError, InternalError
from brainmets.imaging.findings import Finding
from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy

# Vessels and scanner spikes end here, on either side; lesions are larger than a two-hundredth of a head.
CLIP_PERCENTILES = (0.5, 99.5)
# Percentiles are taken from every third voxel: of a million they are the same, in a third of the time.
PERCENTILE_STEP = 3


@dataclass(frozen=True, slots=True, eq=False)
class NormalizedVolume:
    """A study as the networks see it.

    Attributes:
        voxels: (C, D, H, W), float32: percentile-clipped z-scores in the foreground, 0 elsewhere.
        sequences: The channels, in order.
        geometry: Isotropic axial grid, cropped to the head.
        acquired: Grid of the T1c as it was acquired.
        foreground: (D, H, W), the head's voxels.
        findings: What a reader should know about the input.

    Raises:
        InternalError: The parts do not fit together.
    """

    voxels: NDArray[np.float32]
    sequences: tuple[Sequence, ...]
    geometry: Geometry
    acquired: Geometry
    foreground: NDArray[np.bool_]
    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        shape = (len(self.sequences), *self.geometry.shape)
        if self.voxels.shape != shape or self.foreground.shape != self.geometry.shape:
            raise InternalError(
                "A normalised volume does not fit its grid",
                expected=f"voxels {shape} and a foreground of the same grid",
                got=f"{self.voxels.shape} and {self.foreground.shape}",
                remedy="report it as a defect of brainmets",
            )


def normalize_study(study: AlignedStudy) -> NormalizedVolume:
    """Crop a study to its head and normalise each sequence over the head ("percentile-zscore-v1").

    Raises:
        EmptyVolumeError: The T1c shows nothing.
    """
    foreground = find_foreground(study.volumes[Sequence.T1C])
    box = find_bounding_box(foreground)
    if box is None:
        raise InternalError(
            "A head has voxels", expected="some", got="none", remedy="report it as a defect of brainmets"
        )
    foreground = foreground[box.slices]
    # In the order of the enumeration, which is the order in which networks name their channels.
    sequences = tuple(sequence for sequence in Sequence if sequence in study.volumes)
    voxels = np.zeros((len(sequences), *box.shape), dtype=np.float32)

    def normalize(channel: int) -> None:
        sequence = sequences[channel]
        _normalize(study.volumes[sequence].voxels[box.slices], foreground, out=voxels[channel], sequence=sequence)

    # Beside each other: numpy leaves Python's lock for most of it.
    with ThreadPoolExecutor(len(sequences)) as threads:
        list(threads.map(normalize, range(len(sequences))))
    return NormalizedVolume(
        voxels=voxels,
        sequences=sequences,
        geometry=study.geometry.crop(box),
        acquired=study.acquired,
        foreground=foreground,
        findings=study.findings,
    )


def _normalize(
    voxels: NDArray[np.float32],
    foreground: NDArray[np.bool_],
    *,
    out: NDArray[np.float32],
    sequence: Sequence,
) -> None:
    # Where a sequence was not acquired it is zero, which says nothing about its intensities.
    acquired = foreground & (voxels != 0.0)
    values = voxels[acquired]
    if not values.size:
        return
    low, high = np.percentile(values[::PERCENTILE_STEP], CLIP_PERCENTILES)
    np.clip(values, low, high, out=values)
    values -= values.mean(dtype=np.float64)
    deviation = float(np.sqrt(np.vdot(values, values) / values.size))
    if deviation == 0.0:
        raise EmptyVolumeError(
            f"Sequence {sequence} shows nothing",
            expected="tissues of different intensity",
            got="one value all over the head",
            remedy="check the export of the series",
        )
    out[acquired] = values / deviation
