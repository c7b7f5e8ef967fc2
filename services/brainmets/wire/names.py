"""Enum names of the protos and of imaging, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainmets.imaging.findings import FindingCode
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.midline import Side
from brainmets.imaging.sequence import Sequence
from brainmets.v1 import result_pb2, study_pb2

if TYPE_CHECKING:
    from brainmets.imaging.operating_point import OperatingPointName

_SEQUENCES = {
    Sequence.T1C: study_pb2.SEQUENCE_T1C,
    Sequence.T1N: study_pb2.SEQUENCE_T1N,
    Sequence.T2W: study_pb2.SEQUENCE_T2W,
    Sequence.T2F: study_pb2.SEQUENCE_T2F,
}
_MEDIA_TYPES = {
    MediaType.NIFTI: study_pb2.MEDIA_TYPE_NIFTI,
    MediaType.DICOM: study_pb2.MEDIA_TYPE_DICOM,
    MediaType.DICOM_ZIP: study_pb2.MEDIA_TYPE_DICOM_ZIP,
}
_SIDES = {
    Side.LEFT: result_pb2.SIDE_LEFT,
    Side.RIGHT: result_pb2.SIDE_RIGHT,
    Side.MIDLINE: result_pb2.SIDE_MIDLINE,
}


def sequence_to_proto(sequence: Sequence | None) -> study_pb2.Sequence.ValueType:
    """Return the proto's number; None is unspecified."""
    return study_pb2.SEQUENCE_UNSPECIFIED if sequence is None else _SEQUENCES[sequence]


def sequence_from_proto(number: study_pb2.Sequence.ValueType) -> Sequence | None:
    """Return the sequence; None for unspecified and for numbers of a newer contract."""
    return next((sequence for sequence, known in _SEQUENCES.items() if known == number), None)


def media_type_to_proto(media_type: MediaType) -> study_pb2.MediaType.ValueType:
    """Return the proto's number."""
    return _MEDIA_TYPES[media_type]


def media_type_from_proto(number: study_pb2.MediaType.ValueType) -> MediaType | None:
    """Return the media type; None for unspecified and for numbers of a newer contract."""
    return next((media_type for media_type, known in _MEDIA_TYPES.items() if known == number), None)


def side_to_proto(side: Side) -> result_pb2.Side.ValueType:
    """Return the proto's number."""
    return _SIDES[side]


def operating_point_to_proto(name: OperatingPointName | None) -> result_pb2.OperatingPoint.ValueType:
    """Return the proto's number; None is unspecified. The names agree, which a test holds."""
    if name is None:
        return result_pb2.OPERATING_POINT_UNSPECIFIED
    return result_pb2.OperatingPoint.Value(f"OPERATING_POINT_{name.name}")


def finding_code_to_proto(code: FindingCode) -> result_pb2.FindingCode.ValueType:
    """Return the proto's number; the names agree, which a test holds."""
    return result_pb2.FindingCode.Value(f"FINDING_CODE_{code.name}")


def finding_code_from_proto(number: result_pb2.FindingCode.ValueType) -> FindingCode:
    """Return the code."""
    return FindingCode[result_pb2.FindingCode.Name(number).removeprefix("FINDING_CODE_")]
