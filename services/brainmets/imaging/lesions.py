"""Owns lesions: probabilities become a mask, the mask becomes lesions, and each lesion is measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.brain_mask import BrainMask
from brainmets.imaging.diameters import measure_diameters
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.midline import Midline
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.probability_map import ProbabilityMap

# Voxels that share a face, an edge or a corner belong together, as in the BraTS-METS evaluation.
CONNECTIVITY_26 = np.ones((3, 3, 3), dtype=np.bool_)
# A candidate of which less than this lies in the brain is none of the brain's. Well below a half: a metastasis of the
# dura lies on the border, and a lost lesion is worse than a false candidate.
INSIDE_FRACTION = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class LesionMask:
    """Which voxels of a grid are lesion.

    Attributes:
        voxels: (D, H, W).
        geometry: The grid.

    Raises:
        InternalError: The voxels do not fit the grid.
    """

    voxels: NDArray[np.bool_]
    geometry: Geometry

    def __post_init__(self) -> None:
        _check_fit(self.voxels, self.geometry, dtype=np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMap:
    """Which lesion each voxel of a grid belongs to.

    Attributes:
        labels: (D, H, W), int32: 0 beside the lesions, 1 to `count` inside, by falling volume.
        geometry: The grid.
        boxes: The smallest box that holds each lesion, in order of their labels.

    Raises:
        InternalError: The labels do not fit the grid.
    """

    labels: NDArray[np.int32]
    geometry: Geometry
    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        _check_fit(self.labels, self.geometry, dtype=np.int32)

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.boxes)

    @property
    def mask(self) -> LesionMask:
        """All lesions together."""
        return LesionMask(self.labels > 0, self.geometry)

    def points_mm(self, label: int) -> NDArray[np.float64]:
        """Return the LPS points (N, 3) of a lesion's voxels."""
        box = self.boxes[label - 1]
        return self.geometry.crop(box).index_to_world(np.argwhere(self.labels[box.slices] == label))


def binarize(probability_map: ProbabilityMap, threshold: float) -> LesionMask:
    """Return the voxels whose probability is the threshold or more."""
    return LesionMask(probability_map.voxels >= threshold, probability_map.geometry)


def find_candidates(probability_map: ProbabilityMap, point: OperatingPoint) -> InstanceMap:
    """Return the lesions that an operating point makes of probabilities, in the brain or not, by falling volume."""
    asks_more = point.min_peak_probability > point.threshold
    return find_lesions(
        binarize(probability_map, point.threshold),
        min_volume_mm3=point.min_lesion_volume_mm3,
        seeds=binarize(probability_map, point.min_peak_probability) if asks_more else None,
    )


def find_lesions(mask: LesionMask, *, min_volume_mm3: float, seeds: LesionMask | None = None) -> InstanceMap:
    """Return the mask's 26-connected components, numbered by falling volume.

    Args:
        mask: The voxels.
        min_volume_mm3: Smaller ones are left out.
        seeds: Those that hold none of these voxels are left out too.
    """
    labels = np.zeros(mask.geometry.shape, dtype=np.int32)
    box = find_bounding_box(mask.voxels)
    if box is None:
        return InstanceMap(labels, mask.geometry, ())
    components, _ = ndimage.label(mask.voxels[box.slices], structure=CONNECTIVITY_26)
    voxel_counts = np.bincount(components.ravel())
    voxel_counts[0] = 0
    # Stable, so that lesions of one size keep the order of their first voxels and a study its numbers.
    by_size = np.argsort(-voxel_counts, kind="stable")
    volumes_mm3 = voxel_counts[by_size] * mask.geometry.voxel_volume_mm3
    large = (volumes_mm3 >= min_volume_mm3) & (volumes_mm3 > 0.0)
    if seeds is not None:
        seeded = np.bincount(components[seeds.voxels[box.slices]], minlength=len(voxel_counts))
        large &= seeded[by_size] > 0
    kept = by_size[large]
    renumbered = np.zeros(len(voxel_counts), dtype=np.int32)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    labels[box.slices] = renumbered[components]
    places = ndimage.find_objects(labels[box.slices], max_label=len(kept))
    return InstanceMap(labels, mask.geometry, tuple(_shifted(place, box.start) for place in places))


