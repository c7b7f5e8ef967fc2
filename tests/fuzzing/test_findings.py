"""What fuzzing found, each as small as it gets, and what is said of it now."""

import struct

import pytest

from brainmets.formats.codestream import CodestreamError, decode_frame
from brainmets.formats.nifti import read_nifti
from brainmets.formats.study_reader import read_study
from brainmets.formats.zip_archive import list_entries
from brainmets.imaging.errors import InternalError, MalformedFileError, SingularAffineError
from brainmets.imaging.sequence import Sequence
from brainmets.internal.v1 import preprocessing_service_pb2
from brainmets.wire.tiles import header_from_proto, tile_from_proto
from dicom_cases import series_data_sets, small_volume, study_files, write_instance, write_zip
from fuzzing.parts import split_parts
from fuzzing.readers import CODESTREAM_HEAD, STORED_TYPES, SYNTAXES
from fuzzing.targets import CORPUS
from nifti_cases import compressed, count_voxels, nifti_file, with_fields

# Offsets into a JPEG file of OpenCV's: a JFIF segment's version, and the segment after it.
JFIF_VERSION, SECOND_SEGMENT = 11, 20
# NIfTI-2 keeps its affine in 64 bits from here on.
SROW_X = 400


def test_a_handedness_that_is_none_is_refused() -> None:
    """pixdim[0] of 0.5 is neither 1 nor -1, and nibabel has an error of its own for that."""
    left_or_right = (0.5, *[1.0] * 7)
    with pytest.raises(SingularAffineError):
        read_nifti(with_fields(sform_code=0, qform_code=1, pixdim=left_or_right), file_index=0)


def test_coordinates_beyond_any_room_are_refused() -> None:
    """NIfTI-2 can say 1e300 mm, whose square no number holds."""
    whole = nifti_file(version=2)
    with pytest.raises(SingularAffineError):
        read_nifti(whole[:SROW_X] + struct.pack("<d", 1e300) + whole[SROW_X + 8 :], file_index=0)


def test_a_compressed_file_smaller_than_the_longest_header_may_be_too_long() -> None:
    """27 voxels of a byte end before a NIfTI-2 header would."""
    whole = nifti_file(count_voxels((3, 3, 3)).astype("u1"))
    with pytest.raises(MalformedFileError):
        read_nifti(compressed(whole + bytes(300)), file_index=0)


def test_an_extra_field_beyond_the_archive_is_refused() -> None:
    """A name of 65,535 bytes leads to one of as many, from an entry that needs one."""
    content = write_zip([b"bytes"])
    entry = content.index(b"PK\x01\x02")
    wide = content[: entry + 24] + b"\xff" * 8 + content[entry + 32 :]
    with pytest.raises(MalformedFileError):
        list_entries(wide, file_index=0)


def test_rows_in_a_functional_group_change_nothing() -> None:
    """All frames of an instance have the size that the instance states."""
    (data_set,) = series_data_sets(small_volume(), enhanced=True)
    for groups in data_set.PerFrameFunctionalGroupsSequence:
        groups.FrameContentSequence[0].Rows = 11_825
    study = read_study(study_files(write_instance(data_set)))
    assert study.volumes[Sequence.T1C].geometry.shape == (5, 24, 20)


def jpeg() -> bytes:
    """Return a JPEG of 8 bits that is read."""
    content = (CORPUS / "codestream" / "JPEGBaseline").read_bytes()
    decode(content)
    return content


def decode(content: bytes) -> None:
    """Decode an input of the codestream target."""
    syntax, rows, columns, stored = CODESTREAM_HEAD.unpack_from(content)
    stream = content[CODESTREAM_HEAD.size :]
    decode_frame(stream, SYNTAXES[syntax], matrix=(rows, columns), stored_type=STORED_TYPES[stored])


def of_few_bits() -> bytes:
    """Return a lossless JPEG whose values say that they have 2 bits."""
    content = (CORPUS / "codestream" / "JPEGLosslessSV1").read_bytes()
    precision = content.index(b"\xff\xc3") + 4
    return content[:precision] + b"\2" + content[precision + 1 :]


def with_bytes(offset: int, inserted: bytes, *, replaced: int = 0) -> bytes:
    """Return a JPEG with bytes put in, or put in place of others."""
    content, place = jpeg(), CODESTREAM_HEAD.size + offset
    return content[:place] + inserted + content[place + replaced :]


# GDCM ends the process at each of them.
JPEGS = {
    "bytes between segments": with_bytes(SECOND_SEGMENT, b"\0" * 4),
    "a marker that is none between segments": with_bytes(SECOND_SEGMENT, b"\xff\0\0\4ab"),
    "a restart between segments": with_bytes(SECOND_SEGMENT, b"\xff\xd5\0\4ab"),
    "JFIF of another version": with_bytes(JFIF_VERSION, b"\0", replaced=1),
    "values of 2 bits": of_few_bits(),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_gdcm_does_not_survive_is_refused(name: str) -> None:
    """Before GDCM sees it."""
    with pytest.raises(CodestreamError):
        decode(JPEGS[name])


def test_a_lossless_jpeg_without_its_end_never_reaches_gdcm() -> None:
    """It would decode nothing and keep what it had allocated, 0.7 MiB each time."""
    content = (CORPUS / "codestream" / "JPEGLosslessSV1").read_bytes()
    with pytest.raises(CodestreamError, match="breaks off"):
        decode(content[: content.rindex(b"\xff\xd9")])


def prepared() -> tuple[preprocessing_service_pb2.StudyHeader, preprocessing_service_pb2.PreparedTile]:
    """Return the messages of a prepared study."""
    parts = split_parts((CORPUS / "prepared_study" / "tiles").read_bytes())
    header, tile, *_ = (preprocessing_service_pb2.PrepareStudyResponse.FromString(part) for part in parts)
    return header.header, tile.tile


def test_a_tile_that_ends_within_a_voxel_is_refused() -> None:
    """As one that lacks a whole voxel is."""
    header, tile = prepared()
    tile.voxels += b"\0"
    with pytest.raises(InternalError):
        tile_from_proto(tile, header_from_proto(header))


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_tiles_of_no_size_or_an_endless_one_are_refused(size: int) -> None:
    """Before anything of their size is allocated."""
    header, _ = prepared()
    header.tile_shapes[1] = size
    with pytest.raises(InternalError):
        header_from_proto(header)


def test_a_grid_beyond_any_room_is_refused() -> None:
    """No head is a kilometre away."""
    header, _ = prepared()
    header.acquired.affine_lps[3] = 1e300
    with pytest.raises(InternalError):
        header_from_proto(header)
