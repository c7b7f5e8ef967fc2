"""Owns the way from one grid to another: intensities onto the networks' grid, probabilities back.

Between grids whose axes are parallel, which most are, each axis is resampled on its own; between others SimpleITK
interpolates linearly.
"""

import math
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy.sparse import csr_array

from brainmets.imaging.errors import StudyTooLargeError
from brainmets.imaging.geometry import MAX_VOXELS, Geometry, Index
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.volume import Volume, store_by_rows

# Axes that lean by less than this are taken for parallel: 0.1 mm over a head.
PARALLEL_TOLERANCE_RAD = 5e-4
# Voxels that lie this near to each other, as a fraction of their spacing, are the same ones.
SAME_VOXEL_FRACTION = 1e-3
# Grids that share less than this on an axis share nothing to speak of.
MIN_OVERLAP_MM = 5.0


def axial_grid(acquired: Geometry, *, spacing_mm: float) -> Geometry:
    """Return the smallest isotropic axial grid whose voxels hold every voxel centre of another.

    Its slices rise towards the head, its rows run towards the back and its columns towards the left. Its axes are the
    acquired ones, in that order and sense, so that no head is interpolated only because its series was angled; the
    patient's own where no acquired slices can be called axial. A grid of that spacing keeps its voxels.

    Raises:
        StudyTooLargeError: It has more voxels than any head: a small file of coarse, steep ones may span a metre.
    """
    axes = _axial_directions(acquired)  # (3, 3), columns towards head, back and left
    along_mm = acquired.corners_mm() @ axes
    first_mm = along_mm.min(axis=0)
    # The last voxel reaches half a voxel beyond its centre.
    steps = np.ceil((along_mm.max(axis=0) - first_mm) / spacing_mm - 0.5 - SAME_VOXEL_FRACTION)
    d, h, w = (int(step) + 1 for step in steps.tolist())
    if math.prod((d, h, w)) > MAX_VOXELS:
        raise StudyTooLargeError(
            "The field of view is too large",
            expected=f"at most {MAX_VOXELS} voxels of {spacing_mm:g} mm around it",
            got=f"{d} x {h} x {w}",
            remedy="crop the series to the head",
        )
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing_mm
    # The axes are perpendicular and of length 1.
    affine[:3, 3] = axes @ first_mm
    return Geometry((d, h, w), affine)


def _axial_directions(acquired: Geometry) -> NDArray[np.float64]:
    patient = np.eye(3)[:, ::-1]
    order = acquired.axial_axes
    if order is None:
        return patient
    directions = acquired.directions[:, order]
    forward: NDArray[np.float64] = directions * np.sign((directions * patient).sum(axis=0))
    return forward


def grids_overlap(one: Geometry, other: Geometry) -> bool:
    """True when the boxes along the patient's axes around two grids share more than a few millimetres."""
    ours_mm, theirs_mm = one.corners_mm(), other.corners_mm()
    first_mm = np.maximum(ours_mm.min(axis=0), theirs_mm.min(axis=0))
    last_mm = np.minimum(ours_mm.max(axis=0), theirs_mm.max(axis=0))
    return bool((last_mm - first_mm > MIN_OVERLAP_MM).all())


def resample_volume(volume: Volume, grid: Geometry) -> Volume:
    """Return intensities on another grid, zero beyond the volume; finer voxels are averaged into coarser ones."""
    return Volume(_resample(volume.voxels, volume.geometry, grid, average=True), grid)


def resample_like(probability_map: ProbabilityMap, grid: Geometry) -> ProbabilityMap:
    """Return probabilities on another grid, interpolated at its voxel centres and zero beyond the map."""
    return ProbabilityMap(_resample(probability_map.voxels, probability_map.geometry, grid, average=False), grid)


def _resample(voxels: NDArray[np.float32], source: Geometry, target: Geometry, *, average: bool) -> NDArray[np.float32]:
    """Return the resampled voxels; where the target's lie on the source's, a view of them."""
    to_source = source.inverse_affine @ target.affine  # target index to source index
    axes = _parallel_axes(source, target)
    if axes is None:
        return _interpolate_oblique(voxels, source, target)
    lines = [
        _Line(
            step=float(to_source[source_axis, axis]),
            start=float(to_source[source_axis, 3]),
            source_size=voxels.shape[source_axis],
            size=target.shape[axis],
        )
        for axis, source_axis in enumerate(axes)
    ]
    if all(line.meets_voxels for line in lines):
        return _pick(voxels.transpose(axes), lines)
    return _weigh(voxels.transpose(axes), lines, average=average)


def _parallel_axes(source: Geometry, target: Geometry) -> Index | None:
    """Return the source axis that runs along each target axis, or None when some axis leans."""
    cosines = np.abs(source.directions.T @ target.directions)  # (source axis, target axis)
    axes = cosines.argmax(axis=0)
    leaning = np.abs(cosines - np.eye(3)[:, axes]).max()
    if len(set(axes.tolist())) < len(axes) or leaning > PARALLEL_TOLERANCE_RAD:
        return None
    d, h, w = axes.tolist()
    return d, h, w


