"""Compressed frames are decoded exactly, and only where they are what they say."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from brainmets.formats.codestream import CodestreamError, decode_frame
from brainmets.formats.dicom_instance import TransferSyntax
from brainmets.formats.study_reader import read_study
from brainmets.imaging.sequence import Sequence
from dicom_cases import series_data_sets, small_volume, study_files, write_instance, write_series
from dicom_faults import DAMAGES

COMPRESSED = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
INT16 = np.dtype("<i2")


def packed(*runs: bytes) -> bytes:
    """Return an RLE frame of one segment of 16 bits for each of two runs of PackBits."""
    high, low = runs
    offsets = [2, 64, 64 + len(high), *[0] * 13]
    return np.array(offsets, "<u4").tobytes() + high + low


def test_runs_and_literals_unpack_as_the_standard_says() -> None:
    """So many literal bytes less one; a run of 257 less its control byte; 128 is nothing."""
    frame = packed(b"\xfd\x01\x80", b"\x03\x0a\x0b\x0c\x0d")
    decoded = decode_frame(frame, TransferSyntax.RLE_LOSSLESS, matrix=(2, 2), stored_type=INT16)
    np.testing.assert_array_equal(decoded, [[0x010A, 0x010B], [0x010C, 0x010D]])


@pytest.mark.parametrize("frame", [b"", packed(b"\xfd\x01", b"\x03\x0a"), packed(b"\xf0\x01", b"\xfd\x01")])
def test_runs_of_another_length_are_refused(frame: bytes) -> None:
    """Neither a frame that breaks off nor one that goes on becomes an image."""
    with pytest.raises(CodestreamError):
        decode_frame(frame, TransferSyntax.RLE_LOSSLESS, matrix=(2, 2), stored_type=INT16)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 12])
def test_unsigned_values_of_few_bits_come_back(bits: int, syntax: str) -> None:
    """Scanners store 12 bits in 16, and 8 bits in 8."""
    # Every value that there is, some of them wrapped around; noise would not fit GDCM's encoder.
    values = (np.arange(5 * 64 * 64) * 2**bits // 64**2 % 2**bits).reshape(5, 64, 64) // 2
    values[2:] += 2 ** (bits - 1)
    data_sets = series_data_sets(small_volume((5, 64, 64)))
    for data_set, frame in zip(data_sets, values, strict=True):
        allocated = 8 if bits == 8 else 16
        data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit = allocated, bits, bits - 1
        data_set.PixelRepresentation = 0
        data_set.PixelData = frame.astype(f"<u{allocated // 8}").tobytes()
    study = read_study(study_files(*(write_instance(data_set, syntax) for data_set in data_sets)))
    np.testing.assert_array_equal(study.volumes[Sequence.T1C].voxels, values)


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda syntax: syntax.keyword)
def test_frames_of_several_fragments_are_joined(syntax: str) -> None:
    """By the table of their offsets."""
    (content,) = write_series(small_volume(), enhanced=True, transfer_syntax=syntax)
    place = content.rindex(b"\xe0\x7f\x10\x00OB") + 12
    frames = list(generate_frames(content[place:], number_of_frames=5))
    joined = content[:place] + encapsulate(frames, fragments_per_frame=2) + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    study = read_study(study_files(joined))
    np.testing.assert_array_equal(study.volumes[Sequence.T1C].voxels, small_volume().voxels)


@pytest.mark.parametrize("change", [lambda stream: b"\xff\x4f" + stream[2:], lambda stream: stream[:30]])
@pytest.mark.parametrize("syntax", [TransferSyntax.JPEG_LS_LOSSLESS, TransferSyntax.JPEG_LOSSLESS_SV1])
def test_a_stream_of_another_kind_is_refused(syntax: TransferSyntax, change: Callable[[bytes], bytes]) -> None:
    """Before anything decodes it."""
    (content, *_) = write_series(small_volume(), transfer_syntax=JPEGLSLossless)
    (stream,) = generate_frames(content[content.rindex(b"\xe0\x7f\x10\x00OB") + 12 :], number_of_frames=1)
    with pytest.raises(CodestreamError):
        decode_frame(change(stream), syntax, matrix=(24, 20), stored_type=INT16)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_lossy_stream_that_is_damaged_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """And a sound one is not; libjpeg's words are shown to nobody."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    sound = cv2.imencode(".jpg", image)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(sound, np.uint8), cv2.IMREAD_UNCHANGED)

    def decode(stream: bytes) -> NDArray[Any]:  # Any: as in decode_frame
        return decode_frame(stream, TransferSyntax.JPEG_BASELINE, matrix=(64, 64), stored_type=np.dtype("u1"))

    np.testing.assert_allclose(decode(sound), expected, atol=2)  # two decoders may round differently
    with pytest.raises(CodestreamError, match="damaged"):
        decode(DAMAGES[name](sound))
    assert capfd.readouterr().err == ""
