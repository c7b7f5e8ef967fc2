"""Owns findings: what a reader of a result should know about the input it was made from."""

from dataclasses import dataclass
from enum import StrEnum

from brainmets.imaging.sequence import Sequence


class FindingCode(StrEnum):
    """What a finding is about."""

    SEQUENCE_DROPPED = "sequence_dropped"
    SEQUENCE_REGISTERED = "sequence_registered"
    THICK_SLICES = "thick_slices"
    CONTRAST_NOT_ESTABLISHED = "contrast_not_established"
    UNEVEN_SLICES = "uneven_slices"
    CUT_FIELD_OF_VIEW = "cut_field_of_view"
    LOW_SIGNAL = "low_signal"
    MOTION = "motion"
    NOT_A_HEAD = "not_a_head"
    DIFFERENT_DAYS = "different_days"
    DERIVED_SERIES = "derived_series"
    BURNED_IN_TEXT = "burned_in_text"
    SFORM_QFORM_DISAGREE = "sform_qform_disagree"


class Severity(StrEnum):
    """How much a finding weighs: a severe one refuses the study unless the request insists."""

    WARNING = "warning"
    SEVERE = "severe"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the input that a reader of the result should know; `sequence` is None for the whole study."""

    code: FindingCode
    message: str
    sequence: Sequence | None = None
    severity: Severity = Severity.WARNING
