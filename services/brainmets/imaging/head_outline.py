"""Owns the outline of a head: what of a volume is head, and what of the head is brain.

A stripped head is all brain. In a head with skull the brain network finds it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.brain import find_midline
from brainmets.imaging.brain_network import COARSE_MM, BrainNetwork
from brainmets.imaging.foreground import block_means, find_foreground
from brainmets.imaging.geometry import Geometry, Index
from brainmets.imaging.volume import Volume

# Where the network says this much, a voxel is brain.
BRAIN_SHARE = 0.5
# A head of which this much is brain has no skull: the network finds nine tenths of a stripped one, else about a half.
STRIPPED_FRACTION = 0.8
# Less brain than this, as a fraction of the head, is no brain: the network does not know what it sees.
LEAST_FRACTION = 0.05
# The brain is grown by this, mm: dura and what grows at the surface belong to it, and the outline errs by as much.
MARGIN_MM = 4.0
# What is left of an edge one deviation outside of it, once it is blurred: where the grown brain ends.
EDGE_SHARE = 0.159


@dataclass(frozen=True, slots=True, eq=False)
class HeadOutline:
    """What of a volume is head, and what of that is brain.

    Attributes:
        head: (D, H, W), with skull and scalp where the volume has them.
        brain: (D, H, W), with the CSF around it and a margin for dura; the whole head when that has no skull, and also
            when no brain is found in it: then nothing is known, and nothing may be left out.
    """

    head: NDArray[np.bool_]
    brain: NDArray[np.bool_]

    @property
    def has_skull(self) -> bool:
        """Whether any of the head lies outside of the brain."""
        return self.brain is not self.head and bool((self.head & ~self.brain).any())


def outline_head(volume: Volume, network: BrainNetwork) -> HeadOutline:
    """Return what of a T1c on an axial grid is head, and what of it is brain.

    Raises:
        EmptyVolumeError: The volume shows nothing.
    """
    head = find_foreground(volume)
    return HeadOutline(head, _find_brain(volume, head, network))


def _find_brain(volume: Volume, head: NDArray[np.bool_], network: BrainNetwork) -> NDArray[np.bool_]:
    box = find_bounding_box(head)
    if box is None:
        return head
    factors = [max(1, round(COARSE_MM / spacing_mm)) for spacing_mm in volume.geometry.spacing_mm]
    coarse = _keep_largest(network.infer(block_means(volume.voxels[box.slices], factors)) > BRAIN_SHARE)
    fraction = np.count_nonzero(coarse) * np.prod(factors) / np.count_nonzero(head)
    if not LEAST_FRACTION <= fraction < STRIPPED_FRACTION:
        return head
    coarse |= _mirror(coarse, _block_grid(volume.geometry.crop(box), factors, coarse.shape))
    brain = np.zeros_like(head)
    brain[box.slices] = _grow(coarse, factors=factors, shape=box.shape)
    brain &= head
    return brain


def _keep_largest(found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest part (d, h, w) once bridges of a voxel or two are cut, without holes.

    Muscle below the skull hangs on the brain by such bridges where the network takes it for one.
    """
    cut = ndimage.binary_erosion(found, border_value=1)
    labels, count = ndimage.label(cut)
    if not count:
        return found
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    whole = ndimage.binary_dilation(largest, iterations=2, mask=found)
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(whole)
    return filled


def _mirror(coarse: NDArray[np.bool_], grid: Geometry) -> NDArray[np.bool_]:
    """Return a coarse brain's mirror image (d, h, w), smaller by a voxel.

    A large ring that enhances in one frontal lobe looks like an orbit, and one at the surface like scalp: what was left
    out for that on one side is brain on the other.
    """
    midline = find_midline(coarse, grid)
    reflection = np.eye(4)
    reflection[:3, :3] -= 2.0 * np.outer(midline.normal, midline.normal)
    reflection[:3, 3] = 2.0 * midline.offset_mm * np.array(midline.normal)
    to_mirrored = grid.inverse_affine @ reflection @ grid.affine  # index to index
    eroded = ndimage.binary_erosion(coarse).astype(np.float32)
    mirrored: NDArray[np.bool_] = ndimage.affine_transform(eroded, to_mirrored, order=1) > BRAIN_SHARE
    return mirrored


def _block_grid(grid: Geometry, factors: list[int], shape: tuple[int, ...]) -> Geometry:
    """Return the grid of the centres of blocks of voxels."""
    d, h, w = shape
    affine = grid.affine.copy()
    affine[:3, :3] *= factors
    affine[:3, 3] = grid.index_to_world((np.array([factors]) - 1) / 2)[0]
    return Geometry((d, h, w), affine)


def _grow(coarse: NDArray[np.bool_], *, factors: list[int], shape: Index) -> NDArray[np.bool_]:
    """Return a coarse brain (d, h, w) on fine voxels (D, H, W), smooth and larger by the margin."""
    blurred = ndimage.gaussian_filter(coarse.astype(np.float32), MARGIN_MM / COARSE_MM, mode="nearest")
    d, h, w = (size * factor for size, factor in zip(coarse.shape, factors, strict=True))
    # Pixel centres meet pixel centres in OpenCV's scaling, as blocks and their voxels do.
    columns = cv2.resize(blurred.reshape(len(blurred), -1), (blurred[0].size, d), interpolation=cv2.INTER_LINEAR)
    planes = columns.reshape(d, *coarse.shape[1:])[: shape[0]]
    grown = np.stack([cv2.resize(plane, (w, h), interpolation=cv2.INTER_LINEAR) > EDGE_SHARE for plane in planes])
    return grown[:, : shape[1], : shape[2]]
