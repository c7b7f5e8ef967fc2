"""A study sent as DICOM has the result it has as NIfTI: in every order, sense and angle of axes, and every encoding."""

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from brainmets.client import Segmentation, SegmentationOptions
from brainmets.formats.nifti import read_nifti
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.volume import Volume
from dicom_cases import write_series, write_zip
from integration.running_stack import RunningStack
from local.demonstration import load_demonstration
from stored_heads import dice, dice_in_patient_space

AGREEMENT = 0.99
# DICOM's whole numbers may move a voxel at an end across the threshold; voxels are 1 mm wide.
DIAMETER_MM = 0.5
REAL_T1C = (
    Path(__file__).resolve().parents[3] / "shared/data/metastasis_bratsmet_00110" / "BraTS-MET-00110-000-t1c.nii.gz"
)
THICK_HEAD = REAL_T1C.parents[1] / "head_thick_slices_brain2" / "brain2_image.nii.gz"
# As a scanner labels a T1 after contrast medium.
AFTER_CONTRAST = {
    "SeriesDescription": "t1_mprage_sag KM",
    "ScanningSequence": "GR",
    "SequenceVariant": ["SK", "SP", "MP"],
    "RepetitionTime": "2000",
    "EchoTime": "2.5",
    "InversionTime": "900",
    "ContrastBolusAgent": "Gadobutrol",
}
Order, Signs = tuple[int, int, int], tuple[int, int, int]
ALL_STORED: tuple[tuple[Order, Signs], ...] = tuple(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)
# One of each plane, with axes against the patient's.
SOME_STORED: tuple[tuple[Order, Signs], ...] = (
    ((0, 1, 2), (-1, 1, -1)),
    ((2, 0, 1), (1, -1, 1)),
    ((1, 0, 2), (1, 1, -1)),
)
ANGLES_DEG = ((20.0, 0.0, 0.0), (12.0, -9.0, 7.0), (-15.0, 10.0, 20.0))
ENCODINGS: dict[str, tuple[bool, UID]] = {
    "classic": (False, ExplicitVRLittleEndian),
    "classic, deflated": (False, DeflatedExplicitVRLittleEndian),
    "classic, JPEG 2000": (False, JPEG2000Lossless),
    "Enhanced": (True, ExplicitVRLittleEndian),
    "Enhanced, RLE": (True, RLELossless),
    "Enhanced, JPEG-LS": (True, JPEGLSLossless),
}


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """A head with lesions that the networks find."""
    path = load_demonstration(tmp_path_factory.mktemp("demonstration")).study
    return read_nifti(path.read_bytes(), file_index=0)


@pytest.fixture(scope="module")
def straight(
    stack: RunningStack, demonstration: Volume, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Segmentation, Nifti1Image]:
    """Its result as a zip archive of axial slices."""
    return segment(stack, write_series(demonstration, attributes=AFTER_CONTRAST), tmp_path_factory.mktemp("straight"))


def segment(stack: RunningStack, instances: tuple[bytes, ...], folder: Path) -> tuple[Segmentation, Nifti1Image]:
    """Segment a study's instances with one network; return its result and its mask."""
    (folder / "study.zip").write_bytes(write_zip(instances, compression=zipfile.ZIP_DEFLATED))
    with stack.client() as client:
        segmentation = client.segment(folder / "study.zip", SegmentationOptions(model="attention_unet"))
    segmentation.save(folder)
    mask = Nifti1Image.from_filename(folder / "mask.nii.gz")
    # In memory: the next study's mask may take the file's place.
    return segmentation, Nifti1Image(np.asarray(mask.dataobj), mask.affine)


def reordered(volume: Volume, order: Order, signs: Signs) -> Volume:
    """Return the same head with its voxels stored in another order and sense."""
    sense = tuple(slice(None, None, sign) for sign in signs)
    first = [
        0 if sign > 0 else size - 1 for sign, size in zip(signs, np.array(volume.geometry.shape)[[*order]], strict=True)
    ]
    affine = volume.geometry.affine.copy()
    affine[:3, :3] = volume.geometry.affine[:3, order]
    affine[:3, 3] += affine[:3, :3] @ first
    affine[:3, :3] *= signs
    voxels = volume.voxels.transpose(order)[sense]
    d, h, w = voxels.shape
    return Volume(np.ascontiguousarray(voxels), Geometry((d, h, w), affine))


