"""Owns procedural metastases: their plans, drawn at random, and how one is implanted into a head.

Intensities are in brain units: 1 is the median of the brain in that sequence, 0 is air. The target is the enhancing
part with whatever necrosis or cyst it encloses; oedema around it is drawn but is not target.
"""

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from brainmets.training.fields import Floats, Shape, chance, log_uniform, make_smooth_field, uniform
from brainmets.training.heads import HALF, Head
from brainmets.training.mass_effect import push_tissue

# Width of the edge over which lesion passes into tissue, mm: partial volume of a 1 mm voxel and blur.
EDGE_MM = 1.2
# Softness of the outer border of oedema, mm.
OEDEMA_EDGE_MM = 3.0
# Below this share of the brain's median in T1 it is CSF, into which oedema does not spread.
CSF_LEVEL = 0.55
# Places that are tried for a lesion until one is free of others.
PLACEMENT_TRIES = 8
# Above this diameter lesions may have lobes, and push what lies around them.
LOBED_MM = 7.0
MASS_EFFECT_MM = 8.0


class LesionKind(Enum):
    """How a metastasis enhances."""

    SOLID = auto()
    RING = auto()
    CYSTIC = auto()


@dataclass(frozen=True, slots=True)
class LesionPlan:
    """One metastasis to be drawn.

    Attributes:
        kind: How it enhances.
        diameter_mm: Mean diameter.
        rim_mm: Thickness of the enhancing rim; without meaning in a solid one.
        rim_gap_fraction: Share of the rim that hardly enhances, in [0, 1).
        irregularity: How far its surface strays, as a share of the radius.
        lobes: Ellipsoids that make it up.
        septa: Whether enhancing walls cross its core.
        nodule: Whether a solid nodule sits on the inside of its rim.
        oedema_mm: Reach of the oedema around it; 0 is none.
        mass_effect: Share of its radius by which it pushes tissue away instead of replacing it, in [0, 1).
        rim_levels: Intensity of what enhances, for t1c, t1n, t2w, t2f.
        core_levels: Intensity of what does not.
        oedema_gains: Factor on tissue in oedema.
    """

    kind: LesionKind
    diameter_mm: float
    rim_mm: float
    rim_gap_fraction: float
    irregularity: float
    lobes: int
    septa: bool
    nodule: bool
    oedema_mm: float
    mass_effect: float
    rim_levels: tuple[float, float, float, float]
    core_levels: tuple[float, float, float, float]
    oedema_gains: tuple[float, float, float, float]


def draw_lesion_plans(rng: np.random.Generator) -> tuple[LesionPlan, ...]:
    """Return a study's metastases, largest first: none in one study of eight, up to 20 else, mostly few."""
    if chance(rng, 0.12):
        return ()
    count = min(20, 1 + int(rng.gamma(1.3, 3.5)))
    # Large ones are few in a head: they displace each other.
    large = int(chance(rng, 0.45)) + int(chance(rng, 0.15))
    diameters = [log_uniform(rng, 18.0, 65.0) for _ in range(min(large, count))]
    diameters += [log_uniform(rng, 2.5, 18.0) for _ in range(count - len(diameters))]
    return tuple(draw_lesion_plan(rng, diameter_mm=diameter) for diameter in sorted(diameters, reverse=True))


def draw_lesion_plan(rng: np.random.Generator, *, diameter_mm: float) -> LesionPlan:
    """Return one metastasis of the given mean diameter; the larger it is, the likelier its core is necrotic."""
    hollow = chance(rng, np.clip((diameter_mm - 5.0) / 20.0, 0.0, 0.85))
    kind = LesionKind.SOLID
    if hollow:
        kind = LesionKind.CYSTIC if chance(rng, np.clip(diameter_mm / 60.0, 0.15, 0.6)) else LesionKind.RING
    cystic = kind is LesionKind.CYSTIC
    rim_mm = uniform(rng, 0.9, 2.6) if cystic else uniform(rng, 1.3, max(2.0, min(7.0, 0.22 * diameter_mm)))
    reach_mm = uniform(rng, 2.0, 8.0 + 0.4 * diameter_mm) if chance(rng, 0.65) else 0.0
    return LesionPlan(
        kind=kind,
        diameter_mm=diameter_mm,
        rim_mm=rim_mm,
        rim_gap_fraction=uniform(rng, 0.0, 0.45) if chance(rng, 0.4) else 0.0,
        irregularity=uniform(rng, 0.02, 0.3),
        lobes=int(rng.choice([1, 1, 1, 2, 3])) if diameter_mm > LOBED_MM else 1,
        septa=chance(rng, 0.2),
        nodule=chance(rng, 0.25),
        oedema_mm=reach_mm,
        mass_effect=uniform(rng, 0.2, 0.8) if diameter_mm > MASS_EFFECT_MM and chance(rng, 0.6) else 0.0,
        rim_levels=_draw_rim_levels(rng),
        core_levels=_draw_core_levels(rng, cystic=cystic),
        oedema_gains=(
            uniform(rng, 0.6, 0.95), uniform(rng, 0.55, 0.95), uniform(rng, 1.2, 2.2), uniform(rng, 1.3, 2.4)
        ),
    )  # fmt: skip


