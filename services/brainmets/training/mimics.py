"""Owns what a network must not call a metastasis: enhancing vessels and dura, plexus, cysts without a rim, oedema."""

import numpy as np
from numpy.typing import NDArray

from brainmets.training.fields import Floats, Shape, chance, log_uniform, make_smooth_field, uniform
from brainmets.training.heads import HALF, T1C, T1N, T2F, T2W, Head
from brainmets.training.lesions import CSF_LEVEL, choose_centre

# Distance between the points at which a tube is stamped, mm: below the thinnest radius, so that it has no gaps.
TUBE_STEP_MM = 0.7

Doubles = NDArray[np.float64]


def paint_mimics(head: Head, *, enhanced: bool, rng: np.random.Generator) -> None:
    """Draw into a head what looks like a metastasis and is none.

    Args:
        head: Where; changed in place.
        enhanced: Whether contrast medium was given: without it neither vessels nor dura light up.
        rng: Draws them.
    """
    for _ in range(int(rng.poisson(1.2))):
        _paint_cavity(head, rng)
    for _ in range(int(rng.poisson(0.6))):
        _paint_oedema(head, rng)
    if not enhanced:
        return
    level = log_uniform(rng, 1.3, 3.4)
    if chance(rng, 0.75):
        _paint_dura(head, level=level * uniform(rng, 0.6, 1.0), rng=rng)
    if chance(rng, 0.7):
        _paint_sinus(head, level=level, rng=rng)
    if chance(rng, 0.8):
        _paint_plexus(head, level=level * uniform(rng, 0.6, 1.0), rng=rng)
    for _ in range(int(log_uniform(rng, 8.0, 80.0))):
        _paint_vessel(head, level=level * uniform(rng, 0.6, 1.1), rng=rng)
    for _ in range(int(log_uniform(rng, 2.0, 16.0))):
        paint_vessel_loop(head, level=level * uniform(rng, 0.6, 1.1), rng=rng)


def _paint_vessel(head: Head, *, level: float, rng: np.random.Generator) -> None:
    """Draw a winding tube that tapers, mostly in the CSF of the sulci and at the surface, where vessels run."""
    start = _choose_csf(head, inside_mm=2.0, rng=rng) if chance(rng, 0.6) else None
    start = start or choose_centre(head, inside_mm=uniform(rng, -3.0, 12.0), rng=rng)
    if start is None:
        return
    length = int(uniform(rng, 6.0, 90.0) / TUBE_STEP_MM)
    # Across the slices a vessel is a dot in each of them, which is what looks like a small metastasis.
    heading = rng.normal(size=3) * ((2.5, 1.0, 1.0) if chance(rng, 0.5) else (1.0, 1.0, 1.0))
    turns = rng.normal(scale=0.09, size=(length, 3)).cumsum(axis=0) * 0.5 + heading
    steps = turns / np.linalg.norm(turns, axis=1, keepdims=True) * TUBE_STEP_MM
    radii_mm = np.linspace(log_uniform(rng, 0.6, 2.4), log_uniform(rng, 0.4, 1.2), length)
    _stamp_tube(head, np.array(start) + steps.cumsum(axis=0), radii_mm=radii_mm, level=level)


def paint_vessel_loop(head: Head, *, level: float, rng: np.random.Generator) -> None:
    """Draw vessels that go round healthy tissue, as the arterial circle does and the arteries around the midbrain.

    Such a loop is what looks like a ring-enhancing metastasis in the few slices that hold it.
    """
    centre = choose_centre(head, inside_mm=uniform(rng, 6.0, 30.0), rng=rng)
    if centre is None:
        return
    # Most lie level; the pericallosal arteries' stand upright.
    tilt = log_uniform(rng, 0.03, 0.4)
    normal = rng.normal(size=3) * ((1.0, tilt, tilt) if chance(rng, 0.7) else (tilt, 1.0, 1.0))
    first = np.cross(normal, rng.normal(size=3))
    second = np.cross(normal, first)
    first, second = (axis / np.linalg.norm(axis) for axis in (first, second))
    radii_mm = log_uniform(rng, 4.0, 18.0) * np.exp(rng.normal(scale=0.2, size=2))
    angles = uniform(rng, 0.6, 1.0) * np.linspace(0.0, 2.0 * np.pi, int(7.0 * radii_mm.max() / TUBE_STEP_MM))
    # Waves of its radius, and out of its plane.
    waves = [
        uniform(rng, 0.0, 0.12) * np.sin(uniform(rng, 1.5, 5.0) * angles + uniform(rng, 0.0, 2.0 * np.pi))
        for _ in range(2)
    ]
    rounds = np.cos(angles)[:, None] * first * radii_mm[0] + np.sin(angles)[:, None] * second * radii_mm[1]
    along = np.cross(first, second) * radii_mm.mean()
    points = np.array(centre) + rounds * (1.0 + waves[0])[:, None] + waves[1][:, None] * along
    thickness = 1.0 + 0.3 * np.sin(uniform(rng, 0.5, 3.0) * angles + uniform(rng, 0.0, 2.0 * np.pi))
    _stamp_tube(head, points, radii_mm=log_uniform(rng, 0.6, 2.2) * thickness, level=level)


