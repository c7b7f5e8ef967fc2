"""NIfTI files in and out: voxels as stored, places in LPS millimetres, whatever the plane and the sense of axes."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from brainmets.formats.nifti import read_nifti, read_nifti_attributes, write_nifti
from brainmets.formats.nifti_header import read_header
from brainmets.imaging.choice_findings import MOST_FORMS_APART_MM
from brainmets.imaging.errors import InternalError
from brainmets.imaging.volume import Volume
from imaging_cases import AXIAL, CORONAL, OBLIQUE, SAGITTAL, make_geometry
from nifti_cases import SHAPE, compressed, count_voxels, edited, nifti_file, with_fields

STUDY = Path(__file__).parents[3] / "shared/data/metastasis_bratsmet_00110/BraTS-MET-00110-000-t1c.nii.gz"
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
LEANING = np.array([[0.9, -0.1, 0.3, 5.0], [0.2, 1.1, 0.1, -7.0], [-0.2, 0.1, 2.5, 11.0], [0.0, 0.0, 0.0, 1.0]])


def place_of(volume: Volume, value: float) -> NDArray[np.float64]:
    """Return where the voxel with a value lies, LPS mm."""
    return volume.geometry.index_to_world(np.argwhere(volume.voxels == value))[0]


def loaded(content: bytes) -> nibabel.Nifti1Image:
    """Return what another program reads."""
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(content))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pack", [bytes, compressed])
def test_versions_and_compression_make_no_difference(version: int, pack: type[bytes]) -> None:
    """NIfTI-1 and NIfTI-2, plain and compressed, hold the same voxels."""
    volume = read_nifti(pack(nifti_file(version=version)), file_index=0)
    np.testing.assert_array_equal(volume.voxels, count_voxels().T)


def test_voxels_are_contiguous_float32() -> None:
    """What follows walks through them in order."""
    volume = read_nifti(nifti_file(), file_index=0)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.flags.c_contiguous


@pytest.mark.parametrize("affine_ras", [np.eye(4), LEANING, np.diag([-1.0, 1.0, -2.0, 1.0])])
@pytest.mark.parametrize("index", [(0, 0, 0), (5, 0, 0), (1, 4, 2), (5, 4, 3)])
def test_a_voxel_lies_where_its_file_says(affine_ras: NDArray[np.float64], index: tuple[int, int, int]) -> None:
    """The affine of NIfTI's indices, in RAS, and ours of reversed ones, in LPS, name one point."""
    volume = read_nifti(nifti_file(affine_ras=affine_ras), file_index=0)
    expected = RAS_TO_LPS @ (affine_ras[:3, :3] @ index + affine_ras[:3, 3])
    np.testing.assert_allclose(place_of(volume, count_voxels()[index]), expected, atol=1e-5)


