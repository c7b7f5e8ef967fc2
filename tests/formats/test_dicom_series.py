"""What one upload mixes is told apart: patients, series, and the volumes within a series."""

import copy
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset

from brainmets.formats.study_reader import read_study, survey_study
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes
from dicom_cases import series_data_sets, small_volume, study_files, write_instance, write_series, write_zip
from imaging_cases import AXIAL, CORONAL, SAGITTAL


def survey(*contents: bytes) -> tuple[SeriesAttributes, ...]:
    """Return the series of single files."""
    return survey_study(study_files(*contents))


def mixed(*volumes: dict[str, object]) -> tuple[bytes, ...]:
    """Return one series that holds several volumes at one place, each with its own values."""

    def relabel(data_set: Dataset, volume: int) -> Dataset:
        data_set.SOPInstanceUID = f"{data_set.SOPInstanceUID[:50]}.{volume}"
        return data_set

    return tuple(
        write_instance(relabel(data_set, number))
        for number, values in enumerate(volumes)
        for data_set in series_data_sets(small_volume(seed=number), attributes=values)
    )


DISTINCTIONS = {
    "echoes": [{"EchoNumbers": 1, "EchoTime": 3.0}, {"EchoNumbers": 2, "EchoTime": 9.0}],
    "echoes without number": [{"EchoTime": 3.0}, {"EchoTime": 9.0}],
    "magnitude and phase": [{"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "P"]}],
    "water and fat": [{"ImageType": ["DERIVED", "PRIMARY", "W"]}, {"ImageType": ["DERIVED", "PRIMARY", "F"]}],
    "inversions": [{"InversionTime": 700}, {"InversionTime": 2500}],
    "phases": [{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}],
    "acquisitions": [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, {"AcquisitionNumber": 3}],
    "echoes of magnitude and phase": [
        {"ImageType": ["ORIGINAL", "PRIMARY", kind], "EchoTime": echo} for kind in "MP" for echo in (3.0, 9.0)
    ],
}


@pytest.mark.parametrize("distinction", DISTINCTIONS)
def test_volumes_at_one_place_are_told_apart(distinction: str) -> None:
    """Each becomes a volume of its own, in whatever order the files come."""
    values = DISTINCTIONS[distinction]
    contents = mixed(*values)
    shuffled = np.random.default_rng(0).permutation(len(contents))
    for order in (range(len(contents)), shuffled):
        surveyed = survey(*(contents[place] for place in order))
        assert [series.geometry is not None for series in surveyed] == [True] * len(values)


def test_what_is_told_apart_has_its_own_voxels() -> None:
    """The phase image is not the magnitude image, which the choice takes."""
    study = read_study(study_files(*mixed(*DISTINCTIONS["magnitude and phase"]), sequence=Sequence.T1C))
    np.testing.assert_array_equal(study.volumes[Sequence.T1C].voxels, small_volume(seed=0).voxels)


def test_phases_are_told_apart_by_all_bits_of_their_number() -> None:
    """Enhanced MR counts them in binary, where the ninth to the thirteenth look like white space."""
    (data_set,) = series_data_sets(small_volume(), enhanced=True)
    groups, pixels = data_set.PerFrameFunctionalGroupsSequence, data_set.PixelData
    phases = [copy.deepcopy(group) for _ in range(10) for group in groups]
    for place, group in enumerate(phases):
        group.FrameContentSequence[0].TemporalPositionIndex = place // len(groups) + 1
    data_set.PerFrameFunctionalGroupsSequence, data_set.NumberOfFrames = phases, len(phases)
    data_set.PixelData = pixels * 10
    assert [series.fault for series in survey(write_instance(data_set))] == [""] * 10


def test_an_attribute_that_merely_varies_parts_nothing() -> None:
    """Slices of two interleaved acquisitions, each of its own time, are one volume."""
    data_sets = series_data_sets(small_volume())
    for place, data_set in enumerate(data_sets):
        data_set.AcquisitionNumber, data_set.TriggerTime, data_set.EchoTime = place % 2, place * 100, 3.0 + place / 1000
    (series,) = survey(*map(write_instance, data_sets))
    assert series.geometry is not None


@pytest.mark.parametrize("of_its_half", [True, False])
def test_a_slice_sent_twice_does_not_tear_an_interleaved_volume(*, of_its_half: bool) -> None:
    """Half of the slices would be a volume too, of half of the head."""
    volume = small_volume((8, 24, 20))
    (doubled, *_) = series_data_sets(volume)
    data_sets = series_data_sets(volume)
    for place, data_set in enumerate(data_sets):
        data_set.AcquisitionNumber = place % 2
    doubled.SOPInstanceUID, doubled.AcquisitionNumber = f"{doubled.SOPInstanceUID[:50]}.9", int(not of_its_half)
    (series,) = survey(*map(write_instance, (*data_sets, doubled)))
    assert "same place" in series.fault


def test_a_volume_that_lacks_a_slice_tears_no_whole_one() -> None:
    """A phase image without one of its slices leaves the magnitude image as it is."""
    contents = mixed(*DISTINCTIONS["magnitude and phase"])
    magnitude, phase = survey(*contents[:-3], *contents[-2:])
    assert (magnitude.geometry is not None, phase.fault) == (True, "missing slices: 1")


def test_planes_of_a_localizer_are_told_apart() -> None:
    """Three slices in each of three planes are three volumes."""
    contents = [
        write_instance(data_set)
        for number, directions in enumerate((AXIAL, SAGITTAL, CORONAL))
        for data_set in series_data_sets(
            small_volume((3, 12, 10), directions=directions), seed=number, attributes={"SeriesInstanceUID": "1.2.3"}
        )
    ]
    normals = {
        tuple(np.abs(series.geometry.directions[:, 0]).round()) for series in survey(*contents) if series.geometry
    }
    assert normals == {(0, 0, 1), (1, 0, 0), (0, 1, 0)}


def test_sizes_are_told_apart() -> None:
    """Slices of another matrix or spacing are another volume's."""
    one = write_series(small_volume(), attributes={"SeriesInstanceUID": "1.2.3"})
    other = write_series(small_volume((4, 8, 8)), seed=1, attributes={"SeriesInstanceUID": "1.2.3"})
    shapes = {series.geometry.shape for series in survey(*one, *other) if series.geometry}
    assert shapes == {(5, 24, 20), (4, 8, 8)}


def test_a_time_series_makes_no_volume() -> None:
    """Of dozens of volumes in one series none is meant; it is listed once."""
    (series,) = survey(*mixed(*({"TemporalPositionIdentifier": time} for time in range(1, 31))))
    assert series.geometry is None
    assert series.fault == "30 volumes or orientations in one series"


def test_a_rotating_acquisition_makes_no_volume() -> None:
    """Each slice in a plane of its own."""
    data_sets = series_data_sets(small_volume((40, 12, 10)))
    for angle, data_set in zip(np.linspace(0, np.pi, 40, endpoint=False), data_sets, strict=True):
        data_set.ImageOrientationPatient = [round(value, 6) for value in (np.cos(angle), np.sin(angle), 0, 0, 0, -1)]
    assert {series.geometry for series in survey(*map(write_instance, data_sets))} == {None}


@pytest.mark.parametrize(
    "name",
    ["DOE^JANE", "Doe^Jane^^^", "Doe^Jane=ドウ^ジェイン", "", None],
    ids=["case", "empty", "alphabet", "none", "absent"],
)
def test_one_patient_may_be_written_differently(name: str | None) -> None:
    """Systems differ in case and empty components, and an absent name speaks for nobody else."""
    other = {"SeriesNumber": 2, "PatientName": name, "SpecificCharacterSet": "ISO_IR 192"}
    contents = (*write_series(small_volume()), *write_series(small_volume(), seed=1, attributes=other))
    assert len(survey(*contents)) == 2


def small_instances(count: int, change: Callable[[int], float]) -> tuple[bytes, ...]:
    """Return many instances of one series, made by replacing bytes of one; positions by their number."""
    data_set = series_data_sets(small_volume())[0]
    data_set.SOPInstanceUID, data_set.ImagePositionPatient = "1.2.3.100000", [0, 0, "11111.11"]
    content = write_instance(data_set)
    return tuple(
        content.replace(b"1.2.3.100000", b"1.2.3.%06d" % (100_000 + number)).replace(
            b"11111.11", b"%08.2f" % change(number)
        )
        for number in range(count)
    )


@pytest.mark.parametrize(
    ("height_mm", "fault"),
    [(lambda number: number * 0.5, "field of view"), (lambda _: 0.0, "same place")],
    ids=["a stack", "one place"],
)
def test_ten_thousand_instances_take_seconds(height_mm: Callable[[int], float], fault: str) -> None:
    """Whether or not they are a stack."""
    archive = write_zip(small_instances(10_000, height_mm))
    begin_s = time.process_time()
    (series,) = survey_study(study_files(archive, media_type=MediaType.DICOM_ZIP))
    assert time.process_time() - begin_s < 20.0
    assert fault in series.fault


def test_headers_of_a_scanner_take_milliseconds() -> None:
    """Hundreds of private elements and a sequence of undefined length, as vendors write them, are walked over."""
    private = b"".join(b"\x09\x00" + struct.pack("<H", 0x1000 + place) + b"LO\x08\x00 private" for place in range(250))
    begin, end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
    nested = b"\x09\x00\x00\x20SQ\x00\x00\xff\xff\xff\xff" + begin + private + end + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    patient = b"\x10\x00\x10\x00PN"
    contents = write_series(small_volume((155, 12, 10)))
    longer = [content.replace(patient, private + nested + patient, 1) for content in contents]
    begin_s = time.process_time()
    (series,) = survey(*longer)
    assert time.process_time() - begin_s < 1.0
    assert series.geometry == survey(*contents)[0].geometry