def _draw_rim_levels(rng: np.random.Generator) -> tuple[float, float, float, float]:
    t1n = uniform(rng, 1.2, 1.8) if chance(rng, 0.08) else uniform(rng, 0.55, 1.05)
    t1c = log_uniform(rng, 1.3, 3.6)
    return (t1c, t1n, uniform(rng, 0.7, 2.1), uniform(rng, 0.8, 2.2))


def _draw_core_levels(rng: np.random.Generator, *, cystic: bool) -> tuple[float, float, float, float]:
    t1c = uniform(rng, 0.15, 0.7) if cystic else uniform(rng, 0.3, 1.0)
    t1n = t1c * uniform(rng, 0.85, 1.1)
    return (t1c, t1n, uniform(rng, 1.3, 3.4), uniform(rng, 0.25, 2.2))


def implant_lesion(head: Head, plan: LesionPlan, *, centre: Shape, rng: np.random.Generator) -> None:
    """Draw one metastasis into a head and into its target.

    Args:
        head: Where; changed in place.
        plan: What.
        centre: Voxel (slice, row, column) around which it lies.
        rng: Draws its shape and texture.
    """
    reach_mm = 0.5 * plan.diameter_mm * (1.35 + 1.2 * plan.irregularity) + 1.7 * plan.oedema_mm + 3.0
    place = head.place_around(centre, reach_mm=reach_mm)
    if plan.mass_effect > 0.0:
        push_tissue(head, place, centre=centre, radius_mm=0.5 * plan.diameter_mm, strength=plan.mass_effect)
    depth_mm = _draw_depth(plan, offsets_mm=_offsets(place, centre), rng=rng)  # (D, H, W), positive inside
    brain = head.brain[place]
    lesion = _soft(depth_mm) * brain
    if plan.oedema_mm > 0.0:
        _draw_oedema(head, plan, place=place, depth_mm=depth_mm, rng=rng)
    rim = _draw_rim(plan, depth_mm=depth_mm, rng=rng)
    texture = 1.0 + 0.12 * make_smooth_field(rng, depth_mm.shape, scale_mm=3.0)
    for channel in head.channels:
        level = plan.core_levels[channel] + rim * (plan.rim_levels[channel] - plan.core_levels[channel])
        tissue = head.voxels[channel][place]
        tissue += lesion * (level * texture - tissue)
    head.target[place] |= lesion > HALF


def _offsets(place: tuple[slice, slice, slice], centre: Shape) -> tuple[Floats, Floats, Floats]:
    """Return each voxel's offset from the centre on each axis, shaped to broadcast."""
    d, h, w = (
        np.arange(axis.start, axis.stop, dtype=np.float32) - middle for axis, middle in zip(place, centre, strict=True)
    )
    return d[:, None, None], h[None, :, None], w[None, None, :]


def _soft(depth_mm: Floats) -> Floats:
    share: Floats = np.clip(depth_mm / EDGE_MM + 0.5, 0.0, 1.0)
    return share


