"""Owns what is fuzzed: each function reads bytes that others sent, from their first byte to the last answer.

A reader answers, or raises a `BrainmetsError` or what else it documents; where two of its answers must agree, it checks
that they do.
"""

import gzip
import io
import zlib
from struct import Struct
from unittest.mock import patch

import numpy as np

from brainmets.formats.codestream import COMPRESSED, decode_frame
from brainmets.formats.dicom_instance import read_instance
from brainmets.formats.dicom_pixels import Frame, decode_frames, find_pixel_fault
from brainmets.formats.dicom_series import find_series
from brainmets.formats.dicom_tags import Tag
from brainmets.formats.gzip_stream import GzipStream
from brainmets.formats.nifti import read_nifti, read_nifti_attributes
from brainmets.formats.nifti_header import read_header
from brainmets.formats.study_reader import StudyFile, read_study
from brainmets.formats.zip_archive import list_entries
from brainmets.gateway import study_upload
from brainmets.gateway.job_messages import artifact_kind_from_proto
from brainmets.gateway.option_messages import (
    canonical_options,
    deadline_s_from_options,
    decision_options,
    preparation_choices,
)
from brainmets.gateway.page_tokens import sequence_from_token, token_from_sequence
from brainmets.gateway.submission import SubmissionOrder
from brainmets.imaging.geometry import MAX_VOXELS
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.internal.v1 import preprocessing_service_pb2
from brainmets.preprocessing.servicer import order_from_proto
from brainmets.preprocessing.study_files import check_files
from brainmets.v1 import job_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from brainmets.wire.tiles import header_from_proto, tile_from_proto
from fuzzing.parts import split_parts
from fuzzing.upload_service import UploadService

# A codestream's input begins with how it is to be decoded: syntax, rows, columns, type of the values.
CODESTREAM_HEAD = Struct("<BHHB")
SYNTAXES = tuple(sorted(COMPRESSED))
STORED_TYPES = tuple(np.dtype(name) for name in ("u1", "i1", "<u2", "<i2"))
# A frame of 4 megapixels is larger than any slice of a head; larger ones differ only in how long they take.
MAX_PIXELS = 2**22
# The announced type and sequence of a study's file, both by one byte.
MEDIA_TYPES = tuple(MediaType)
SEQUENCES = (None, *Sequence)
# What the seeds say of their patient, and how their UIDs begin: nothing that is said of an input may quote it.
IDENTITY = ("Doe", "Jane", "19500101", "1.2.826.0")
_GZIP_READS = (1, 7, 544, 65_536)
_MAX_GZIP_BYTES = 8 * 1024 * 1024


class FindingError(Exception):
    """A promise was broken that is not about exceptions."""


def quotes_patient(text: str) -> bool:
    """True when a text holds what the seeds say of their patient."""
    return any(word in text for word in IDENTITY)


def _check(*, kept: bool, promise: str) -> None:
    if not kept:
        raise FindingError(promise)


def read_nifti_header(content: bytes) -> None:
    """Read a NIfTI header; what it says of sizes is small enough to be allocated."""
    header = read_header(content, file_index=0)
    _check(kept=header.voxel_count <= MAX_VOXELS, promise="no more voxels than are taken")
    _check(kept=bool(np.isfinite(header.affine_ras).all()), promise="a finite affine")
    _check(kept=bool(np.isfinite(header.forms_apart_mm)), promise="a finite distance of sform and qform")


def read_nifti_file(content: bytes) -> None:
    """Read a NIfTI file; its header alone says the same of its grid."""
    volume = read_nifti(content, file_index=0)
    told = read_nifti_attributes(content, file_index=0)
    _check(kept=volume.geometry == told.geometry, promise="one grid, however it is read")
    _check(kept=bool(np.isfinite(volume.voxels).all()), promise="finite voxels")


def read_gzip(content: bytes) -> None:
    """Read a gzip stream in pieces; none is larger than asked, and Python's own reader inflates the same."""
    if not content:
        return
    size = _GZIP_READS[content[0] % len(_GZIP_READS)]
    stream = GzipStream(content[1:])
    inflated = bytearray()
    while len(inflated) < _MAX_GZIP_BYTES and (piece := stream.read(size)):
        _check(kept=len(piece) <= size, promise="a piece as large as asked")
        inflated += piece
        size = max(size, len(inflated))
    _check_inflated(content[1:], bytes(inflated))


def _check_inflated(content: bytes, inflated: bytes) -> None:
    try:
        with gzip.open(io.BytesIO(content)) as reference:
            expected = reference.read(len(inflated))
    except (OSError, EOFError, zlib.error):
        return
    _check(kept=expected == inflated, promise="the same bytes as Python's gzip")


