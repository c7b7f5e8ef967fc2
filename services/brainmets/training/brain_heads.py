"""Owns the heads that the brain network learns from: real ones, others' brains inside of them, and simulated skulls.

All of it happens on voxels of 2 mm, the network's own being twice as large: a head is drawn in a tenth of a second.
"""

from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.foreground import block_means
from brainmets.training.backgrounds import Background, load_backgrounds
from brainmets.training.deformation import deform_background
from brainmets.training.fields import Floats, chance, enlarge, make_smooth_field, uniform
from brainmets.training.heads import HALF, T1C
from brainmets.training.lesions import draw_lesion_plans
from brainmets.training.mimics import paint_mimics
from brainmets.training.skull import SKULL_MARGIN_MM, paint_skull
from brainmets.training.studies import implant_lesions

SOURCE_MM = 2.0
# The brain is taught with the CSF of its sulci and fissures: gaps narrower than twice this belong to it.
CLOSING_MM = 6.0
# Simulated skulls drawn around each stripped head; each is turned, bent and recoloured again and again.
SKULLS = 8
# Least intensity of brain tissue as a fraction of its median, where an outline that was registered is corrected.
TISSUE_LEVEL = 0.5
# How far a registered outline may be off, and how thick the bridges to dura and muscle are, mm.
OUTLINE_ERROR_MM = 10.0
BRIDGE_MM = 3.0


class Kind(Enum):
    """What surrounds the brain of a head."""

    REAL = auto()
    SKULL = auto()
    STRIPPED = auto()
    PHANTOM = auto()


@dataclass(frozen=True, slots=True, eq=False)
class BrainHead:
    """A head whose brain is known, on voxels of 2 mm.

    Attributes:
        kind: What surrounds the brain: a real head, a simulated skull, nothing, or no brain at all but a test object.
        voxels: (D, H, W), T1 in brain units: 1 is the brain's median, 0 is air.
        brain: (D, H, W), 1 in the brain, else 0.
        is_stripped: Whether nothing is there beside the brain.
    """

    kind: Kind
    voxels: Floats
    brain: Floats
    is_stripped: bool = False


def load_brain_heads(directories: Sequences[Path], *, without: Sequences[str], seed: int) -> tuple[BrainHead, ...]:
    """Return the heads to learn from.

    Args:
        directories: Folders that hold the backgrounds.
        without: Names of backgrounds that are kept out.
        seed: Draws the simulated skulls.

    Raises:
        InvalidArgumentError: The directories hold none.
    """
    backgrounds = tuple(each for each in load_backgrounds(directories) if _is_used(each, without))
    whole = [_load_whole(each) for each in backgrounds if not each.stripped]
    stripped = [_as_head(Kind.STRIPPED, each.voxels[T1C], each.brain) for each in backgrounds if each.stripped]
    transplanted = [transplant_brain(brain, into=head) for head in whole for brain in stripped]
    rng = np.random.default_rng(seed)
    skulls = [draw_skull(each, rng) for each in backgrounds if each.stripped for _ in range(SKULLS)]
    return (*whole, *stripped, *transplanted, *skulls)


def _is_used(background: Background, without: Sequences[str]) -> bool:
    name, _, part = background.name.partition("/")
    # The diseased half of the glioma's head is no background; of the others the whole head says all.
    return name not in without and (not part or name.startswith("glioma"))


def _load_whole(background: Background) -> BrainHead:
    head = _as_head(Kind.REAL, background.voxels[T1C], background.brain)
    return refine_outline(head) if background.name == "studyforrest" else head


def _as_head(kind: Kind, voxels: Floats, brain: Floats) -> BrainHead:
    coarse, share = (block_means(each, [2, 2, 2]) for each in (voxels, brain))
    brain = close_gaps(share > HALF).astype(np.float32)
    return BrainHead(kind, coarse, brain, is_stripped=kind is Kind.STRIPPED)


