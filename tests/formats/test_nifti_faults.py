"""Each fault of a file is told as what it is, names the file, and costs neither time nor memory."""

import math
import resource
import time
import tracemalloc

import numpy as np
import pytest

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.errors import (
    EmptyVolumeError,
    InvalidIntensityError,
    InvalidSpacingError,
    MalformedFileError,
    SingularAffineError,
    StudyError,
    StudyTooLargeError,
    TooFewSlicesError,
    UnsupportedDimensionsError,
    UnsupportedFormatError,
)
from nifti_cases import compressed, count_voxels, edited, nifti_file, with_entry, with_fields

NAN, INFINITY = math.nan, math.inf
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
FLAT = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
MIB = 1024 * 1024


def flat_affine() -> bytes:
    """Return a file whose axes lie in a plane, each of a sound length."""

    def change(header: object) -> None:
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = FLAT[row]  # type: ignore[index]  # nibabel's headers are indexed by field

    return edited(change)


def with_voxel(value: float) -> bytes:
    """Return a float32 file with one voxel of a value."""
    voxels = count_voxels(dtype=np.float32)
    voxels[2, 2, 2] = value
    return nifti_file(voxels)


def of_shape(*shape: int) -> bytes:
    """Return a file of a shape."""
    return nifti_file(count_voxels(shape))


def claims(*sizes: int) -> bytes:
    """Return a small file that claims to be of other sizes."""
    return with_fields(dim=(len(sizes), *sizes, *[1] * (7 - len(sizes))))