def _paint_sinus(head: Head, *, level: float, rng: np.random.Generator) -> None:
    """Draw the superior sagittal sinus: a tube along the upper rim of the brain in its middle."""
    brain = head.brain > HALF
    columns = np.flatnonzero(brain.any(axis=(0, 1)))
    middle = int(columns.mean() + rng.normal(scale=1.5))
    profile = brain[:, :, middle]
    rows = np.flatnonzero(profile.any(axis=0))
    if len(rows) < 2:  # noqa: PLR2004 -- no line through fewer points
        return
    rows = rows[int(uniform(rng, 0.0, 0.4) * len(rows)) :]
    tops = np.array([np.flatnonzero(profile[:, row]).max() for row in rows])
    steady = np.convolve(np.pad(tops, 4, mode="edge"), np.ones(9) / 9.0, mode="valid") + uniform(rng, -2.0, 3.0)
    points = np.stack([steady, rows.astype(np.float64), np.full(len(rows), float(middle))], axis=1)
    radii_mm = np.linspace(uniform(rng, 1.0, 2.0), uniform(rng, 2.0, 5.5), len(points))
    _stamp_tube(head, points, radii_mm=radii_mm, level=level)


def _stamp_tube(head: Head, points: Doubles, *, radii_mm: Doubles, level: float) -> None:
    """Fill balls along a line with enhancement; in the other sequences flowing blood is dark."""
    for (d, h, w), radius_mm in zip(points.tolist(), radii_mm.tolist(), strict=True):
        at = (round(d), round(h), round(w))
        if not all(0 <= index < size for index, size in zip(at, head.shape, strict=True)):
            return
        place = head.place_around(at, reach_mm=radius_mm + 1.0)
        grid = np.ogrid[place]
        distance = np.sqrt((grid[0] - d) ** 2 + (grid[1] - h) ** 2 + (grid[2] - w) ** 2)
        ball = np.clip(radius_mm - distance + HALF, 0.0, 1.0).astype(np.float32)
        t1c = head.voxels[T1C][place]
        np.maximum(t1c, level * ball, out=t1c)
        for channel in (T2W, T2F):
            head.voxels[channel][place] *= 1.0 - 0.3 * ball


def _paint_dura(head: Head, *, level: float, rng: np.random.Generator) -> None:
    """Let the brain's cover enhance in patches, and sometimes the falx and the tentorium with it."""
    depth_mm = head.depth_mm
    thickness_mm = uniform(rng, 0.8, 3.5)
    shell = np.clip(thickness_mm - np.abs(depth_mm - uniform(rng, -1.5, 1.5)), 0.0, 1.0)
    patches = make_smooth_field(rng, head.shape, scale_mm=uniform(rng, 18.0, 60.0))
    shell *= np.clip(patches * 2.0 + uniform(rng, -1.5, 2.0), 0.0, 1.0)
    if chance(rng, 0.5):
        shell = np.maximum(shell, _falx(head, depth_mm=depth_mm, rng=rng))
    t1c = head.voxels[T1C]
    np.maximum(t1c, level * shell, out=t1c)


