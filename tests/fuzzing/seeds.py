"""Writes the corpus: for each target a few small inputs that are read well, from which a fuzzer starts.

`PYTHONPATH=services:tests python -m fuzzing.seeds` writes them again; findings, named `finding-…`, stay as they are.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Iterator
from itertools import chain

import cv2
import numpy as np
from google.protobuf.message import Message
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
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

from brainmets.formats.dicom_instance import TransferSyntax
from brainmets.gateway.page_tokens import token_from_sequence
from brainmets.imaging.brain_mask import pack_brain
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.midline import Midline
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import crop_tile, plan_tiles
from brainmets.imaging.volume import Volume
from brainmets.internal.v1 import preprocessing_service_pb2
from brainmets.v1 import job_pb2, study_pb2
from brainmets.v1 import segmentation_service_pb2 as messages
from brainmets.wire.tiles import StudyHeader, contract_to_proto, header_to_proto, tile_to_proto
from dicom_cases import series_data_sets, small_volume, write_instance, write_series, write_zip
from fuzzing.parts import join_parts
from fuzzing.readers import CODESTREAM_HEAD, STORED_TYPES, SYNTAXES
from fuzzing.targets import CORPUS
from fuzzing.upload_service import UPLOAD_ID
from imaging_cases import OBLIQUE, axial_geometry, normalized_volume
from nifti_cases import compressed, count_voxels, nifti_file
from result_cases import SERIES

FINDING = "finding-"
_NIFTI, _DICOM, _DICOM_ZIP = b"\0", b"\1", b"\2"
# Announced as NIfTI, and as T1C: three media types, then five sequences.
_NIFTI_T1C = b"\3"
_COMPRESSED = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
_T1C = {"SeriesDescription": "t1 se", "RepetitionTime": 600, "EchoTime": 9, "ContrastBolusAgent": "Gd"}
_CONTENT = bytes(range(64)) * 3


def main() -> None:
    """Write every target's seeds."""
    for name, seeds in _seeds().items():
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if not old.name.startswith(FINDING):
                old.unlink()
        for seed, content in seeds.items():
            (folder / seed).write_bytes(content)


def _seeds() -> dict[str, dict[str, bytes]]:
    nifti = dict(_nifti())
    return {
        "nifti_header": {name: content[:544] for name, content in nifti.items() if not name.startswith("gzip")},
        "nifti_file": nifti,
        "gzip_stream": {f"reads-{number}": bytes([number]) + compressed(_CONTENT) for number in range(4)}
        | {"two-members": b"\1" + compressed(_CONTENT) + gzip.compress(b"more", mtime=0)},
        "zip_archive": dict(_archives()),
        "dicom_instance": dict(_instances()),
        "codestream": dict(_codestreams()),
        "study": dict(_studies()),
        "write_upload": dict(_uploads(messages.WriteUploadRequest, messages.WriteUploadRequest(upload_id=UPLOAD_ID))),
        "segment_study": dict(
            _uploads(messages.SegmentStudyRequest, messages.SegmentStudyRequest(start=_start(Sequence.T1C)))
        ),
        "options": {"empty": b"\x0a\x01x", "all": _start(Sequence.T1C, Sequence.T2F).SerializeToString()},
        "page_token": {"first": token_from_sequence(0).encode(), "later": token_from_sequence(2**40 + 5).encode()},
        "prepare_request": {"two-files": _prepare_request().SerializeToString()},
        "prepared_study": {"tiles": join_parts(_prepared_study())},
    }


def _nifti() -> Iterator[tuple[str, bytes]]:
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * (0.9, 1.1, 2.0)
    yield "plain", nifti_file()
    yield "oblique", nifti_file(count_voxels(dtype=np.float32), affine)
    yield "nifti-2", nifti_file(count_voxels(dtype=np.uint8), version=2)
    yield "gzip", compressed(nifti_file())
    yield "gzip-nifti-2", compressed(nifti_file(version=2))


def _ramp(shape: tuple[int, int, int]) -> Volume:
    """Return a volume that compresses well, so that encoders take it."""
    volume = small_volume(shape)
    return Volume(np.arange(volume.voxels.size, dtype=np.float32).reshape(shape) % 251, volume.geometry)


