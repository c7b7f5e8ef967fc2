"""DICOM series lie where independent readers say: dcm2niix, which hospitals convert with, and SimpleITK."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nibabel.nifti1 import Nifti1Image

from brainmets.formats.study_reader import StudyFile, read_study
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from dicom_cases import small_volume, write_series
from imaging_cases import AXIAL, CORONAL, OBLIQUE, SAGITTAL
from local.debian_packages import unpack_package
from local.errors import StackError

pytestmark = pytest.mark.integration

NEAR_MM = 0.01
REAL_SERIES = Path(__file__).resolve().parents[3] / "shared/data/dicom_t1_studyforrest/dicoms"
# dcm2niix, and what it is linked with.
PACKAGES = ("dcm2niix", "libturbojpeg0", "libopenjp2-7", "libjsoncpp25")
ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE, "negated": -AXIAL}
# NIfTI's RAS to LPS, and its (column, row, slice) to (slice, row, column).
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
REVERSED = [2, 1, 0, 3]


@pytest.fixture(scope="module")
def dcm2niix() -> tuple[str, dict[str, str]]:
    """The converter, and the environment it runs in."""
    try:
        for name in PACKAGES:
            root = unpack_package(name)
    except StackError as error:
        pytest.skip(f"needs Debian's dcm2niix: {error}")
    libraries = root / "usr/lib/x86_64-linux-gnu"
    return str(root / "usr/bin/dcm2niix"), {**os.environ, "LD_LIBRARY_PATH": str(libraries)}


def convert(dcm2niix: tuple[str, dict[str, str]], folder: Path, out: Path) -> Nifti1Image:
    """Return the one volume that dcm2niix makes of a folder."""
    words, environment = [dcm2niix[0], "-o", str(out), "-z", "n", "-b", "n", str(folder)], dcm2niix[1]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    (path,) = out.glob("*.nii")
    return Nifti1Image.from_filename(path)


def read_folder(folder: Path) -> Volume:
    """Return the series of a folder as this project reads it."""
    contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    files = tuple(StudyFile(number, MediaType.DICOM, None, content) for number, content in enumerate(contents))
    return read_study(files).volumes[Sequence.T1C]


def check_same_voxels(ours: Volume, voxels: np.ndarray, grid: Geometry) -> None:
    """Hold that two readers put every voxel in the same place, with the same value, whatever their order of axes."""
    to_theirs = grid.world_to_index(ours.geometry.corners_mm())
    whole = np.rint(to_theirs).astype(int)
    apart_mm = np.linalg.norm(grid.index_to_world(whole) - ours.geometry.corners_mm(), axis=1).max()
    assert apart_mm <= NEAR_MM
    assert sorted(ours.geometry.shape) == sorted(grid.shape)
    indices = np.stack(np.unravel_index(np.arange(0, ours.voxels.size, 997), ours.voxels.shape), axis=1)
    there = np.rint(grid.world_to_index(ours.geometry.index_to_world(indices))).astype(int)
    np.testing.assert_allclose(ours.voxels[tuple(indices.T)], voxels[tuple(there.T)], rtol=1e-5, atol=1e-3)


def check_dcm2niix(ours: Volume, image: Nifti1Image) -> None:
    """Hold that dcm2niix agrees."""
    voxels = np.asarray(image.dataobj, dtype=np.float32).T
    d, h, w = voxels.shape
    check_same_voxels(ours, voxels, Geometry((d, h, w), FLIP @ image.affine[:, REVERSED]))


@pytest.mark.parametrize(
    "directions",
    [AXIAL, SAGITTAL, CORONAL, OBLIQUE, -AXIAL],
    ids=["axial", "sagittal", "coronal", "oblique", "negated"],
)
def test_dcm2niix_puts_every_voxel_in_the_same_place(
    dcm2niix: tuple[str, dict[str, str]], tmp_path: Path, directions: np.ndarray
) -> None:
    """A written series of any orientation."""
    (tmp_path / "series").mkdir()
    (tmp_path / "out").mkdir()
    volume = small_volume((9, 24, 20), directions=directions)
    for number, instance in enumerate(write_series(volume)):
        (tmp_path / "series" / f"{number}.dcm").write_bytes(instance)
    check_dcm2niix(read_folder(tmp_path / "series"), convert(dcm2niix, tmp_path / "series", tmp_path / "out"))


def test_dcm2niix_agrees_on_a_real_series(dcm2niix: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """384 oblique slices as a scanner wrote them."""
    if not REAL_SERIES.exists():
        pytest.skip(f"needs a real series at {REAL_SERIES}")
    check_dcm2niix(read_folder(REAL_SERIES), convert(dcm2niix, REAL_SERIES, tmp_path))


def test_simpleitk_agrees_on_a_real_series() -> None:
    """As above, by another reader."""
    if not REAL_SERIES.exists():
        pytest.skip(f"needs a real series at {REAL_SERIES}")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(REAL_SERIES)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = (np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    voxels = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    d, h, w = voxels.shape
    check_same_voxels(read_folder(REAL_SERIES), voxels, Geometry((d, h, w), affine))
