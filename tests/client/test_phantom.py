"""The phantom is a NIfTI file that others read as it says of itself."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from brainmets.client.phantom import BRAIN, LESION, LESION_DIAMETER_MM, SPACING_MM, Phantom


def load(phantom: Phantom, folder: Path) -> Nifti1Image:
    """Read a phantom as nibabel does."""
    (file,) = phantom.study()
    (folder / "phantom.nii").write_bytes(b"".join(file.chunks()))
    return Nifti1Image.from_filename(folder / "phantom.nii")


def test_its_grid_is_the_file_s(tmp_path: Path) -> None:
    """Shape and affine."""
    phantom = Phantom(2)
    image = load(phantom, tmp_path)
    assert image.shape == phantom.shape
    np.testing.assert_allclose(image.affine[:3], phantom.affine_ras)
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(("seed", "side"), [(2, "left"), (3, "right")])
def test_its_lesion_is_where_it_says(tmp_path: Path, seed: int, side: str) -> None:
    """The bright voxels' middle and volume, in RAS: the patient's left has a negative x."""
    phantom = Phantom(seed)
    image = load(phantom, tmp_path)
    bright = np.argwhere(np.asarray(image.dataobj) > (BRAIN + LESION) / 2)
    centroid_ras = image.affine[:3, :3] @ bright.mean(axis=0) + image.affine[:3, 3]
    x_mm, y_mm, z_mm = phantom.centroid_mm
    np.testing.assert_allclose(centroid_ras, (-x_mm, -y_mm, z_mm), atol=0.5)
    assert (phantom.side, centroid_ras[0] < 0) == (side, side == "left")
    # A ball's volume on voxels: wrong by less than a tenth of a voxel all over its surface.
    surface_mm2 = np.pi * LESION_DIAMETER_MM**2
    assert abs(len(bright) * SPACING_MM**3 - phantom.volume_mm3) < 0.1 * SPACING_MM * surface_mm2


def test_no_two_are_the_same_bytes() -> None:
    """A cached result would prove nothing; the same number is the same phantom."""
    first, again, other = (Phantom(seed).study()[0].content for seed in (2, 2, 4))
    assert first == again != other