def _instances() -> Iterator[tuple[str, bytes]]:
    volume = small_volume((3, 6, 5))
    for syntax in (
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ):
        yield f"classic-{syntax.keyword}", write_series(volume, transfer_syntax=syntax)[1]
        yield f"enhanced-{syntax.keyword}", _enhanced(volume, syntax)
    for syntax in _COMPRESSED:
        yield f"classic-{syntax.keyword}", write_series(_ramp((3, 32, 32)), transfer_syntax=syntax)[0]
    for syntax in (JPEG2000Lossless, RLELossless):
        yield f"enhanced-{syntax.keyword}", _enhanced(_ramp((3, 32, 32)), syntax)


def _enhanced(volume: Volume, syntax: UID) -> bytes:
    """Return an Enhanced file whose sequences end by delimiters, so that a change in one leaves the others sound."""
    (data_set,) = series_data_sets(volume, enhanced=True, attributes={"EchoTime": 3.0, "RepetitionTime": 2000})
    _end_by_delimiters(data_set)
    return write_instance(data_set, syntax)


def _end_by_delimiters(data_set: Dataset) -> None:
    for element in data_set:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _end_by_delimiters(item)


def _archives() -> Iterator[tuple[str, bytes]]:
    slices = write_series(small_volume((3, 6, 5)))
    yield "stored", write_zip(slices)
    yield "deflated", write_zip([*slices, b"a list of contents"], compression=zipfile.ZIP_DEFLATED)


def _studies() -> Iterator[tuple[str, bytes]]:
    volume = small_volume((4, 6, 5))
    slices = write_series(volume, attributes=_T1C)
    flair = {"SeriesNumber": 2, "SeriesDescription": "t2 flair", "RepetitionTime": 9000, "EchoTime": 94}
    yield "series", join_parts(_DICOM + content for content in slices)
    yield "enhanced", join_parts([_DICOM + _enhanced(volume, ExplicitVRLittleEndian)])
    yield "zip", join_parts([_DICOM_ZIP + write_zip(slices, compression=zipfile.ZIP_DEFLATED)])
    yield "nifti", join_parts([_NIFTI_T1C + compressed(nifti_file()), b"\x0c" + nifti_file()])
    yield "two-series", join_parts(_DICOM + each for each in (*slices, *write_series(volume, attributes=flair, seed=1)))
    echoes = (series_data_sets(volume, attributes=_T1C, seed=seed) for seed in (2, 3))
    yield "two-echoes", join_parts(_DICOM + write_instance(each) for each in _as_echoes(*echoes))
    compressed_slices = write_series(_ramp((3, 32, 32)), transfer_syntax=JPEGLSLossless)
    yield "compressed", join_parts(_DICOM + content for content in compressed_slices)


def _as_echoes(*series: tuple[Dataset, ...]) -> Iterator[Dataset]:
    for number, data_sets in enumerate(series, start=1):
        for data_set in data_sets:
            data_set.EchoNumbers, data_set.SeriesInstanceUID = number, "1.2.826.0.1.3680043.8.498.1"
            yield data_set


def _codestreams() -> Iterator[tuple[str, bytes]]:
    for syntax in _COMPRESSED:
        content = write_series(_ramp((3, 32, 32)), transfer_syntax=syntax)[0]
        (stream,) = generate_frames(content[content.rindex(b"\xe0\x7f\x10\x00OB") + 12 :], number_of_frames=1)
        yield syntax.keyword, _codestream(syntax, 3, stream)
    grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) // 2
    yield "JPEGBaseline", _codestream(TransferSyntax.JPEG_BASELINE, 0, cv2.imencode(".jpg", grey)[1].tobytes())
    yield "JPEG2000-8-bit", _codestream(TransferSyntax.JPEG_2000, 0, _jpeg_2000(grey))


def _jpeg_2000(grey: np.ndarray) -> bytes:
    """Return the codestream inside a JP2 file."""
    content = cv2.imencode(".jp2", grey)[1].tobytes()
    return content[content.index(b"\xff\x4f\xff\x51") :]


