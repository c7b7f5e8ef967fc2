"""Owns the simulated skull and scalp around a brain that was stripped of them."""

import numpy as np

from brainmets.training.fields import make_smooth_field, uniform
from brainmets.training.heads import T1C, T1N, T2F, T2W, Head

# Largest thickness of what is drawn around a brain, mm: the room that a head needs beside it.
SKULL_MARGIN_MM = 22


def paint_skull(head: Head, *, enhanced: bool, rng: np.random.Generator) -> None:
    """Draw CSF, bone with its marrow, and scalp as shells of uneven thickness around the brain, in place.

    Args:
        head: Where; it needs `SKULL_MARGIN_MM` of air around the brain.
        enhanced: Whether contrast medium was given: then the scalp's mucosa and skin take it up.
        rng: Draws the shells.
    """
    uneven = 1.0 + 0.35 * make_smooth_field(rng, head.shape, scale_mm=30.0)
    above_mm = -head.depth_mm / np.clip(uneven, 0.5, 1.6)
    csf_mm, bone_mm, scalp_mm = uniform(rng, 1.0, 5.0), uniform(rng, 3.5, 8.0), uniform(rng, 2.5, 8.0)
    marrow_mm = csf_mm + bone_mm * uniform(rng, 0.35, 0.65)
    outer_mm = csf_mm + bone_mm
    edges_mm = [0.5, csf_mm, marrow_mm - 0.18 * bone_mm, marrow_mm + 0.18 * bone_mm, outer_mm, outer_mm + scalp_mm]
    fat, muscle = uniform(rng, 1.3, 3.0), uniform(rng, 0.7, 1.2)
    marrow = uniform(rng, 0.4, 2.0)
    bone = uniform(rng, 0.05, 0.25)
    uptake = uniform(rng, 1.0, 1.3) if enhanced else 1.0
    # Levels of CSF, inner table, marrow, outer table, scalp.
    levels = {
        T1C: (0.35, bone, marrow * uptake, bone, fat * uptake),
        T1N: (0.35, bone, marrow, bone, fat),
        T2W: (2.6, bone, 0.8 * marrow, bone, 0.7 * fat),
        T2F: (0.3, bone, 0.9 * marrow, bone, 0.8 * fat),
    }
    shell = np.digitize(above_mm, edges_mm).astype(np.uint8)  # 0 is brain, 6 is air
    patches = make_smooth_field(rng, head.shape, scale_mm=14.0)
    texture = np.clip(1.0 + 0.25 * patches, 0.4, 1.8)
    # Muscle lies in the scalp where it is thick: below the level of the eyes, in patches.
    texture[(shell == len(edges_mm) - 1) & (patches > uniform(rng, 0.2, 1.5))] *= muscle / fat
    outside = 1.0 - head.brain
    for channel in head.channels:
        painted = np.array([0.0, *levels[channel], 0.0], dtype=np.float32)[shell] * texture
        head.voxels[channel] = head.voxels[channel] * head.brain + painted * outside
