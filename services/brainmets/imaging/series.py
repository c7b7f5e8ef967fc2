"""Owns what is known of a series besides its voxels: how it was acquired, and what became of it.

Free text of the input (`description`) serves the choice of sequences and goes no further: no message, log or result
quotes it.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence


@dataclass(frozen=True, slots=True)
class SeriesAttributes:
    """How one series was acquired, as far as its files say; None and empty mean that they say nothing.

    An absent attribute is never evidence.

    Attributes:
        file_index: The client's number of the first file that it was read from.
        geometry: Grid of its volume; None when its slices make none.
        fault: Why they make none, in a few words without patient data; empty when there is a grid.
        stated: What the request says it is.
        series_number: SeriesNumber (0020,0011).
        phase: Which of the volumes of one series, in the order of time: TemporalPositionIdentifier (0020,0100) or
            TemporalPositionIndex (0020,9128), else AcquisitionNumber (0020,0012).
        modality: Modality (0008,0060); empty for NIfTI.
        description: SeriesDescription (0008,103E), else ProtocolName (0018,1030), and SequenceName (0018,0024).
        image_type: Values of ImageType (0008,0008), upper case.
        scanning_sequence: Values of ScanningSequence (0018,0020).
        sequence_variant: Values of SequenceVariant (0018,0021).
        acquisition_contrast: AcquisitionContrast (0008,9209) of Enhanced MR.
        repetition_time_ms: RepetitionTime (0018,0080).
        echo_time_ms: EchoTime (0018,0081).
        inversion_time_ms: InversionTime (0018,0082).
        flip_angle_deg: FlipAngle (0018,1314).
        contrast_agent: ContrastBolusAgent (0018,0010) or its like is there and names an agent: True; is there and
            names none ("none", "no"): False; absent or empty: None.
        body_part: BodyPartExamined (0018,0015), upper case.
        acquired_on: AcquisitionDate (0008,0022), else SeriesDate, else StudyDate.
        burned_in_text: BurnedInAnnotation (0028,0301).
        uneven_mm: Largest distance of a slice from its place in the evenly spaced grid; 0 where that is but rounding.
        forms_apart_mm: How far apart a NIfTI file's sform and qform put a corner of the volume; 0 without both.
        nifti_forms: How a NIfTI file says where its voxels lie; None for DICOM.
    """

    file_index: int
    geometry: Geometry | None
    fault: str = ""
    stated: Sequence | None = None
    series_number: int | None = None
    phase: int | None = None
    modality: str = ""
    description: str = ""
    image_type: tuple[str, ...] = ()
    scanning_sequence: tuple[str, ...] = ()
    sequence_variant: tuple[str, ...] = ()
    acquisition_contrast: str = ""
    repetition_time_ms: float | None = None
    echo_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    contrast_agent: bool | None = None
    body_part: str = ""
    acquired_on: date | None = None
    burned_in_text: bool | None = None
    uneven_mm: float = 0.0
    forms_apart_mm: float = 0.0
    nifti_forms: NiftiForms | None = None


class SeriesReason(StrEnum):
    """Why a series was taken or left, by the name it has in the published contract."""

    CHOSEN = "chosen"
    ANOTHER_PREFERRED = "another_preferred"
    ANOTHER_STATED = "another_stated"
    LOCALIZER = "localizer"
    DERIVED = "derived"
    SUBTRACTION = "subtraction"
    OTHER_CONTRAST = "other_contrast"
    PRE_CONTRAST = "pre_contrast"
    UNRECOGNIZED = "unrecognized"
    UNUSABLE_GEOMETRY = "unusable_geometry"
    OTHER_BODY_PART = "other_body_part"
    NOT_MR = "not_mr"
    UNUSED_SEQUENCE = "unused_sequence"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True)
class SeriesUse:
    """What became of one series of the study.

    Attributes:
        series_index: Its place in the study, from 0.
        file_index: The client's number of the first file that it was read from.
        series_number: SeriesNumber, if it has one.
        sequence: What it was taken for, or would have been; None when that cannot be told.
        reason: Why; `SeriesReason.CHOSEN` when the networks see it.
        message: The reason in one sentence, without patient data.
        shape: Slices, rows, columns; None where there is no volume.
        spacing_mm: Distance between voxels along them; None where there is no volume.
        stated: Whether the request said its sequence, and not what it holds.
    """

    series_index: int
    file_index: int
    series_number: int | None
    sequence: Sequence | None
    reason: SeriesReason
    message: str
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    stated: bool = False

    @property
    def used(self) -> bool:
        """Whether the networks saw it."""
        return self.reason is SeriesReason.CHOSEN


def leave_out(series: Iterable[SeriesUse], *, seen: Container[Sequence | None]) -> tuple[SeriesUse, ...]:
    """Return what became of series once it is known which sequences the networks see: not all that were chosen."""
    message = "It was chosen, and left out for what its voxels showed; a finding says what."
    return tuple(
        replace(use, reason=SeriesReason.LEFT_OUT, message=message) if use.used and use.sequence not in seen else use
        for use in series
    )


@dataclass(frozen=True, slots=True)
class SeriesSelection:
    """A series that the request chooses by its SeriesNumber."""

    sequence: Sequence
    series_number: int