def read_dicom_instance(content: bytes) -> None:
    """Read a DICOM file, find its volumes, and decode its frames."""
    instance = read_instance(content, load=lambda: content, file_index=0)
    if instance is None:
        return
    for series in find_series([instance], stated={}):
        if series.attributes.geometry is not None:
            series.read_volume()
    frame = Frame(instance, len(instance.frames) - 1)
    rows, columns = frame.header.unsigned(Tag.ROWS) or 0, frame.header.unsigned(Tag.COLUMNS) or 0
    if 0 < rows * columns <= MAX_PIXELS and not find_pixel_fault(frame):
        decode_frames((frame,), matrix=(rows, columns))


def read_any_study(content: bytes) -> None:
    """Read a study of any files; the first byte of each says what it is announced as."""
    files = tuple(
        StudyFile(number, MEDIA_TYPES[part[0] % 3], SEQUENCES[part[0] // 3 % 5], part[1:])
        for number, part in enumerate(split_parts(content))
        if part
    )
    study = read_study(files)
    told = " ".join(each.message for each in (*study.series, *study.findings))
    _check(kept=not quotes_patient(told), promise="nothing of the patient's in what is told of series")
    for volume in study.volumes.values():
        _check(kept=volume.voxels.shape == volume.geometry.shape, promise="voxels of the grid")
        _check(kept=bool(np.isfinite(volume.voxels).all()), promise="finite voxels")


def read_zip(content: bytes) -> None:
    """List a zip archive and read its files; together they are no larger than an archive of its size may be."""
    for entry in list_entries(content, file_index=0):
        entry.read()


def read_codestream(content: bytes) -> None:
    """Decode a compressed frame as its first bytes say."""
    if len(content) < CODESTREAM_HEAD.size:
        return
    syntax, rows, columns, stored = CODESTREAM_HEAD.unpack_from(content)
    stored_type = STORED_TYPES[stored % len(STORED_TYPES)]
    if not 0 < rows * columns <= MAX_PIXELS:
        return
    frame = decode_frame(
        content[CODESTREAM_HEAD.size :],
        SYNTAXES[syntax % len(SYNTAXES)],
        matrix=(rows, columns),
        stored_type=stored_type,
    )
    _check(kept=frame.shape == (rows, columns), promise="an image of the stated size")


def read_write_upload(content: bytes) -> None:
    """Write an upload with any messages; what is stored is what its record says, and closed only with its digest."""
    service = UploadService()
    requests = [messages.WriteUploadRequest.FromString(part) for part in split_parts(content)]
    with _small_parts():
        try:
            service.write_upload(requests)
        finally:
            service.check_digests()
            sent_bytes = sum(len(request.chunk) for request in requests)
            _check(kept=service.stored_bytes() <= sent_bytes, promise="no more stored than was sent")


def read_segment_study(content: bytes) -> None:
    """Segment a study with any messages; where it does not become a job, nothing of it stays."""
    service = UploadService()
    requests = [messages.SegmentStudyRequest.FromString(part) for part in split_parts(content)]
    with _small_parts():
        try:
            service.segment_study(requests)
        finally:
            _check(kept=service.stored_bytes() == 0, promise="nothing stored of what is refused")


def _small_parts() -> patch.multiple:  # type: ignore[name-defined]
    """Make the bounds of an upload small enough for small inputs to reach them."""
    return patch.multiple(study_upload, MAX_CHUNK_BYTES=64, PART_BYTES=192)


def read_options(content: bytes) -> None:
    """Read a request's options; as a job keeps them they are read as the same options."""
    start = messages.SegmentStudyStart.FromString(content)
    for number in start.artifacts:
        artifact_kind_from_proto(number)
    kept = canonical_options(start.options)
    SubmissionOrder(start.request_id, kept, deadline_s_from_options(start.options, default_s=60.0))
    again = job_pb2.SegmentationOptions.FromString(kept)
    _check(kept=canonical_options(again) == kept, promise="options that are kept as they are")
    _check(kept=decision_options(again) == decision_options(start.options), promise="the same decision")
    _check(kept=preparation_choices(again) == preparation_choices(start.options), promise="the same preparation")


def read_page_token(content: bytes) -> None:
    """Read a page token; one that is taken tells the same place again."""
    sequence = sequence_from_token(content.decode(errors="replace"))
    _check(kept=sequence_from_token(token_from_sequence(sequence)) == sequence, promise="one place for a token")


def read_prepare_request(content: bytes) -> None:
    """Read what preprocessing is asked for."""
    order = order_from_proto(preprocessing_service_pb2.PrepareStudyRequest.FromString(content))
    check_files(order.files, max_study_bytes=2**30)


def read_prepared_study(content: bytes) -> None:
    """Read what preprocessing sends: a header, then tiles."""
    responses = [preprocessing_service_pb2.PrepareStudyResponse.FromString(part) for part in split_parts(content)]
    if not responses:
        return
    header = header_from_proto(responses[0].header)
    for response in responses[1:]:
        tile = tile_from_proto(response.tile, header)
        _check(kept=len(tile.voxels) == len(header.sequences), promise="a channel for each sequence")
    if header.brain.step:
        header.brain.unpack(header.normalized)
