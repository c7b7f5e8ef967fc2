"""Tests of the preparation of a head: its brain is found where another head's lies."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.training.head_preparation import BRAIN_NAME, HEAD_NAME, prepare_head

# Slices, rows and columns of 2 mm.
SHAPE = (84, 104, 92)
SPACING_MM = 2.0


def ellipsoid(radii_mm: tuple[float, float, float], *, shift_mm: tuple[float, float, float]) -> np.ndarray:
    """Return which voxels lie in an ellipsoid in the middle of the grid, moved along slices, rows and columns."""
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE)]
    distance = sum(
        ((SPACING_MM * (axis - (size - 1) / 2) - shift) / radius) ** 2
        for axis, size, radius, shift in zip(grid, SHAPE, radii_mm, shift_mm, strict=True)
    )
    return distance <= 1.0


def make_head(shift_mm: tuple[float, float, float]) -> tuple[SimpleITK.Image, np.ndarray]:
    """Return a head of scalp, bone and a two-part brain, and where the brain is."""
    head = ellipsoid((74.0, 92.0, 76.0), shift_mm=shift_mm)
    brain = ellipsoid((60.0, 78.0, 62.0), shift_mm=shift_mm)
    deep = ellipsoid((30.0, 50.0, 20.0), shift_mm=shift_mm)
    voxels = 800.0 * head - 600.0 * ellipsoid((68.0, 86.0, 70.0), shift_mm=shift_mm) + 300.0 * brain + 400.0 * deep
    image = SimpleITK.GetImageFromArray(voxels.astype(np.int16))
    image.SetSpacing([SPACING_MM] * 3)
    return image, brain


def write_dicom(image: SimpleITK.Image, folder: Path) -> None:
    """Write a head as a DICOM series."""
    folder.mkdir()
    for index in range(image.GetDepth()):
        plane = image[:, :, index]
        position = "\\".join(str(value) for value in image.TransformIndexToPhysicalPoint((0, 0, index)))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|0032": position,
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(index),
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(plane)


def test_the_brain_is_found_where_it_was_moved_to(tmp_path: Path) -> None:
    """A head that lies 10 mm beside its template gets the template's brain 10 mm beside, less the margin."""
    template, template_brain = make_head((0.0, 0.0, 0.0))
    head, brain = make_head((-4.0, 10.0, -6.0))
    write_dicom(head, tmp_path / "dicom")
    outline = SimpleITK.GetImageFromArray(template_brain.astype(np.int16))
    outline.CopyInformation(template)
    for name, image in (("t1.nii.gz", template), ("brain.nii.gz", outline)):
        SimpleITK.WriteImage(image, str(tmp_path / name))
    template_paths = (tmp_path / "t1.nii.gz", tmp_path / "brain.nii.gz")
    prepare_head(tmp_path / "dicom", template_paths, tmp_path / "out")
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "out" / BRAIN_NAME))) > 0
    assert SimpleITK.ReadImage(str(tmp_path / "out" / HEAD_NAME)).GetSize() == head.GetSize()
    assert (found & brain).sum() / found.sum() > 0.99
    assert found.sum() / brain.sum() > 0.6


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    """Nothing is written when there is no series."""
    with pytest.raises(InvalidArgumentError):
        prepare_head(tmp_path, (tmp_path / "none", tmp_path / "none"), tmp_path / "out")
