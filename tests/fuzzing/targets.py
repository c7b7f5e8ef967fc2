"""Owns the fuzzing targets: readers, how their inputs are changed, and what is promised of all of them.

Whatever the bytes are, a target answers or raises a `BrainmetsError` (a part of a reader: the error that it documents),
within `MAX_SECONDS`, and in a few words.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from google.protobuf.message import DecodeError

from brainmets.formats.codestream import CodestreamError
from brainmets.formats.gzip_stream import GzipStreamError
from brainmets.imaging.errors import BrainmetsError
from brainmets.internal.v1 import preprocessing_service_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from fuzzing.message_mutations import change_message, change_messages
from fuzzing.mutations import (
    Basic,
    Mutation,
    change_anyhow,
    change_codestream,
    change_dicom,
    change_gzip,
    change_nifti,
    change_study,
    change_zip,
)
from fuzzing.readers import (
    FindingError,
    quotes_patient,
    read_any_study,
    read_codestream,
    read_dicom_instance,
    read_gzip,
    read_nifti_file,
    read_nifti_header,
    read_options,
    read_page_token,
    read_prepare_request,
    read_prepared_study,
    read_segment_study,
    read_write_upload,
    read_zip,
)

# A folder of inputs for each target: seeds, and what was found.
CORPUS = Path(__file__).parent / "corpus"
# Of processor time, so that a busy machine is no finding; any one of the fuzzed inputs is small.
MAX_SECONDS = 2.0
# An error travels in the trailing metadata of a call, of which gRPC takes 8 KiB.
MAX_ERROR_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: Of its folder in the corpus.
        read: Reads an input.
        mutate: Changes one.
        refusals: What its reader documents beside `BrainmetsError`.
        max_bytes: Largest input.
        short_runs: Mutations that `make test` reads, by what they cost.
        share: Of a recorded run's executions, in parts of all targets' shares together.
    """

    name: str
    read: Callable[[bytes], None]
    mutate: Mutation
    refusals: tuple[type[Exception], ...] = field(default=(), kw_only=True)
    max_bytes: int = field(kw_only=True)
    short_runs: int = field(kw_only=True)
    share: int = field(kw_only=True)


def execute(target: Target, content: bytes) -> None:
    """Read an input.

    Raises:
        FindingError: It took too long, or the refusal is no good.
        Exception: Whatever else the target raised, which is a finding too.
    """
    begin_s = time.process_time()
    try:
        with warnings.catch_warnings():
            # Numbers that overflow in silence are wrong ones.
            warnings.simplefilter("error")
            # Of a signalling NaN, and of axes of next to no length: both are refused as any others are.
            warnings.filterwarnings("ignore", "invalid value encountered in cast|divide by zero encountered in det")
            target.read(content)
    except (BrainmetsError, *target.refusals) as error:
        text = str(error)
        if len(text) > MAX_ERROR_LENGTH:
            raise FindingError(f"an error of {len(text)} characters") from error
        if quotes_patient(text):
            raise FindingError("an error that quotes the patient's data") from error
    spent_s = time.process_time() - begin_s
    if spent_s > MAX_SECONDS:
        raise FindingError(f"{spent_s:.1f} s for {len(content)} bytes")


_PROTO = (DecodeError,)
_KIB = 1024

TARGETS = (
    Target("nifti_header", read_nifti_header, change_nifti, max_bytes=2 * _KIB, short_runs=5000, share=12),
    Target("nifti_file", read_nifti_file, change_nifti, max_bytes=4 * _KIB, short_runs=5000, share=10),
    Target(
        "gzip_stream",
        read_gzip,
        change_gzip,
        refusals=(GzipStreamError,),
        max_bytes=4 * _KIB,
        short_runs=5000,
        share=12,
    ),
    Target("zip_archive", read_zip, change_zip, max_bytes=16 * _KIB, short_runs=3000, share=6),
    Target("dicom_instance", read_dicom_instance, change_dicom, max_bytes=16 * _KIB, short_runs=2000, share=12),
    Target(
        "codestream",
        read_codestream,
        change_codestream,
        refusals=(CodestreamError,),
        max_bytes=8 * _KIB,
        short_runs=5000,
        share=16,
    ),
    Target("study", read_any_study, change_study, max_bytes=64 * _KIB, short_runs=1500, share=6),
    Target(
        "write_upload",
        read_write_upload,
        change_messages(messages.WriteUploadRequest),
        refusals=_PROTO,
        max_bytes=4 * _KIB,
        short_runs=1000,
        share=4,
    ),
    Target(
        "segment_study",
        read_segment_study,
        change_messages(messages.SegmentStudyRequest),
        refusals=_PROTO,
        max_bytes=4 * _KIB,
        short_runs=1000,
        share=4,
    ),
    Target(
        "options",
        read_options,
        change_message(messages.SegmentStudyStart),
        refusals=_PROTO,
        max_bytes=_KIB,
        short_runs=5000,
        share=14,
    ),
    Target("page_token", read_page_token, change_anyhow, max_bytes=64, short_runs=5000, share=5),
    Target(
        "prepare_request",
        read_prepare_request,
        change_message(preprocessing_service_pb2.PrepareStudyRequest),
        refusals=_PROTO,
        max_bytes=4 * _KIB,
        short_runs=5000,
        share=14,
    ),
    Target(
        "prepared_study",
        read_prepared_study,
        change_messages(preprocessing_service_pb2.PrepareStudyResponse),
        refusals=_PROTO,
        max_bytes=4 * _KIB,
        short_runs=3000,
        share=6,
    ),
)


def find_target(name: str) -> Target:
    """Return the target of a name."""
    return next(target for target in TARGETS if target.name == name)


def mutate(target: Target, content: bytes, rng: Random, basic: Basic) -> bytes:
    """Return a changed input, no larger than the target's largest."""
    return target.mutate(content, target.max_bytes, rng, basic)[: target.max_bytes]