def _codestream(syntax: str, stored: int, stream: bytes) -> bytes:
    number = next(place for place, known in enumerate(SYNTAXES) if known == syntax)
    size = 32
    assert STORED_TYPES[stored].itemsize in (1, 2)
    return CODESTREAM_HEAD.pack(number, size, size, stored) + stream


def _start(*sequences: Sequence) -> messages.SegmentStudyStart:
    options = job_pb2.SegmentationOptions(
        model=job_pb2.MODEL_CHOICE_MEAN,
        threshold=0.4,
        min_lesion_volume_mm3=20.0,
        force=True,
        operating_point=1,
        min_peak_probability=0.5,
        test=True,
    )
    options.deadline.FromSeconds(90)
    for number, _ in enumerate(sequences, start=1):
        options.series.add(sequence=number, series_number=10 + number)
    return messages.SegmentStudyStart(
        request_id="r-1",
        options=options,
        artifacts=[job_pb2.ARTIFACT_KIND_MASK_NIFTI, job_pb2.ARTIFACT_KIND_REPORT_JSON],
    )


def _uploads(kind: type, first: Message) -> Iterator[tuple[str, bytes]]:
    def file(number: int, content: bytes, *, offset_bytes: int = 0) -> Iterator[Message]:
        header = study_pb2.FileHeader(
            file_index=number, media_type=study_pb2.MEDIA_TYPE_NIFTI, sequence=number + 1, offset_bytes=offset_bytes
        )
        yield kind(file_header=header)
        for begin in range(offset_bytes, len(content), 60):
            yield kind(chunk=content[begin : begin + 60])
        yield kind(file_end=study_pb2.FileEnd(sha256=hashlib.sha256(content).digest()))

    def stream(*messages_of_files: Iterator[Message]) -> bytes:
        return join_parts(part.SerializeToString() for part in (first, *chain(*messages_of_files)))

    yield "one-file", stream(file(0, _CONTENT))
    yield "two-files", stream(file(0, _CONTENT * 2), file(1, b"short"))
    yield "resumed", stream(file(0, _CONTENT[:60]), file(0, _CONTENT, offset_bytes=60))
    yield "replaced", stream(file(0, _CONTENT[:60]), file(0, _CONTENT))


def _prepare_request() -> preprocessing_service_pb2.PrepareStudyRequest:
    contract = TileContract((Sequence.T1C, Sequence.T2F), 1.0, depth=8, halo=2, stride=4, max_size=8, overlap=0.125)
    files = [
        preprocessing_service_pb2.StoredFile(
            file_index=number,
            media_type=number + 1,
            sequence=number + 1,
            parts=[f"uploads/{UPLOAD_ID}/{number}/0-aa"],
            sha256=bytes(32),
            size_bytes=1000,
        )
        for number in range(2)
    ]
    return preprocessing_service_pb2.PrepareStudyRequest(
        job_id=UPLOAD_ID,
        files=files,
        contract=contract_to_proto(contract),
        series=[job_pb2.SeriesSelection(sequence=study_pb2.SEQUENCE_T1C, series_number=4)],
    )


def _prepared_study() -> Iterator[bytes]:
    volume = normalized_volume((6, 7, 9), channels=2)
    contract = TileContract(volume.sequences, 1.0, depth=3, halo=1, stride=4, max_size=8, overlap=0.125)
    grid = plan_tiles(volume.geometry.shape, contract)
    header = StudyHeader(
        acquired=axial_geometry((5, 6, 7)),
        normalized=volume.geometry,
        sequences=volume.sequences,
        findings=(Finding(FindingCode.THICK_SLICES, "The slices are thick.", Sequence.T1C),),
        grid=grid,
        midline=Midline((1.0, 0.0, 0.0), 3.0),
        t1c_file_index=1,
        series=SERIES,
        brain=pack_brain(volume.brain),
        t1c_forms=NiftiForms(1, 1, (1.0, 1.0, 1.0, 1.0)),
    )
    response = preprocessing_service_pb2.PrepareStudyResponse
    yield response(header=header_to_proto(header)).SerializeToString()
    for index in range(2):
        yield tile_to_proto(crop_tile(volume, grid, index=index)).SerializeToString()


if __name__ == "__main__":
    main()
