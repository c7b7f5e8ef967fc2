"""A study's DICOM files become volumes that lie where another program puts them, whatever their order and encoding."""

import gzip
import time
import zipfile
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from brainmets.formats.nifti import write_nifti
from brainmets.formats.study_reader import StudyFile, read_study, survey_study
from brainmets.imaging.errors import UnsupportedFormatError, UnusableSeriesError
from brainmets.imaging.findings import FindingCode
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesReason, SeriesSelection
from brainmets.imaging.volume import Volume
from dicom_cases import series_data_sets, small_volume, study_files, write_instance, write_series, write_zip
from imaging_cases import OBLIQUE
from nifti_cases import edited

REAL = Path(__file__).parents[3] / "shared/data/dicom_t1_studyforrest/dicoms"
SIGNED_AXES = [
    np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1.0, -1.0), repeat=3)
]
ORIENTATIONS = [*SIGNED_AXES, *(OBLIQUE @ axes for axes in SIGNED_AXES[::7])]
TRANSFER_SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]
GADOLINIUM = {"ContrastBolusAgent": "Gadobutrol", "SeriesDescription": "t1 mprage"}


def read_one(*contents: bytes, media_type: MediaType = MediaType.DICOM) -> Volume:
    """Return the volume of a study of one series."""
    return read_study(study_files(*contents, media_type=media_type)).volumes[Sequence.T1C]


def meta_end(content: bytes) -> int:
    """Return where a file's meta information ends: its first element holds the length of the others."""
    return 144 + int.from_bytes(content[140:144], "little")


def read_independently(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the voxels that SimpleITK reads, and where the corners of its volume lie, LPS mm."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    ends = product(*((0, size - 1) for size in reversed(image.GetSize())))
    corners_mm = [image.TransformIndexToPhysicalPoint(end[::-1]) for end in ends]
    return SimpleITK.GetArrayFromImage(image).astype(np.float64), np.array(corners_mm)


@pytest.mark.parametrize("directions", ORIENTATIONS, ids=range(len(ORIENTATIONS)))
def test_slices_lie_where_another_reader_puts_them(directions: NDArray[np.float64], tmp_path: Path) -> None:
    """In all 48 orientations along the patient's axes and in oblique ones, voxels and corners agree."""
    contents = write_series(small_volume(directions=directions))
    for place, content in enumerate(contents):
        (tmp_path / f"{place}.dcm").write_bytes(content)
    voxels, corners_mm = read_independently(tmp_path)
    volume = read_one(*contents)
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.geometry.corners_mm(), corners_mm, atol=0.01)


def test_the_t1c_is_told_first() -> None:
    """Whatever order the files were sent in: much waits for it."""
    told: list[Sequence] = []
    content = write_nifti(small_volume().voxels, small_volume().geometry)
    files = tuple(
        StudyFile(index, MediaType.NIFTI, sequence, content) for index, sequence in enumerate(reversed(Sequence))
    )
    read_study(files, on_volume=lambda sequence, _: told.append(sequence))
    assert told == list(Sequence)