FAULTS = {
    "nothing": (b"", MalformedFileError),
    "gzip of nothing": (compressed(b""), MalformedFileError),
    "another format": (b"PK\x03\x04" + bytes(1000), UnsupportedFormatError),
    "text": (b"no head at all " * 100, UnsupportedFormatError),
    "header broken off": (nifti_file()[:200], MalformedFileError),
    "wrong magic": (with_fields(magic=b"n+3"), MalformedFileError),
    "header and voxels apart": (with_fields(magic=b"ni1"), UnsupportedFormatError),
    "voxels broken off": (nifti_file()[:-1], MalformedFileError),
    "more voxels than stated": (nifti_file() + b"\x00", MalformedFileError),
    "gzip broken off": (compressed(nifti_file())[:-20], MalformedFileError),
    "gzip broken off in its header": (compressed(nifti_file())[:6], MalformedFileError),
    "gzip without its digest": (compressed(nifti_file())[:-1], MalformedFileError),
    "gzip of a file broken off": (compressed(nifti_file()[:-1]), MalformedFileError),
    "gzip of a file too long": (compressed(nifti_file() + b"\x00"), MalformedFileError),
    "no axes": (with_entry("dim", 0, 0), MalformedFileError),
    "too many axes": (with_entry("dim", 0, 8), MalformedFileError),
    "negative size": (with_entry("dim", 1, -6), MalformedFileError),
    "no slice": (claims(6, 5, 0), TooFewSlicesError),
    "one slice": (of_shape(6, 5, 1), TooFewSlicesError),
    "two slices": (of_shape(6, 5, 2), TooFewSlicesError),
    "two axes": (of_shape(6, 5), TooFewSlicesError),
    "four dimensions": (of_shape(4, 4, 4, 2), UnsupportedDimensionsError),
    "vectors": (of_shape(4, 4, 4, 1, 3), UnsupportedDimensionsError),
    "colours": (nifti_file(np.zeros((4, 4, 4), dtype=RGB)), UnsupportedDimensionsError),
    "complex numbers": (nifti_file(count_voxels(dtype=np.complex64)), UnsupportedFormatError),
    "unknown datatype": (with_fields(datatype=5), UnsupportedFormatError),
    "datatype and size disagree": (with_fields(bitpix=8), MalformedFileError),
    "100 GB": (claims(4000, 4000, 3200), StudyTooLargeError),
    "more voxels than 64 bits count": (claims(32767, 32767, 32767), StudyTooLargeError),
    "voxels inside the header": (with_fields(vox_offset=0), MalformedFileError),
    "voxels nowhere": (with_fields(vox_offset=NAN), MalformedFileError),
    "voxels far away": (with_fields(vox_offset=1e12), MalformedFileError),
    "spacing of zero": (with_entry("pixdim", 3, 0.0), InvalidSpacingError),
    "spacing not a number": (with_entry("pixdim", 2, NAN), InvalidSpacingError),
    "spacing infinite": (with_entry("pixdim", 1, INFINITY), InvalidSpacingError),
    "spacing huge": (nifti_file(affine_ras=np.diag([1.0, 1.0, 50.0, 1.0])), InvalidSpacingError),
    "spacing told twice": (with_entry("pixdim", 3, 1.02), InvalidSpacingError),
    "spacing of before an affine registration": (with_fields(srow_x=(1.08, 0.05, 0.02, 0.0)), InvalidSpacingError),
    "spacing in metres": (nifti_file(affine_ras=np.diag([0.001, 0.001, 0.001, 1.0])), InvalidSpacingError),
    "a room": (nifti_file(count_voxels((61, 5, 4)), np.diag([10.0, 1.0, 1.0, 1.0])), InvalidSpacingError),
    "affine singular": (flat_affine(), SingularAffineError),
    "affine of zeros": (with_fields(srow_x=0.0, srow_y=0.0, srow_z=0.0), SingularAffineError),
    "affine not a number": (with_entry("srow_x", 3, NAN), SingularAffineError),
    "placed by nothing": (with_fields(sform_code=0, qform_code=0), SingularAffineError),
    "mirrored": (with_fields(qform_code=1, pixdim=(-1.0, *[1.0] * 7)), SingularAffineError),
    "quaternion none": (with_fields(sform_code=0, qform_code=1, quatern_b=2.0), SingularAffineError),
    "slope infinite": (with_fields(scl_slope=INFINITY), InvalidIntensityError),
    "intercept not a number": (with_fields(scl_slope=1.0, scl_inter=NAN), InvalidIntensityError),
    "scaled beyond float32": (with_fields(scl_slope=3e38), InvalidIntensityError),
    "voxel not a number": (with_voxel(NAN), InvalidIntensityError),
    "voxel infinite": (with_voxel(-INFINITY), InvalidIntensityError),
    "all voxels zero": (nifti_file(np.zeros((6, 5, 4), dtype=np.int16)), EmptyVolumeError),
    "all voxels not a number": (nifti_file(np.full((6, 5, 4), NAN, dtype=np.float32)), InvalidIntensityError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_as_what_it_is(fault: str) -> None:
    """The kind, the file's number, what was expected and what came."""
    content, kind = FAULTS[fault]
    with pytest.raises(StudyError) as caught:
        read_nifti(content, file_index=7)
    assert type(caught.value) is kind
    assert caught.value.file_index == 7
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", compressed(b"")], ids=["nothing", "gzip of nothing"])
def test_an_empty_file_is_called_empty(content: bytes) -> None:
    """Such as a copy that was begun on a full disk; its format is not at fault."""
    with pytest.raises(MalformedFileError, match=r"The file is empty .*got 0 bytes"):
        read_nifti(content, file_index=7)


def test_one_voxel_of_every_value_is_a_volume() -> None:
    """The files above fail by their fault, not by being small."""
    assert read_nifti(nifti_file(), file_index=7).voxels.shape == (4, 5, 6)


def test_a_header_that_lies_costs_no_memory() -> None:
    """A hundred gigabytes are refused by their number alone."""
    content = compressed(claims(4000, 4000, 3200))
    tracemalloc.start()
    with pytest.raises(StudyTooLargeError):
        read_nifti(content, file_index=0)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < MIB


def test_a_stream_too_short_for_its_header_is_not_inflated() -> None:
    """What no stream of this length can hold is refused before it is read."""
    content = compressed(claims(512, 512, 400))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MalformedFileError, match="compressed"):
        read_nifti(content, file_index=0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


def test_a_bomb_is_not_inflated() -> None:
    """A gigabyte of zeros behind a small header is not looked at."""
    content = compressed(nifti_file() + bytes(200 * MIB))
    started_s = time.process_time()
    with pytest.raises(MalformedFileError):
        read_nifti(content, file_index=0)
    assert time.process_time() - started_s < 1.0


def test_the_largest_empty_volume_is_refused_within_two_seconds() -> None:
    """Also a file that keeps every rule but shows nothing is answered in time."""
    size = 512**3
    beginning = with_fields(dim=(3, 512, 512, 512, 1, 1, 1, 1), datatype=2, bitpix=8)[:352]
    content = compressed(beginning + bytes(size))
    started_s = time.process_time()
    with pytest.raises(EmptyVolumeError):
        read_nifti(content, file_index=0)
    assert time.process_time() - started_s < 2.0
