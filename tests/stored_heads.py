"""Owns one head stored in other ways: other planes, negated axes, and oblique, as NIfTI files."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import affine_transform, map_coordinates
from scipy.spatial.transform import Rotation

# How the file's three axes run, by nibabel's letters: the plane is the one of the first two.
STORED = {
    "axial, negated": ("L", "P", "I"),
    "sagittal": ("P", "S", "R"),
    "sagittal, negated": ("A", "I", "L"),
    "coronal": ("R", "S", "A"),
    "coronal, negated": ("L", "I", "P"),
}
OBLIQUE_DEG = (12.0, -9.0, 7.0)


def store_reoriented(image: Nifti1Image, codes: tuple[str, str, str], path: Path) -> Path:
    """Write the same voxels with their axes in another order and sense."""
    target = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    nibabel.save(image.as_reoriented(target), path)
    return path


def store_angled(image: Nifti1Image, path: Path) -> Path:
    """Write the same voxels as of a series whose slices, and the head in them, lie askew in the scanner."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", OBLIQUE_DEG, degrees=True).as_matrix()
    nibabel.save(Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), path)
    return path


def store_askew(image: Nifti1Image, path: Path) -> Path:
    """Write the head as if it had lain askew in its slices: sampled by cubic splines on a grid whose axes lean."""
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    turn = Rotation.from_euler("xyz", OBLIQUE_DEG, degrees=True).as_matrix()
    spacing_mm = np.linalg.norm(image.affine[:3, :3], axis=0)
    centre_mm = image.affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2) + image.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing_mm
    affine[:3, 3] = centre_mm - affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
    to_voxel = np.linalg.inv(image.affine) @ affine
    sampled = affine_transform(voxels, to_voxel[:3, :3], offset=to_voxel[:3, 3], order=3)
    # What was masked stays exactly so: splines ring beside an edge.
    inside = affine_transform((voxels > 0).astype(np.float32), to_voxel[:3, :3], offset=to_voxel[:3, 3], order=1)
    nibabel.save(Nifti1Image(np.where(inside >= 0.5, np.maximum(sampled, 1.0), 0.0).astype(np.float32), affine), path)
    return path


def dice_in_patient_space(one: Nifti1Image, other: Nifti1Image) -> float:
    """Return the Dice coefficient of two masks on different grids, on the voxels of the first."""
    return dice(*_on_one_grid(one, other))


def dice(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the Dice coefficient of two masks on one grid."""
    return 2.0 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))


def _on_one_grid(one: Nifti1Image, other: Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
    ours = np.asarray(one.dataobj) > 0
    to_other = np.linalg.inv(other.affine) @ one.affine
    places = np.einsum("ij,j...->i...", to_other[:3, :3], np.indices(ours.shape)) + to_other[:3, 3, None, None, None]
    return ours, map_coordinates(np.asarray(other.dataobj, dtype=np.float32), places, order=1) >= 0.5
