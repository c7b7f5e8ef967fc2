"""What headers say of an acquisition is read the same from classic and Enhanced MR, and nothing is made up."""

from datetime import date

import pytest
from pydicom.dataset import Dataset

from brainmets.formats.study_reader import survey_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes
from dicom_cases import small_volume, study_files, write_series

BOTH = pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])


def survey(*, enhanced: bool = False, **attributes: object) -> SeriesAttributes:
    """Return what a series with these attributes is known to be."""
    (series,) = survey_study(study_files(*write_series(small_volume(), attributes=attributes, enhanced=enhanced)))
    return series


def item(**values: object) -> Dataset:
    """Return an item of a sequence."""
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set


@BOTH
def test_times_are_those_of_the_header(*, enhanced: bool) -> None:
    """In milliseconds, and the flip angle in degrees, wherever the object keeps them."""
    series = survey(enhanced=enhanced, RepetitionTime="2300", EchoTime="2.98", InversionTime="900", FlipAngle="9")
    assert (series.repetition_time_ms, series.echo_time_ms, series.inversion_time_ms) == (2300, 2.98, 900)
    assert series.flip_angle_deg == 9


@BOTH
def test_labels_are_those_of_the_header(*, enhanced: bool) -> None:
    """Descriptions joined, coded words in upper case."""
    series = survey(
        enhanced=enhanced,
        SeriesDescription="t1 mprage KM",
        SequenceName="*tfl3d1",
        ImageType=["ORIGINAL", "PRIMARY", "M", "NORM"],
        BodyPartExamined="HEAD",
        SeriesNumber="7",
        BurnedInAnnotation="NO",
        AcquisitionDate="20240301",
    )
    assert series.description == "t1 mprage KM *tfl3d1"
    assert survey(enhanced=enhanced, SeriesDescription="t1", SequenceName="t1").description == "t1"
    assert series.image_type == ("ORIGINAL", "PRIMARY", "M", "NORM")
    assert (series.body_part, series.series_number, series.modality) == ("HEAD", 7, "MR")
    assert series.burned_in_text is False
    assert series.acquired_on == date(2024, 3, 1)


@BOTH
def test_a_protocol_names_a_series_without_a_name_alone(*, enhanced: bool) -> None:
    """One name of a protocol for the whole examination says nothing of a series that has its own."""
    protocol = "BRAIN METS WITH CONTRAST"
    assert survey(enhanced=enhanced, SeriesDescription="AX T1", ProtocolName=protocol).description == "AX T1"
    assert survey(enhanced=enhanced, SeriesDescription="", ProtocolName=protocol).description == protocol


@pytest.mark.parametrize(
    ("attributes", "phase"),
    [
        ({}, None),
        ({"AcquisitionNumber": 3}, 3),
        ({"AcquisitionNumber": 3, "TemporalPositionIdentifier": 2}, 2),
    ],
)
def test_a_volume_tells_which_of_its_series_it_is(attributes: dict[str, object], phase: int | None) -> None:
    """By its place in time, or by the count of acquisitions."""
    assert survey(**attributes).phase == phase


@BOTH
def test_what_is_absent_is_not_made_up(*, enhanced: bool) -> None:
    """Nothing said is None or empty; only the study's date stands in for the acquisition's."""
    series = survey(enhanced=enhanced)
    assert (series.repetition_time_ms, series.echo_time_ms, series.inversion_time_ms) == (None, None, None)
    assert (series.contrast_agent, series.burned_in_text, series.body_part) == (None, None, "")
    assert (series.scanning_sequence, series.acquisition_contrast) == ((), "")
    assert series.acquired_on == date(2024, 2, 29)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, None),
        ({"ContrastBolusAgent": ""}, None),
        ({"ContrastBolusAgent": "Gadovist"}, True),
        ({"ContrastBolusAgent": "NONE"}, False),
        ({"ContrastBolusAgent": "No"}, False),
        ({"ContrastBolusVolume": "7.5"}, True),
        ({"ContrastBolusVolume": "0"}, None),
        ({"ContrastBolusAgentSequence": [item(CodeMeaning="Gadobutrol")]}, True),
        ({"ContrastBolusAgentSequence": [item(CodeMeaning="None")]}, False),
    ],
    ids=str,
)
@BOTH
def test_contrast_medium_is_as_the_header_says(
    attributes: dict[str, object], *, expected: bool | None, enhanced: bool
) -> None:
    """There, said not to be there, or not spoken of."""
    assert survey(enhanced=enhanced, **attributes).contrast_agent is expected


def test_enhanced_mr_tells_its_pulse_sequence_in_classic_words() -> None:
    """A gradient echo with inversion is what classic MR calls GR and IR."""
    series = survey(enhanced=True, EchoPulseSequence="GRADIENT", AcquisitionContrast="T1", InversionRecovery="YES")
    assert series.scanning_sequence == ("GR", "IR")
    assert series.acquisition_contrast == "T1"


@pytest.mark.parametrize("date_text", [b"        ", b"2024    ", b"20249999"])
def test_a_date_that_is_none_is_passed_over(date_text: bytes) -> None:
    """The next best one counts."""
    contents = write_series(small_volume(), attributes={"AcquisitionDate": "20240301", "SeriesDate": "20240305"})
    (series,) = survey_study(study_files(*(content.replace(b"20240301", date_text) for content in contents)))
    assert series.acquired_on == date(2024, 3, 5)


def test_a_statement_of_the_request_goes_with_its_series() -> None:
    """Whatever the header says."""
    (series,) = survey_study(study_files(*write_series(small_volume()), sequence=Sequence.T2W))
    assert series.stated is Sequence.T2W
