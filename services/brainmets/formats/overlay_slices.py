"""Owns which axial slices a picture of a study shows: as many lesions as can be, or a tour of an empty head."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import InstanceMap

MAX_SLICES = 12
# With few lesions, further slices through them show their extent.
WANTED_SLICES = 6
# Slices nearer to each other than this show the same.
MIN_DISTANCE_MM = 4.0
# A slice is worth showing for a lesion of which it has this share of the largest area.
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
    chosen = _cover(areas / areas.max(axis=1, keepdims=True))
    return tuple(sorted(_spread(chosen, areas.sum(axis=0), spacing_mm=grid.spacing_mm[0])))


def _cover(shares: NDArray[np.float64]) -> list[int]:
    """Return slices that show as many lesions as can be.

    Each in turn shows the most lesions that the slices before it do not show, and of such the most where they are
    large; the first one shows the largest lesion.

    Args:
        shares: (lesion, slice), areas in fractions of each lesion's largest.
    """
    # A lesion seen for the first time counts more than all that are seen better.
    more = len(shares) + 1
    seen = np.where(shares >= WORTH_FRACTION, more, 0.0)
    well_seen = np.where(shares >= SHOWN_FRACTION, shares, 0.0)
    chosen = [int(shares[0].argmax())]
    while len(chosen) < MAX_SLICES:
        unseen = shares[:, chosen].max(axis=1) < WORTH_FRACTION
        unwell = shares[:, chosen].max(axis=1) < SHOWN_FRACTION
        gains = seen[unseen].sum(axis=0) + well_seen[unwell].sum(axis=0)
        if not gains.any():
            break
        chosen.append(int(gains.argmax()))
    return chosen


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