def _falx(head: Head, *, depth_mm: Floats, rng: np.random.Generator) -> Floats:
    """Return a sheet between the halves that reaches some way down from the top."""
    columns = np.flatnonzero((head.brain > HALF).any(axis=(0, 1)))
    bend = make_smooth_field(rng, head.shape, scale_mm=50.0)
    across = np.abs(np.arange(head.shape[2], dtype=np.float32) - np.float32(columns.mean()) + 1.5 * bend)
    sheet: Floats = (np.clip(uniform(rng, 0.8, 1.6) - across, 0.0, 1.0) * (depth_mm > -1.0)).astype(np.float32)
    reach_mm = uniform(rng, 12.0, 45.0)
    sheet *= np.clip((reach_mm - depth_mm) / 3.0, 0.0, 1.0)
    return sheet


def _paint_plexus(head: Head, *, level: float, rng: np.random.Generator) -> None:
    """Let tufts inside the ventricles enhance, often on both sides."""
    for _ in range(int(rng.integers(1, 6))):
        start = _choose_csf(head, inside_mm=22.0, rng=rng)
        if start is None:
            return
        length = int(uniform(rng, 5.0, 22.0) / TUBE_STEP_MM)
        steps = rng.normal(size=3) + 0.4 * rng.normal(size=(length, 3)).cumsum(axis=0)
        steps *= TUBE_STEP_MM / np.linalg.norm(steps, axis=1, keepdims=True)
        radii_mm = uniform(rng, 1.0, 3.5) * np.exp(rng.normal(scale=0.25, size=length))
        _stamp_tube(head, np.array(start) + steps.cumsum(axis=0), radii_mm=radii_mm, level=level)


def _choose_csf(head: Head, *, inside_mm: float, rng: np.random.Generator) -> Shape | None:
    """Return a voxel of CSF at least so deep below the brain's surface, none where there is none."""
    dark = (head.anatomy[::2, ::2, ::2] < CSF_LEVEL) & (head.coarse_depth_mm > inside_mm)
    candidates = np.flatnonzero(dark)
    if not len(candidates):
        return None
    d, h, w = (2 * int(index) for index in np.unravel_index(candidates[rng.integers(len(candidates))], dark.shape))
    return d, h, w


def _paint_cavity(head: Head, rng: np.random.Generator) -> None:
    """Draw a dark cavity without an enhancing rim, like a cyst, a widened ventricle or an old infarct."""
    spot = _draw_spot(head, rng=rng, radius_mm=log_uniform(rng, 3.0, 30.0))
    if spot is None:
        return
    place, inside = spot
    dark = uniform(rng, 0.2, 0.6)
    levels = {T1C: dark, T1N: dark, T2W: uniform(rng, 2.0, 3.2), T2F: uniform(rng, 0.2, 1.8)}
    for channel, level in levels.items():
        tissue = head.voxels[channel][place]
        tissue += inside * (level - tissue)


def _paint_oedema(head: Head, rng: np.random.Generator) -> None:
    """Draw a patch of oedema or gliosis around nothing."""
    spot = _draw_spot(head, rng=rng, radius_mm=log_uniform(rng, 4.0, 28.0))
    if spot is None:
        return
    place, inside = spot
    dark = uniform(rng, 0.65, 0.95)
    gains = {T1C: dark, T1N: dark, T2W: uniform(rng, 1.2, 2.0), T2F: uniform(rng, 1.3, 2.2)}
    for channel, gain in gains.items():
        head.voxels[channel][place] *= 1.0 + (gain - 1.0) * inside


def _draw_spot(
    head: Head, *, radius_mm: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], Floats] | None:
    """Return a box and how far inside an uneven ellipsoid each of its voxels lies; none where nothing is free."""
    centre = choose_centre(head, inside_mm=2.0, rng=rng)
    if centre is None:
        return None
    place = head.place_around(centre, reach_mm=1.6 * radius_mm + 2.0)
    axes = radius_mm * np.exp(rng.normal(scale=0.25, size=3))
    grid = np.ogrid[place]
    distance = np.sqrt(sum(((axis - at) / size) ** 2 for axis, at, size in zip(grid, centre, axes, strict=True)))
    box: Shape = distance.shape
    rough = make_smooth_field(rng, box, scale_mm=max(3.0, 0.7 * radius_mm))
    depth_mm = (1.0 - distance + uniform(rng, 0.0, 0.2) * rough) * radius_mm
    inside = np.clip(depth_mm / uniform(rng, 1.0, 5.0) + HALF, 0.0, 1.0) * head.brain[place]
    inside[head.target[place]] = 0.0
    return place, inside.astype(np.float32)