def _draw_depth(plan: LesionPlan, *, offsets_mm: tuple[Floats, Floats, Floats], rng: np.random.Generator) -> Floats:
    """Return how deep below the lesion's surface each voxel lies, in mm, negative outside."""
    radius_mm = 0.5 * plan.diameter_mm
    lobes = []
    for lobe in range(plan.lobes):
        size = 1.0 if lobe == 0 else uniform(rng, 0.5, 0.85)
        shift = np.zeros(3) if lobe == 0 else rng.normal(size=3) * 0.45 * radius_mm
        axes = radius_mm * size * np.exp(rng.normal(scale=0.18, size=3))
        turn = (Rotation.random(rng=rng).as_matrix() / axes[:, None]).astype(np.float32)
        d, h, w = (axis - np.float32(by) for axis, by in zip(offsets_mm, shift, strict=True))
        distance = np.sqrt(sum((row[0] * d + row[1] * h + row[2] * w) ** 2 for row in turn))
        lobes.append((1.0 - distance) * radius_mm * size)
    depth_mm: Floats = np.maximum.reduce(lobes).astype(np.float32)
    rough = make_smooth_field(rng, depth_mm.shape, scale_mm=max(3.0, 0.7 * radius_mm))
    depth_mm += plan.irregularity * radius_mm * 0.6 * rough
    return depth_mm


def _draw_rim(plan: LesionPlan, *, depth_mm: Floats, rng: np.random.Generator) -> Floats:
    """Return how much of each voxel enhances, in [0, 1]."""
    if plan.kind is LesionKind.SOLID:
        return np.ones_like(depth_mm)
    uneven = make_smooth_field(rng, depth_mm.shape, scale_mm=9.0)
    thickness_mm = plan.rim_mm * np.clip(1.0 + 0.4 * uneven, 0.4, 2.5)
    rim = 1.0 - _soft(depth_mm - thickness_mm)
    if plan.rim_gap_fraction > 0.0:
        gate = make_smooth_field(rng, depth_mm.shape, scale_mm=14.0)
        closed = np.clip((gate - np.quantile(gate[::2, ::2, ::2], plan.rim_gap_fraction)) * 3.0 + 0.5, 0.0, 1.0)
        rim *= 0.15 + 0.85 * closed
    if plan.septa:
        wall = np.abs(make_smooth_field(rng, depth_mm.shape, scale_mm=max(6.0, 0.3 * plan.diameter_mm)))
        rim = np.maximum(rim, np.clip(1.0 - wall / 0.15, 0.0, 0.9))
    if plan.nodule:
        inner = np.argwhere((depth_mm > plan.rim_mm) & (depth_mm < 2.0 * plan.rim_mm + 2.0))
        if len(inner):
            at = inner[rng.integers(len(inner))]
            d, h, w = np.ogrid[tuple(slice(0, size) for size in depth_mm.shape)]
            distance = np.sqrt((d - at[0]) ** 2.0 + (h - at[1]) ** 2.0 + (w - at[2]) ** 2.0).astype(np.float32)
            rim = np.maximum(rim, _soft(uniform(rng, 0.1, 0.22) * plan.diameter_mm - distance))
    return rim.astype(np.float32)


def _draw_oedema(
    head: Head, plan: LesionPlan, *, place: tuple[slice, slice, slice], depth_mm: Floats, rng: np.random.Generator
) -> None:
    uneven = make_smooth_field(rng, depth_mm.shape, scale_mm=12.0)
    border_mm = plan.oedema_mm * np.clip(1.0 + 0.5 * uneven, 0.1, 2.0) + depth_mm
    spread = np.clip(border_mm / OEDEMA_EDGE_MM + 0.5, 0.0, 1.0) * head.brain[place]
    spread *= np.clip((head.anatomy[place] - CSF_LEVEL) * 5.0, 0.0, 1.0)
    for channel in head.channels:
        head.voxels[channel][place] *= 1.0 + (plan.oedema_gains[channel] - 1.0) * spread


def choose_centre(head: Head, *, inside_mm: float, rng: np.random.Generator, at_junction: bool = False) -> Shape | None:
    """Return a voxel of the brain for a lesion's centre, none where the brain has no such voxel.

    Args:
        head: Where.
        inside_mm: Least depth below the brain's surface.
        rng: Draws it.
        at_junction: Whether it shall lie where grey passes into white matter, which in T1 is the brain's median.
    """
    candidates: NDArray[np.intp] = np.argwhere(head.coarse_depth_mm > inside_mm)
    if not len(candidates):
        return None
    tries = candidates[rng.integers(len(candidates), size=PLACEMENT_TRIES)]
    if at_junction:
        levels = head.anatomy[tuple(2 * tries.T)]
        tries = tries[np.argsort(np.abs(levels - 1.0))]
    return next((_full_size(at) for at in tries if not head.is_taken(at)), None)


def _full_size(coarse_index: NDArray[np.intp]) -> Shape:
    """Return the voxel of a head that lies at one of the grid of half the size."""
    d, h, w = (2 * coarse_index).tolist()
    return d, h, w