def refine_outline(head: BrainHead) -> BrainHead:
    """Return a head whose brain ends where its tissue does, and not where another head's would.

    Within reach of the registered outline, brain is the tissue that hangs together once thin bridges are cut.
    """
    prior = head.brain > HALF
    level = TISSUE_LEVEL * float(np.median(head.voxels[prior]))
    tissue = grow(prior, OUTLINE_ERROR_MM) & (head.voxels > level)
    labels, _ = ndimage.label(_shrink(tissue, BRIDGE_MM))
    inside = labels[prior]
    largest = labels == np.bincount(inside[inside > 0]).argmax()
    brain = close_gaps(grow(largest, 1.5 * BRIDGE_MM) & tissue)
    smooth = ndimage.gaussian_filter(brain.astype(np.float32), 1.0) > HALF
    return BrainHead(head.kind, head.voxels, smooth.astype(np.float32))


def close_gaps(brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a brain with its sulci, fissures and ventricles."""
    margin = int(CLOSING_MM / SOURCE_MM) + 2
    closed = _shrink(grow(np.pad(brain, margin), CLOSING_MM), CLOSING_MM)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(closed[margin:-margin, margin:-margin, margin:-margin])
    return filled


def grow(voxels: NDArray[np.bool_], by_mm: float) -> NDArray[np.bool_]:
    """Return a mask (D, H, W) on voxels of 2 mm with all that lies within a distance of it."""
    grown: NDArray[np.bool_] = ndimage.distance_transform_edt(~voxels, sampling=SOURCE_MM) <= by_mm
    return grown


def _shrink(voxels: NDArray[np.bool_], by_mm: float) -> NDArray[np.bool_]:
    shrunk: NDArray[np.bool_] = ndimage.distance_transform_edt(voxels, sampling=SOURCE_MM) > by_mm
    return shrunk


def transplant_brain(stripped: BrainHead, *, into: BrainHead) -> BrainHead:
    """Return a head with another's brain in the place of its own; what the new one leaves free is CSF."""
    old, new = into.brain > HALF, stripped.brain > HALF
    place, source = find_bounding_box(old), find_bounding_box(new)
    assert place is not None and source is not None  # noqa: S101, PT018 -- a brain is never empty
    fitted = enlarge(np.stack([stripped.voxels[source.slices], stripped.brain[source.slices]]), place.shape)
    voxels, brain = np.where(old, np.float32(0.35), into.voxels), np.zeros_like(into.brain)
    inside = fitted[1] > HALF
    voxels[place.slices] = np.where(inside, fitted[0], voxels[place.slices])
    brain[place.slices] = inside
    return BrainHead(Kind.REAL, voxels, brain)


def draw_skull(background: Background, rng: np.random.Generator) -> BrainHead:
    """Return a stripped head with lesions, what looks like them, and a simulated skull, all drawn."""
    present = (True, False, False, False)
    head = deform_background(background, rng, margin_mm=SKULL_MARGIN_MM, present=present)
    paint_mimics(head, enhanced=True, rng=rng)
    implant_lesions(head, draw_lesion_plans(rng), rng=rng)
    paint_skull(head, enhanced=chance(rng, 0.8), rng=rng)
    return _as_head(Kind.SKULL, head.voxels[T1C], head.brain)


def draw_phantom(rng: np.random.Generator) -> BrainHead:
    """Return an ellipsoid of uneven tissue, with a shell of bone and scalp around it or none, as test objects have."""
    d, h, w = size = tuple(int(each) for each in rng.integers(36, 84, size=3))
    grid = np.ogrid[:d, :h, :w]
    radius = np.sqrt(
        sum(((axis - (length - 1) / 2) / (length / 2 - 10.0)) ** 2 for axis, length in zip(grid, size, strict=True))
    )
    texture = 1.0 + uniform(rng, 0.02, 0.3) * make_smooth_field(rng, radius.shape, scale_mm=uniform(rng, 4.0, 20.0))
    inside = radius < 1.0
    stripped = chance(rng, 0.6)
    bone, scalp = 1.0 + uniform(rng, 0.05, 0.15), 1.2 + uniform(rng, 0.0, 0.15)
    shells = np.select([radius < bone, radius < scalp], [0.2, uniform(rng, 0.8, 2.5)], default=0.0)
    voxels = np.where(inside, texture, 0.0 if stripped else shells)
    return BrainHead(Kind.PHANTOM, voxels.astype(np.float32), inside.astype(np.float32), is_stripped=stripped)