def test_a_real_series_lies_where_another_reader_puts_it() -> None:
    """An oblique series of a scanner: every voxel equal, corners within 0.01 mm, and a warning of its contrast."""
    if not REAL.is_dir():
        pytest.skip("needs ../shared/data/dicom_t1_studyforrest")
    study = read_study(study_files(*(path.read_bytes() for path in sorted(REAL.iterdir()))))
    voxels, corners_mm = read_independently(REAL)
    volume = study.volumes[Sequence.T1C]
    np.testing.assert_array_equal(volume.voxels, voxels)
    np.testing.assert_allclose(volume.geometry.corners_mm(), corners_mm, atol=0.01)
    assert FindingCode.CONTRAST_NOT_ESTABLISHED in {finding.code for finding in study.findings}


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("transfer_syntax", TRANSFER_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_encodings_make_no_difference(transfer_syntax: UID, *, enhanced: bool) -> None:
    """Classic or Enhanced, compressed or not: the same voxels at the same places."""
    volume = small_volume(directions=OBLIQUE)
    read = read_one(*write_series(volume, enhanced=enhanced, transfer_syntax=transfer_syntax))
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_allclose(read.geometry.corners_mm(), volume.geometry.corners_mm(), atol=1e-6)


@pytest.mark.parametrize("enhanced", [False, True])
def test_stored_values_are_rescaled(*, enhanced: bool) -> None:
    """Fractions come back through slope and intercept."""
    volume = small_volume()
    halves = Volume(volume.voxels / 2, volume.geometry)
    read = read_one(*write_series(halves, enhanced=enhanced))
    np.testing.assert_allclose(read.voxels, halves.voxels, atol=0.02)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize(("offset", "filled"), [(0.0, -90.0), (100.0, 0.0)], ids=["offset", "magnitude"])
def test_padding_is_no_intensity(offset: float, filled: float, *, enhanced: bool) -> None:
    """What lies beside a round field of view is as dark as the darkest voxel, or 0, where nothing was acquired."""
    volume = small_volume()
    expected = volume.voxels + np.float32(offset)
    stored = expected.copy()
    stored[:, :3], expected[:, :3] = -2000.0, filled
    attributes = {"PixelPaddingValue": -2000}
    read = read_one(*write_series(Volume(stored, volume.geometry), enhanced=enhanced, attributes=attributes))
    np.testing.assert_array_equal(read.voxels, expected)


def test_slopes_may_differ_between_slices() -> None:
    """Each slice has its own scale."""
    data_sets = series_data_sets(small_volume())
    stored = small_volume().voxels
    for place, data_set in enumerate(data_sets):
        data_set.RescaleSlope, data_set.RescaleIntercept = place + 1, -place
    read = read_one(*map(write_instance, data_sets))
    scales = np.arange(1, 6).reshape(-1, 1, 1)
    np.testing.assert_array_equal(read.voxels, stored * scales - (scales - 1))


@pytest.mark.parametrize("stored_bits", [10, 12, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_bits_beside_the_stored_ones_do_not_count(stored_bits: int, signed: int) -> None:
    """Old files keep overlays there; the sign is the highest stored bit."""
    low = -(2 ** (stored_bits - 1)) if signed else 0
    values = np.linspace(low, low + 2**stored_bits - 1, 480).astype(np.int64).reshape(24, 20)
    data_sets = series_data_sets(small_volume())
    for data_set in data_sets:
        beside = 0 if stored_bits == 16 else 1 << stored_bits
        data_set.PixelData = ((values & (2**stored_bits - 1)) | beside).astype("<u2").tobytes()
        data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = stored_bits, stored_bits - 1, signed
    read = read_one(*map(write_instance, data_sets))
    np.testing.assert_array_equal(read.voxels[0], values)


def test_pixels_of_8_bits_are_read() -> None:
    """Secondary captures and some research scanners write them."""
    data_sets = series_data_sets(small_volume())
    for data_set in data_sets:
        data_set.PixelData = bytes(range(240)) * 2
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 8, 8, 7, 0
    np.testing.assert_array_equal(read_one(*map(write_instance, data_sets)).voxels[4].ravel(), [*range(240)] * 2)


def test_the_order_of_files_makes_no_difference() -> None:
    """Neither to the grid nor to the voxels."""
    contents = write_series(small_volume())
    first, second = read_one(*contents), read_one(*contents[3:], *contents[2::-1])
    np.testing.assert_array_equal(first.voxels, second.voxels)
    assert first.geometry == second.geometry


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_is_as_good_as_its_files(compression: int) -> None:
    """Folders, notes, pictures and archives within it are left out."""
    contents = write_series(small_volume())
    others = [b"\xff\xd8\xff\xe0 a picture", b"", b"see README", write_zip(contents)]
    read = read_one(write_zip([*contents, *others], compression=compression), media_type=MediaType.DICOM_ZIP)
    np.testing.assert_array_equal(read.voxels, small_volume().voxels)


def test_a_file_without_preamble_is_read() -> None:
    """Some archives hand data sets out as they came over the network, with nothing in front."""
    contents = [content[132:] for content in write_series(small_volume())]
    np.testing.assert_array_equal(read_one(*contents).voxels, small_volume().voxels)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_wrong_statement_of_the_encoding_does_no_harm(syntax: UID) -> None:
    """A file that says explicit and is implicit, or the reverse, is read as it is."""
    other = ExplicitVRLittleEndian if syntax == ImplicitVRLittleEndian else ImplicitVRLittleEndian
    stated, written = (write_series(small_volume(), transfer_syntax=each) for each in (other, syntax))
    contents = [
        one[: meta_end(one)] + another[meta_end(another) :] for one, another in zip(stated, written, strict=True)
    ]
    np.testing.assert_array_equal(read_one(*contents).voxels, small_volume().voxels)


def test_an_instance_that_was_sent_twice_counts_once() -> None:
    """Archives repeat themselves."""
    contents = write_series(small_volume())
    np.testing.assert_array_equal(read_one(*contents, contents[2], contents[0]).voxels, small_volume().voxels)


def test_only_the_chosen_series_are_decoded() -> None:
    """Broken pixels of a series that nobody wants do not refuse the study, but are those of the T1c, they do."""
    t1c = write_series(small_volume(), attributes=GADOLINIUM)
    scout = [
        write_instance(data_set)[:-10]
        for data_set in series_data_sets(
            small_volume(), seed=1, attributes={"SeriesNumber": 2, "SeriesDescription": "localizer"}
        )
    ]
    study = read_study(study_files(*t1c, *scout))
    assert [use.reason for use in study.series] == [SeriesReason.CHOSEN, SeriesReason.LOCALIZER]


def test_series_are_told_by_their_number() -> None:
    """In whatever order they are sent; the number of a series' first file goes with it."""
    second = write_series(small_volume(), seed=1, attributes={"SeriesNumber": 2})
    first = write_series(small_volume(), attributes={"SeriesNumber": 1})
    surveyed = survey_study(study_files(*second, *first))
    assert [(series.series_number, series.file_index) for series in surveyed] == [(1, 5), (2, 0)]


@pytest.mark.parametrize("zipped", [False, True], ids=["files", "zip"])
def test_155_slices_are_read_in_less_than_a_third_of_a_second(*, zipped: bool) -> None:
    """The project's promise for a whole series, headers and pixels; the best of three counts."""
    contents = write_series(small_volume((155, 240, 240)))
    files = study_files(write_zip(contents), media_type=MediaType.DICOM_ZIP) if zipped else study_files(*contents)
    begins_s = [time.process_time()]
    for _ in range(3):
        read_study(files)
        begins_s.append(time.process_time())
    assert np.diff(begins_s).min() <= 0.3


def test_the_request_may_select_a_series() -> None:
    """By its number, against what its attributes say."""
    plain = write_series(small_volume(seed=1), seed=1, attributes={"SeriesNumber": 2, "SeriesDescription": "t1 tse"})
    t1c = write_series(small_volume(), attributes=GADOLINIUM)
    study = read_study(study_files(*t1c, *plain), selections=(SeriesSelection(Sequence.T1C, 2),))
    np.testing.assert_array_equal(study.volumes[Sequence.T1C].voxels, small_volume(seed=1).voxels)
    assert study.file_indices == {Sequence.T1C: 5}


def test_an_unusable_t1c_is_refused() -> None:
    """The reason is told, and the file."""
    contents = write_series(small_volume(), attributes=GADOLINIUM)
    with pytest.raises(UnusableSeriesError) as caught:
        read_study(study_files(*contents[:2], *contents[3:]))
    assert caught.value.got == "missing slices: 1"
    assert caught.value.file_index == 0


def test_an_unusable_optional_series_is_left_out() -> None:
    """The study goes on without it, and says so."""
    t1c = write_series(small_volume(), attributes=GADOLINIUM)
    flair = {"SeriesNumber": 2, "SeriesDescription": "t2 flair", "EchoTime": 90, "InversionTime": 2500}
    broken = write_series(small_volume(seed=1), seed=1, attributes=flair)
    study = read_study(study_files(*t1c, *broken[:2], *broken[3:]))
    assert set(study.volumes) == {Sequence.T1C}
    assert study.series[1].reason is SeriesReason.UNUSABLE_GEOMETRY
    assert FindingCode.SEQUENCE_DROPPED in {finding.code for finding in study.findings}


def test_a_nifti_of_two_places_lies_at_its_sform_and_is_said() -> None:
    """The other place is a viewer's that goes by the qform."""
    content = gzip.decompress(write_nifti(small_volume().voxels, small_volume().geometry))

    def shift_qform(header: Nifti1Header) -> None:
        header["qoffset_x"] += 7.0

    file = StudyFile(0, MediaType.NIFTI, Sequence.T1C, edited(shift_qform, content))
    read = read_study((file,))
    assert read.volumes[Sequence.T1C].geometry.matches(small_volume().geometry)
    assert [(finding.code, "7.0 mm apart" in finding.message) for finding in read.findings] == [
        (FindingCode.SFORM_QFORM_DISAGREE, True)
    ]


def test_nifti_and_dicom_agree() -> None:
    """The same head in both formats is one and the same volume."""
    volume = small_volume(directions=OBLIQUE)
    nifti = StudyFile(0, MediaType.NIFTI, Sequence.T1C, write_nifti(volume.voxels, volume.geometry))
    read = read_study((nifti,)).volumes[Sequence.T1C]
    np.testing.assert_array_equal(read.voxels, read_one(*write_series(volume)).voxels)
    assert np.abs(read.geometry.corners_mm() - volume.geometry.corners_mm()).max() < 1e-4


def test_a_study_tells_how_its_t1c_says_where_it_lies() -> None:
    """Of a NIfTI, whichever file it is; DICOM says it in one way."""
    volume = small_volume()
    content = gzip.decompress(write_nifti(volume.voxels, volume.geometry))
    files = (
        StudyFile(0, MediaType.NIFTI, Sequence.T2F, content),
        StudyFile(1, MediaType.NIFTI, Sequence.T1C, edited(lambda header: header.set_sform(None, 2), content)),
    )
    forms = read_study(files).t1c_forms
    assert forms is not None
    assert (forms.sform_code, forms.qform_code) == (2, 1)
    assert read_study(study_files(*write_series(volume))).t1c_forms is None


@pytest.mark.parametrize("modality", ["CT", "PT", "SR"])
def test_a_study_without_mr_is_refused(modality: str) -> None:
    """Networks that were trained on MR say something of anything."""
    with pytest.raises(UnsupportedFormatError):
        read_study(study_files(*write_series(small_volume(), attributes={"Modality": modality})))


def test_other_modalities_beside_mr_are_left_out() -> None:
    """A report or a CT of the same study does no harm."""
    t1c = write_series(small_volume(), attributes=GADOLINIUM)
    ct = write_series(small_volume(), seed=1, attributes={"Modality": "CT", "SeriesNumber": 2})
    study = read_study(study_files(*t1c, *ct))
    assert [use.reason for use in study.series] == [SeriesReason.CHOSEN, SeriesReason.NOT_MR]