def drop_outside_brain(instances: InstanceMap, brain: BrainMask, grid: Geometry) -> InstanceMap:
    """Return the lesions of which at least `INSIDE_FRACTION` lies in the brain, numbered anew in their order.

    Args:
        instances: The candidates, on any grid.
        brain: Where the brain is; nothing is left out when that is not known.
        grid: The grid that the brain's mask was taken from.
    """
    if brain.step == 0 or instances.count == 0:
        return instances
    told = brain.unpack(grid)
    inside = tuple(
        label
        for label in range(1, instances.count + 1)
        if _share_inside(instances.points_mm(label), told, grid=grid, step=brain.step) >= INSIDE_FRACTION
    )
    # As a rule all of them stay, and with them the map.
    return instances if len(inside) == instances.count else _keep(instances, inside)


def _keep(instances: InstanceMap, kept: tuple[int, ...]) -> InstanceMap:
    """Return the lesions of some labels, numbered anew in their order."""
    labels = np.zeros_like(instances.labels)
    boxes = tuple(instances.boxes[label - 1] for label in kept)
    for number, (label, box) in enumerate(zip(kept, boxes, strict=True), start=1):
        labels[box.slices][instances.labels[box.slices] == label] = number
    return InstanceMap(labels, instances.geometry, boxes)


def _share_inside(points_mm: NDArray[np.float64], told: NDArray[np.bool_], *, grid: Geometry, step: int) -> float:
    """Return the share of LPS points (N, 3) whose nearest told voxel is brain; beyond the grid none is."""
    nearest = np.rint(grid.world_to_index(points_mm) / step).astype(np.intp)
    on_grid = ((nearest >= 0) & (nearest < told.shape)).all(axis=1)
    return float(np.count_nonzero(told[tuple(nearest[on_grid].T)]) / len(points_mm))


def measure_lesions(instances: InstanceMap, probability_map: ProbabilityMap, *, midline: Midline) -> tuple[Lesion, ...]:
    """Measure every lesion, in order of their labels.

    Args:
        instances: The lesions.
        probability_map: What they were decided from, on the same grid.
        midline: The brain's midsagittal plane, which tells left from right.
    """
    return tuple(
        _measure(instances, probability_map, label=label, box=box, midline=midline)
        for label, box in enumerate(instances.boxes, start=1)
    )


def _shifted(place: tuple[slice, ...], start: tuple[int, int, int]) -> Box:
    d, h, w = ((axis.start + first, axis.stop + first) for axis, first in zip(place, start, strict=True))
    return Box((d[0], h[0], w[0]), (d[1], h[1], w[1]))


def _measure(
    instances: InstanceMap, probability_map: ProbabilityMap, *, label: int, box: Box, midline: Midline
) -> Lesion:
    voxels = instances.labels[box.slices] == label
    geometry = instances.geometry.crop(box)
    probabilities = probability_map.voxels[box.slices][voxels]
    diameters = measure_diameters(voxels, geometry)
    x_mm, y_mm, z_mm = geometry.index_to_world(np.argwhere(voxels).mean(axis=0, keepdims=True))[0].tolist()
    return Lesion(
        label=label,
        volume_mm3=len(probabilities) * geometry.voxel_volume_mm3,
        longest_axial_diameter_mm=diameters.longest_axial_mm,
        perpendicular_axial_diameter_mm=diameters.perpendicular_axial_mm,
        longest_diameter_mm=diameters.longest_mm,
        bounding_box=box,
        centroid_mm=(x_mm, y_mm, z_mm),
        # Blending and interpolation may leave a probability of 1 a rounding error above it.
        mean_probability=min(1.0, float(probabilities.mean(dtype=np.float64))),
        max_probability=min(1.0, float(probabilities.max())),
        side=midline.side_of((x_mm, y_mm, z_mm)),
    )


def _check_fit(voxels: NDArray[np.bool_] | NDArray[np.int32], geometry: Geometry, *, dtype: type[np.generic]) -> None:
    if voxels.shape != geometry.shape or voxels.dtype != dtype:
        raise InternalError(
            "Lesion voxels do not fit their grid",
            expected=f"{np.dtype(dtype)} {geometry.shape}",
            got=f"{voxels.dtype} {voxels.shape}",
            remedy="report it as a defect of brainmets",
        )