@dataclass(frozen=True, slots=True)
class _Line:
    """One axis: its target index i, of `size`, lies at source index `start` + i · `step`, of `source_size`."""

    step: float
    start: float
    source_size: int
    size: int

    @property
    def meets_voxels(self) -> bool:
        """Whether the target's voxels are the source's own, or lie beyond them."""
        drift = abs(abs(self.step) - 1.0) * self.size
        return max(drift, abs(self.start - round(self.start))) <= SAME_VOXEL_FRACTION

    def weights(self, *, average: bool) -> csr_array:
        """Return (size, source_size): a triangle around each target's place, of sum 1, and nothing beyond the source.

        It reaches a voxel to either side, or a target's where finer voxels are averaged. At the source's ends the
        outermost voxel reaches half a voxel outwards, as a voxel does; where voxels are averaged, half of a coarser
        one, which may hold no more than its centre.
        """
        reach = max(1.0, abs(self.step)) if average else 1.0
        places = self.start + self.step * np.arange(self.size)
        if self.meets_voxels:
            places = places.round()
        outwards = reach / 2 + SAME_VOXEL_FRACTION
        inside = (places >= -outwards) & (places <= self.source_size - 1 + outwards)
        places = places.clip(0, self.source_size - 1)
        triangle = np.maximum(0.0, 1.0 - np.abs(places[:, np.newaxis] - np.arange(self.source_size)) / reach)
        weights = triangle / triangle.sum(axis=1, keepdims=True) * inside[:, np.newaxis]
        return csr_array(weights.astype(np.float32))


def _pick(voxels: NDArray[np.float32], lines: list[_Line]) -> NDArray[np.float32]:
    """Return the source's own voxels that the target's lie on, a view of them where none lies beyond."""
    flipped = voxels[tuple(slice(None, None, round(line.step)) for line in lines)]
    # Which of them the target's first voxel is; below zero where the target begins before the source.
    firsts = [round(line.start if line.step > 0 else line.source_size - 1 - line.start) for line in lines]
    inside = tuple(
        slice(max(0, first), max(0, min(line.source_size, first + line.size)))
        for first, line in zip(firsts, lines, strict=True)
    )
    picked = flipped[inside]
    if picked.shape == tuple(line.size for line in lines):
        return picked
    # New zeros are not written, as `np.pad` does.
    padded = np.zeros([line.size for line in lines], dtype=np.float32)
    places = (slice(max(0, -first), max(0, -first) + size) for first, size in zip(firsts, picked.shape, strict=True))
    padded[tuple(places)] = picked
    return padded


def _weigh(voxels: NDArray[np.float32], lines: list[_Line], *, average: bool) -> NDArray[np.float32]:
    """Return weighted means of the source's voxels, one slice after the other, which a processor's cache holds."""
    slices, rows, columns = (line.weights(average=average) for line in lines)
    voxels = store_by_rows(voxels)
    resampled = np.zeros([line.size for line in lines], dtype=np.float32)
    for plane, first, stop in zip(resampled, slices.indptr, slices.indptr[1:], strict=False):
        if first < stop:
            sources = zip(slices.data[first:stop], slices.indices[first:stop], strict=True)
            between = reduce(np.add, (weight * voxels[index] for weight, index in sources))
            # OpenCV's transposition takes a fifth of the time that NumPy's copy of a transposed view takes.
            cv2.transpose(columns @ cv2.transpose(rows @ between), dst=plane)
    return resampled


def _interpolate_oblique(voxels: NDArray[np.float32], source: Geometry, target: Geometry) -> NDArray[np.float32]:
    resampled = SimpleITK.Resample(
        image_from_array(voxels, source),
        target.shape[::-1],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        *_itk_frame(target),
        0.0,
        SimpleITK.sitkFloat32,
    )
    return SimpleITK.GetArrayFromImage(resampled)


def image_from_array(voxels: NDArray[np.float32], grid: Geometry) -> SimpleITK.Image:
    """Return SimpleITK's image of voxels (D, H, W) on a grid; both count in LPS millimetres."""
    image = SimpleITK.GetImageFromArray(voxels)
    origin_mm, spacing_mm, directions = _itk_frame(grid)
    image.SetOrigin(origin_mm)
    image.SetSpacing(spacing_mm)
    image.SetDirection(directions)
    return image


def _itk_frame(grid: Geometry) -> tuple[list[float], list[float], list[float]]:
    """Return a grid's origin, spacing and row-major direction cosines in SimpleITK's order (column, row, slice)."""
    return (
        grid.affine[:3, 3].tolist(),
        list(grid.spacing_mm[::-1]),
        grid.directions[:, ::-1].ravel().tolist(),
    )
