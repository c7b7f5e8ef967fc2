"""Owns which axial slices a picture of a study shows: every lesion where it is largest, or a tour of an empty head."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import InstanceMap

MAX_SLICES = 12
# With few lesions, further slices through them show their extent.
WANTED_SLICES = 6
# Slices nearer to each other than this show the same.
MIN_DISTANCE_MM = 4.0
# A further slice is worth showing when it has this share of the largest area.
WORTH_FRACTION = 0.2
# A lesion that a chosen slice already cuts at this share of its largest area needs no slice of its own.
SHOWN_FRACTION = 0.7
# The part of what is shown, from its lower end, that is worth a look: near its ends lie brainstem and scalp.
BRAIN_FRACTIONS = (0.2, 0.9)


def choose_slices(instances: InstanceMap, grid: Geometry) -> tuple[int, ...]:
    """Return the indices of the slices of an axial grid that are worth looking at, from foot to head.

    Args:
        instances: The lesions, on a grid of their own.
        grid: The axial grid whose slices are chosen, at most `MAX_SLICES` of them.
    """
    if instances.count == 0:
        return _tour(grid)
    areas = _measure_areas(instances, grid)
    chosen: list[int] = []
    for lesion_areas in areas:
        if len(chosen) == MAX_SLICES:
            break
        if not chosen or lesion_areas[chosen].max() < SHOWN_FRACTION * lesion_areas.max():
            chosen.append(int(lesion_areas.argmax()))
    return tuple(sorted(_spread(chosen, areas.sum(axis=0), spacing_mm=grid.spacing_mm[0])))


def _tour(grid: Geometry) -> tuple[int, ...]:
    places = np.linspace(*BRAIN_FRACTIONS, WANTED_SLICES) * (grid.shape[0] - 1)
    return tuple(sorted(set(np.rint(places).astype(int).tolist())))


def _measure_areas(instances: InstanceMap, grid: Geometry) -> NDArray[np.float64]:
    """Return each lesion's voxels (lesion, slice) nearest to each slice, a measure of its area there."""
    areas = np.zeros((instances.count, grid.shape[0]))
    for index, lesion in enumerate(instances.lesions):
        slices = np.rint(grid.world_to_index(lesion.points_mm())[:, 0]).astype(np.int64)
        areas[index] = np.bincount(slices.clip(0, grid.shape[0] - 1), minlength=grid.shape[0])
    return areas


def _spread(chosen: list[int], areas: NDArray[np.float64], *, spacing_mm: float) -> list[int]:
    """Return the chosen slices and more that show lesion, each as far from the others as can be."""
    candidates = np.flatnonzero(areas >= WORTH_FRACTION * areas.max())
    spread = list(chosen)
    while len(spread) < WANTED_SLICES:
        distances_mm = np.abs(candidates[:, np.newaxis] - np.array(spread)).min(axis=1) * spacing_mm
        if distances_mm.max() < MIN_DISTANCE_MM:
            break
        spread.append(int(candidates[distances_mm.argmax()]))
    return spread