def test_qform_counts_without_sform() -> None:
    """A file that states only a rotation is placed by it."""
    rotation = np.array([[0.0, -1.0, 0.0, 3.0], [1.0, 0.0, 0.0, 4.0], [0.0, 0.0, 1.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
    image = nibabel.Nifti1Image(count_voxels(), np.eye(4))
    image.set_sform(np.eye(4), code=0)
    image.set_qform(rotation, code=1)
    volume = read_nifti(image.to_bytes(), file_index=0)
    np.testing.assert_allclose(place_of(volume, 0), [-3.0, -4.0, 5.0])


def test_a_handedness_of_zero_is_one_that_is_not_told() -> None:
    """The standard takes pixdim[0] of 0 for 1."""
    content = with_fields(sform_code=0, qform_code=1, pixdim=(0.0, *[1.0] * 7))
    volume = read_nifti(content, file_index=0)
    np.testing.assert_allclose(place_of(volume, count_voxels()[1, 2, 3]), [-1.0, -2.0, 3.0])


def test_sform_counts_before_qform() -> None:
    """As nibabel and most programs have it."""
    image = nibabel.Nifti1Image(count_voxels(), np.eye(4))
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 7.0
    image.set_qform(elsewhere, code=1)
    image.set_sform(np.eye(4), code=2)
    volume = read_nifti(image.to_bytes(), file_index=0)
    np.testing.assert_allclose(place_of(volume, 0), 0.0, atol=1e-6)


def placed_twice(qform: NDArray[np.float64], *, sform_code: int = 1, qform_code: int = 1) -> bytes:
    """Return a file whose sform is the identity, and whose qform is another transform."""
    image = nibabel.Nifti1Image(count_voxels(), np.eye(4))
    image.set_qform(qform, code=qform_code)
    image.set_sform(np.eye(4), code=sform_code)
    content: bytes = image.to_bytes()
    return content


def shifted(*by_mm: float) -> NDArray[np.float64]:
    """Return a transform that shifts."""
    transform = np.eye(4)
    transform[:3, 3] = by_mm
    return transform


# About the first voxel by a right angle: the corner (5, 4) of columns and rows goes to (-4, 5).
TURNED = np.array([[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("content", "apart_mm"),
    [
        (nifti_file(), 0.0),
        (placed_twice(np.eye(4)), 0.0),
        (placed_twice(shifted(2.0, 3.0, 6.0)), 7.0),
        (placed_twice(TURNED), np.sqrt(82.0)),
        (placed_twice(TURNED, qform_code=0), 0.0),
        (placed_twice(TURNED, sform_code=0), 0.0),
        # A quaternion longer than 1 is no rotation, and NaN no place: nobody can go by them.
        (edited(lambda header: header.__setitem__("quatern_b", 2.0), placed_twice(TURNED)), 0.0),
        (edited(lambda header: header.__setitem__("qoffset_x", np.nan), placed_twice(TURNED)), 0.0),
    ],
    ids=["sform alone", "same", "shifted", "turned", "no qform", "no sform", "no rotation", "nowhere"],
)
def test_a_file_tells_how_far_apart_it_places_its_corners(content: bytes, apart_mm: float) -> None:
    """Where it does so twice."""
    assert read_nifti_attributes(content, file_index=0).forms_apart_mm == pytest.approx(apart_mm, abs=1e-5)


@pytest.mark.parametrize("axis", [(1.0, 2.0, 3.0), (-3.0, 0.5, 1.0), (0.2, 1.0, -0.1)])
def test_a_turn_by_half_a_circle_is_kept_well_enough(axis: tuple[float, float, float]) -> None:
    """A qform keeps none worse; its rounding can be seen, and stays below what is told of."""
    direction = np.array(axis) / np.linalg.norm(axis)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec((np.pi - 1e-3) * direction).as_matrix()
    image = nibabel.Nifti1Image(np.zeros((256, 256, 256), np.uint8), turn)
    image.set_qform(turn, code=1)
    image.header["vox_offset"] = 352
    assert 0.1 < read_header(image.header.binaryblock, file_index=0).forms_apart_mm < MOST_FORMS_APART_MM


def test_spacings_that_agree_but_for_rounding_are_one() -> None:
    """Some writers keep two digits of pixdim; the sform has them all."""
    volume = read_nifti(with_fields(pixdim=(1.0, 1.009, 0.991, 1.0, *[1.0] * 4)), file_index=0)
    np.testing.assert_allclose(volume.geometry.spacing_mm, 1.0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_real_datatype_is_read(dtype: type[np.generic]) -> None:
    """Each value is what was stored."""
    volume = read_nifti(nifti_file(count_voxels(dtype=dtype)), file_index=0)
    np.testing.assert_array_equal(volume.voxels, count_voxels().T)


def test_big_endian_files_are_read() -> None:
    """Files of old workstations are as good as others."""
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(count_voxels(), np.eye(4), header=header)
    image.header.set_data_dtype(np.dtype(">i2"))
    volume = read_nifti(image.to_bytes(), file_index=0)
    np.testing.assert_array_equal(volume.voxels, count_voxels().T)


def test_stored_values_are_scaled() -> None:
    """An intensity is the stored value times slope plus intercept."""
    volume = read_nifti(with_fields(scl_slope=0.5, scl_inter=-3.0), file_index=0)
    np.testing.assert_allclose(volume.voxels, count_voxels().T * 0.5 - 3.0)


@pytest.mark.parametrize("slope", [0.0, np.nan])
@pytest.mark.parametrize("intercept", [5.0, np.nan])
def test_a_slope_of_zero_or_none_means_unscaled(slope: float, intercept: float) -> None:
    """So the standard says, and nibabel's files."""
    volume = read_nifti(with_fields(scl_slope=slope, scl_inter=intercept), file_index=0)
    np.testing.assert_array_equal(volume.voxels, count_voxels().T)


def test_a_fourth_axis_of_one_is_none() -> None:
    """Many exports write a series of one volume."""
    volume = read_nifti(nifti_file(count_voxels()[..., np.newaxis]), file_index=0)
    assert volume.voxels.shape == SHAPE[::-1]


def test_extensions_are_skipped() -> None:
    """A file may carry texts between header and voxels."""
    image = nibabel.Nifti1Image(count_voxels(), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"of no interest"))
    volume = read_nifti(image.to_bytes(), file_index=0)
    np.testing.assert_array_equal(volume.voxels, count_voxels().T)


@pytest.mark.parametrize("affine_ras", [LEANING, np.diag([-0.7, 0.9, 3.5, 1.0])])
@pytest.mark.parametrize("version", [1, 2])
def test_a_mask_has_the_shape_and_affine_of_its_series(affine_ras: NDArray[np.float64], version: int) -> None:
    """What is written on a file's grid lies on the file, voxel for voxel."""
    series = nifti_file(affine_ras=affine_ras.astype(np.float32).astype(np.float64), version=version)
    volume = read_nifti(series, file_index=0)
    mask = loaded(write_nifti((volume.voxels > 60).astype(np.uint8), volume.geometry))
    assert mask.shape == SHAPE
    np.testing.assert_array_equal(mask.affine, affine_ras.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), count_voxels() > 60)


def placed_by(affine_ras: NDArray[np.float64], *, sform_code: int, qform_code: int) -> bytes:
    """Return a file with a transform, told as sform, as qform, or as both."""
    image = nibabel.Nifti1Image(count_voxels(), affine_ras)
    image.set_qform(affine_ras, code=qform_code)
    image.set_sform(affine_ras if sform_code else None, code=sform_code)
    content: bytes = image.to_bytes()
    return content


HALF_TURN = np.eye(4)
HALF_TURN[:3, :3] = Rotation.from_rotvec([1.2, 2.0, -2.07]).as_matrix() @ np.diag([0.7, 0.8, -3.0])


@pytest.mark.parametrize(
    "series",
    [
        placed_twice(shifted(2.0, 3.0, 6.0)),
        placed_twice(TURNED, sform_code=4, qform_code=2),
        placed_twice(TURNED, qform_code=0),
        placed_by(HALF_TURN, sform_code=1, qform_code=1),
        placed_by(HALF_TURN, sform_code=0, qform_code=2),
        placed_by(HALF_TURN, sform_code=3, qform_code=0),
        placed_by(LEANING, sform_code=1, qform_code=0),
        # Nobody can go by these.
        edited(lambda header: header.__setitem__("quatern_b", 2.0), placed_by(HALF_TURN, sform_code=1, qform_code=0)),
    ],
    ids=["apart", "template", "sform alone", "half turn", "qform alone", "template alone", "sheared", "no rotation"],
)
def test_a_mask_lies_on_its_series_whichever_form_a_viewer_goes_by(series: bytes) -> None:
    """Codes and transforms of both are the series', and so is the spacing that is told beside them."""
    attributes = read_nifti_attributes(series, file_index=0)
    volume, image = read_nifti(series, file_index=0), nibabel.Nifti1Image.from_bytes(series)
    mask = loaded(write_nifti(np.ones(volume.voxels.shape, np.uint8), volume.geometry, forms=attributes.nifti_forms))
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(mask.header["pixdim"][1:4], image.header["pixdim"][1:4])
    for ours, theirs in (
        (mask.get_sform(coded=True), image.get_sform(coded=True)),
        (mask.get_qform(coded=True), image.get_qform(coded=True)),
    ):
        assert ours[1] == theirs[1]
        np.testing.assert_array_equal(ours[0], theirs[0])


def test_a_qform_that_is_none_is_not_told() -> None:
    """Of a quaternion longer than 1 the series' viewers make nothing, or anything."""
    series = edited(lambda header: header.__setitem__("quatern_b", 2.0), placed_twice(TURNED))
    volume = read_nifti(series, file_index=0)
    forms = read_nifti_attributes(series, file_index=0).nifti_forms
    mask = loaded(write_nifti(np.ones(volume.voxels.shape, np.uint8), volume.geometry, forms=forms))
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 0)


def test_sheared_axes_are_told_as_sform_alone() -> None:
    """A qform cannot hold them, also where the series is no NIfTI."""
    volume = read_nifti(nifti_file(affine_ras=LEANING), file_index=0)
    mask = loaded(write_nifti(np.ones(volume.voxels.shape, np.uint8), volume.geometry))
    assert (int(mask.header["sform_code"]), int(mask.header["qform_code"])) == (1, 0)


@pytest.mark.parametrize("directions", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
def test_sform_and_qform_of_what_is_written_agree(directions: NDArray[np.float64]) -> None:
    """Viewers that read either show the mask in one place."""
    geometry = make_geometry((4, 5, 6), spacing_mm=(3.0, 0.5, 0.7), directions=directions, origin_mm=(9.0, -8.0, 7.0))
    image = loaded(write_nifti(np.ones((4, 5, 6), dtype=np.uint8), geometry))
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_reading_back_gives_the_same_volume() -> None:
    """Writing and reading are inverse."""
    geometry = make_geometry((4, 5, 6), directions=OBLIQUE, origin_mm=(1.0, 2.0, 3.0))
    voxels = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    volume = read_nifti(write_nifti(voxels, geometry), file_index=0)
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.geometry.matches(geometry)


def test_a_slope_is_applied_by_the_reader() -> None:
    """Bytes with a slope of 1/255 are read as fractions."""
    geometry = make_geometry((4, 5, 6))
    steps = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    image = loaded(write_nifti(steps, geometry, slope=1 / 255))
    np.testing.assert_allclose(image.get_fdata().T, steps / 255, atol=1e-7)


def test_voxels_of_another_grid_are_not_written() -> None:
    """A mask on the wrong grid is a defect, not a file."""
    with pytest.raises(InternalError):
        write_nifti(np.ones((4, 5, 7), dtype=np.uint8), make_geometry((4, 5, 6)))


@pytest.mark.skipif(not STUDY.exists(), reason="needs the example studies beside the repository")
def test_a_real_study_is_read_as_others_read_it() -> None:
    """Voxels and affine are nibabel's."""
    volume, image = read_nifti(STUDY.read_bytes(), file_index=0), nibabel.load(STUDY)
    np.testing.assert_array_equal(volume.voxels.T, np.asarray(image.dataobj))
    mask = loaded(write_nifti(np.ones(volume.voxels.shape, dtype=np.uint8), volume.geometry))
    np.testing.assert_array_equal(mask.affine, image.affine)


def test_an_edited_header_without_a_change_is_the_file() -> None:
    """The faults of the other tests are theirs alone."""
    assert edited(lambda _: None) == nifti_file()
