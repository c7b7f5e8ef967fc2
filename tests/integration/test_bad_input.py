"""Bad input answers the right status with details within two seconds, and the service goes on."""

import gzip
import hashlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from brainmets.client import ServiceError, StudyFile
from brainmets.v1 import segmentation_service_pb2 as messages
from brainmets.v1 import segmentation_service_pb2_grpc, study_pb2
from integration.running_stack import RunningStack
from nifti_cases import compressed, nifti_file, with_entry, with_fields
from preparation_bench import head_voxels, nifti_bytes

LONGEST_S = 30.0
# The contract takes no larger one.
CHUNK_BYTES = 1024 * 1024
INVALID = grpc.StatusCode.INVALID_ARGUMENT
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def with_nan() -> bytes:
    """Return a head with one voxel that is no number."""
    voxels = head_voxels()
    voxels[20, 20, 20] = math.nan
    return nifti_bytes(voxels)


BAD_FILES = {
    "truncated gzip": (compressed(nifti_file())[:-20], "MALFORMED_FILE"),
    "wrong magic": (with_fields(magic=b"n+3"), "MALFORMED_FILE"),
    "no NIfTI": (b"no head at all " * 100, "UNSUPPORTED_FORMAT"),
    "spacing zero": (with_entry("pixdim", 3, 0.0), "INVALID_SPACING"),
    "spacing no number": (with_entry("pixdim", 2, math.nan), "INVALID_SPACING"),
    "spacing huge": (nifti_file(affine_ras=np.diag([1.0, 1.0, 50.0, 1.0])), "INVALID_SPACING"),
    "affine singular": (with_fields(srow_x=0.0, srow_y=0.0, srow_z=0.0), "SINGULAR_AFFINE"),
    "slope infinite": (with_fields(scl_slope=math.inf), "INVALID_INTENSITY"),
    "voxel no number": (with_nan(), "INVALID_INTENSITY"),
    "two slices": (nifti_file(np.ones((6, 5, 2), dtype=np.int16)), "TOO_FEW_SLICES"),
    "four dimensions": (nifti_file(np.ones((4, 4, 4, 2), dtype=np.int16)), "UNSUPPORTED_DIMENSIONS"),
    "colours": (nifti_file(np.zeros((4, 4, 4), dtype=RGB)), "UNSUPPORTED_DIMENSIONS"),
    "100 GB": (with_fields(dim=(3, 4000, 4000, 3200, 1, 1, 1, 1)), "STUDY_TOO_LARGE"),
    "all zero": (nifti_bytes(np.zeros((64, 60, 48), dtype=np.float32)), "EMPTY_VOLUME"),
}


@pytest.fixture
def segmentation(stack: RunningStack) -> Iterator[segmentation_service_pb2_grpc.SegmentationServiceStub]:
    """The published service, as any client calls it."""
    with grpc.insecure_channel(stack.place.api_address) as channel:
        yield segmentation_service_pb2_grpc.SegmentationServiceStub(channel)


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_file_is_named_with_what_is_wrong(stack: RunningStack, tmp_path: Path, fault: str) -> None:
    """INVALID_ARGUMENT, the reason, the file's number, what was expected and what came."""
    content, reason = BAD_FILES[fault]
    study = tmp_path / "study-t1c.nii"
    study.write_bytes(content)
    began_s = time.monotonic()
    with stack.client() as client, pytest.raises(ServiceError) as caught:
        client.segment(study)
    assert time.monotonic() - began_s < LONGEST_S
    assert (caught.value.code, caught.value.reason) == (INVALID, reason)
    assert caught.value.metadata["file_index"] == "0"
    assert {"expected", "got", "remedy"} <= caught.value.metadata.keys()


def test_sequences_of_different_places_are_refused(stack: RunningStack, tmp_path: Path) -> None:
    """They would be laid over each other."""
    files = []
    for sequence, shift_mm in (("t1c", 0.0), ("t2w", 500.0)):
        path = tmp_path / f"study-{sequence}.nii.gz"
        path.write_bytes(nifti_bytes(head_voxels(), shift_mm=shift_mm))
        files.append(StudyFile(path, sequence))
    with stack.client() as client, pytest.raises(ServiceError) as caught:
        client.segment(files)
    assert caught.value.reason == "SEQUENCES_DO_NOT_OVERLAP"


def test_a_study_without_t1c_is_refused(stack: RunningStack, head: Path) -> None:
    """It is the one sequence every study needs."""
    with stack.client() as client, pytest.raises(ServiceError) as caught:
        client.segment([StudyFile(head, "t2w")])
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MISSING_T1C")


def test_a_wrong_sha256_is_data_loss(
    stack: RunningStack, segmentation: segmentation_service_pb2_grpc.SegmentationServiceStub, head: Path
) -> None:
    """Bytes that changed on the way are never segmented."""
    upload_id = segmentation.CreateUpload(messages.CreateUploadRequest()).upload.upload_id
    with pytest.raises(grpc.RpcError) as caught:
        segmentation.WriteUpload(_upload(upload_id, head.read_bytes(), sha256=hashlib.sha256(b"other").digest()))
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS
    stack.check_alive()


def test_an_upload_cut_in_the_middle_cannot_be_submitted(
    segmentation: segmentation_service_pb2_grpc.SegmentationServiceStub, head: Path
) -> None:
    """Half a file is no study."""
    upload_id = segmentation.CreateUpload(messages.CreateUploadRequest()).upload.upload_id
    half = head.read_bytes()[: head.stat().st_size // 2]
    segmentation.WriteUpload(_upload(upload_id, half, sha256=None))
    with pytest.raises(grpc.RpcError) as caught:
        segmentation.SubmitStudy(messages.SubmitStudyRequest(upload_id=upload_id))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_an_unknown_job_is_not_found(stack: RunningStack) -> None:
    """Whatever its name looks like."""
    with stack.client() as client, pytest.raises(ServiceError) as caught:
        client.job("0" * 32)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_JOB")


def test_the_service_goes_on(stack: RunningStack, tmp_path: Path) -> None:
    """After a bad study a sound one is segmented."""
    bad, sound = tmp_path / "bad-t1c.nii.gz", tmp_path / "sound-t1c.nii.gz"
    bad.write_bytes(gzip.compress(b"no head"))
    sound.write_bytes(nifti_bytes(head_voxels(seed=11)))
    with stack.client() as client:
        with pytest.raises(ServiceError):
            client.segment(bad)
        assert client.segment(sound).job.state == "succeeded"
    stack.check_alive()


def _upload(upload_id: str, content: bytes, *, sha256: bytes | None) -> Iterator[messages.WriteUploadRequest]:
    """Iterate over an upload of one file, which stays open without a sha256."""
    yield messages.WriteUploadRequest(upload_id=upload_id)
    header = study_pb2.FileHeader(media_type=study_pb2.MEDIA_TYPE_NIFTI, sequence=study_pb2.SEQUENCE_T1C)
    yield messages.WriteUploadRequest(file_header=header)
    for begin in range(0, len(content), CHUNK_BYTES):
        yield messages.WriteUploadRequest(chunk=content[begin : begin + CHUNK_BYTES])
    if sha256 is not None:
        yield messages.WriteUploadRequest(file_end=study_pb2.FileEnd(sha256=sha256))