def angled(volume: Volume, angles_deg: tuple[float, float, float]) -> Volume:
    """Return the same voxels in a series that lies askew in the scanner, with the head straight in it."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    return Volume(volume.voxels, Geometry(volume.geometry.shape, turn @ volume.geometry.affine))


def check_table(got: Segmentation, expected: Segmentation, *, same_place: bool) -> None:
    """Hold that two results have the same lesions, of the same sizes and sides."""
    assert expected.lesions
    assert [lesion.side for lesion in got.lesions] == [lesion.side for lesion in expected.lesions]
    for ours, theirs in zip(got.lesions, expected.lesions, strict=True):
        assert ours.volume_mm3 == pytest.approx(theirs.volume_mm3, rel=0.01)
        assert ours.longest_axial_diameter_mm == pytest.approx(theirs.longest_axial_diameter_mm, abs=DIAMETER_MM)
        if same_place:
            assert ours.centroid_mm == pytest.approx(theirs.centroid_mm, abs=0.1)


def test_dicom_has_the_result_of_nifti(
    stack: RunningStack, straight: tuple[Segmentation, Nifti1Image], tmp_path: Path
) -> None:
    """Which format a head came in does not matter."""
    path = load_demonstration(tmp_path).study
    with stack.client() as client:
        segmentation = client.segment(path, SegmentationOptions(model="attention_unet"))
    segmentation.save(tmp_path)
    assert dice_in_patient_space(Nifti1Image.from_filename(tmp_path / "mask.nii.gz"), straight[1]) >= AGREEMENT
    check_table(straight[0], segmentation, same_place=True)


@pytest.mark.integration
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_does_not_matter(
    stack: RunningStack,
    demonstration: Volume,
    straight: tuple[Segmentation, Nifti1Image],
    tmp_path: Path,
    encoding: str,
) -> None:
    """Classic or Enhanced, compressed or not."""
    enhanced, transfer_syntax = ENCODINGS[encoding]
    instances = write_series(
        demonstration, attributes=AFTER_CONTRAST, enhanced=enhanced, transfer_syntax=transfer_syntax, seed=1
    )
    got, mask = segment(stack, instances, tmp_path)
    assert dice_in_patient_space(straight[1], mask) >= AGREEMENT
    check_table(got, straight[0], same_place=True)


@pytest.mark.parametrize(("order", "signs"), SOME_STORED)
def test_the_plane_of_acquisition_does_not_matter(
    stack: RunningStack,
    demonstration: Volume,
    straight: tuple[Segmentation, Nifti1Image],
    tmp_path: Path,
    order: Order,
    signs: Signs,
) -> None:
    """Axial, sagittal or coronal, forwards or backwards."""
    instances = write_series(reordered(demonstration, order, signs), attributes=AFTER_CONTRAST, seed=2)
    got, mask = segment(stack, instances, tmp_path)
    assert dice_in_patient_space(straight[1], mask) >= AGREEMENT
    check_table(got, straight[0], same_place=True)


@pytest.mark.integration
@pytest.mark.parametrize("angles_deg", ANGLES_DEG)
def test_the_angle_of_the_series_does_not_matter(
    stack: RunningStack,
    demonstration: Volume,
    straight: tuple[Segmentation, Nifti1Image],
    tmp_path: Path,
    angles_deg: tuple[float, float, float],
) -> None:
    """Oblique cosines: every voxel of the mask is as before, in the head."""
    instances = write_series(angled(demonstration, angles_deg), attributes=AFTER_CONTRAST, seed=3)
    got, mask = segment(stack, instances, tmp_path)
    assert dice(np.asarray(straight[1].dataobj) > 0, np.asarray(mask.dataobj) > 0) >= AGREEMENT
    check_table(got, straight[0], same_place=False)


@pytest.fixture(scope="module")
def real_head() -> Volume:
    """The real metastasis."""
    if not REAL_T1C.exists():
        pytest.skip(f"needs a real study at {REAL_T1C}")
    return read_nifti(REAL_T1C.read_bytes(), file_index=0)


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_real_metastasis_is_the_same_in_all_48_orientations(
    stack: RunningStack, real_head: Volume, tmp_path: Path
) -> None:
    """All permutations and flips of a real head's axes, in changing encodings."""
    expected, expected_mask = segment(stack, write_series(real_head, attributes=AFTER_CONTRAST), tmp_path)
    encodings = itertools.cycle(ENCODINGS.values())
    for number, (order, signs) in enumerate(ALL_STORED):
        enhanced, transfer_syntax = next(encodings)
        instances = write_series(
            reordered(real_head, order, signs),
            attributes=AFTER_CONTRAST,
            enhanced=enhanced,
            transfer_syntax=transfer_syntax,
            seed=number,
        )
        got, mask = segment(stack, instances, tmp_path)
        assert dice_in_patient_space(expected_mask, mask) >= AGREEMENT, (order, signs)
        check_table(got, expected, same_place=True)


def test_a_real_head_in_thick_slices_runs_through(stack: RunningStack) -> None:
    """23 slices of 6.5 mm with skull: a result, and a warning that small lesions may be missed."""
    if not THICK_HEAD.exists():
        pytest.skip(f"needs a real study at {THICK_HEAD}")
    with stack.client() as client:
        segmentation = client.segment(THICK_HEAD)
    assert "THICK_SLICES" in {finding.code for finding in segmentation.findings}
