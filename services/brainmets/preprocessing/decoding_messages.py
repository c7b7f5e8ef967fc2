"""Owns what the service and a decoder tell each other: an order to read one study, its volumes, and how that ended.

Bulk never travels: an order lies behind the study's bytes and answers in the arena, all as JSON, and what goes
through the socket is where. The service validates what it reads, because a decoder may have been taken over by what it
decodes.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from pydantic import TypeAdapter

from brainmets.imaging.findings import Finding
from brainmets.imaging.geometry import Index
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection, SeriesUse

# What a decoder says once it can take orders.
READY = b"ready"
# Where an order begins behind the study's bytes, and its size; the study's and the arena's descriptors go with it.
ORDER_PLACE = struct.Struct("<QQ")
# What is answered, and where it begins in the arena, and its size.
ANSWER_PLACE = struct.Struct("<BQQ")
# How a decoder exits that has run out of memory or stack.
EXIT_LIMIT = 3


class AnswerKind(IntEnum):
    """What a decoder answers: each volume once it is read, the T1c's first, and at last how the study ended."""

    VOLUME = 1
    STUDY = 2
    REFUSAL = 3


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What decoding one study may take.

    Attributes:
        time_s: Time that its process computes, however long that takes.
        memory_bytes: Working memory beside the study's bytes; as much again for its volumes.
    """

    time_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class FileSpan:
    """Where a file of the study lies in its bytes, and what is known of it."""

    file_index: int
    media_type: MediaType
    sequence: Sequence | None
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DecodingOrder:
    """A study to read; `known` are the sequences that the network knows, in the order of its channels."""

    files: tuple[FileSpan, ...]
    selections: tuple[SeriesSelection, ...]
    known: tuple[Sequence, ...]


@dataclass(frozen=True, slots=True)
class VolumeSpan:
    """Where a volume's voxels begin in the arena (float32, C order), and its grid; `affine` is (4, 4) row by row."""

    sequence: Sequence
    shape: Index
    affine: tuple[float, ...]
    offset_bytes: int


@dataclass(frozen=True, slots=True)
class DecodedStudy:
    """A study whose volumes were read: the first file of each, what is to be told of it, and its T1c's NIfTI forms."""

    file_indices: dict[Sequence, int]
    series: tuple[SeriesUse, ...]
    findings: tuple[Finding, ...]
    t1c_forms: NiftiForms | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A study that was not read: the fields of the error."""

    reason: str
    message: str
    expected: str
    got: str
    remedy: str
    file_index: int | None


ORDER_JSON = TypeAdapter(DecodingOrder)
VOLUME_JSON = TypeAdapter(VolumeSpan)
DECODED_JSON = TypeAdapter(DecodedStudy)
REFUSAL_JSON = TypeAdapter(Refusal)
