"""Owns compressed frames: only what its own head shows to be an image of the stated size is decoded.

GDCM ends the process when a stream is larger or smaller than it was told. So the head of every stream is read here
first; and RLE, which has none, is decoded here. Behind the head, damage is found where a codec fails at it or complains
of it. No format has a checksum: many a flipped bit of a JPEG, and most of JPEG 2000, give another image without a sign.
"""

import struct
from dataclasses import dataclass
from struct import Struct
from typing import Any

import gdcm  # type: ignore[import-untyped]  # published without types
import numpy as np
from numpy.typing import NDArray

from brainmets.formats.codec_complaints import hear_complaints
from brainmets.formats.dicom_instance import TransferSyntax

_JPEG_SYNTAXES = {
    TransferSyntax.JPEG_BASELINE: gdcm.TransferSyntax.JPEGBaselineProcess1,
    TransferSyntax.JPEG_LOSSLESS: gdcm.TransferSyntax.JPEGLosslessProcess14,
    TransferSyntax.JPEG_LOSSLESS_SV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    TransferSyntax.JPEG_LS_LOSSLESS: gdcm.TransferSyntax.JPEGLSLossless,
    TransferSyntax.JPEG_LS_NEAR_LOSSLESS: gdcm.TransferSyntax.JPEGLSNearLossless,
}
_JPEG_2000_SYNTAXES = {
    TransferSyntax.JPEG_2000_LOSSLESS: gdcm.TransferSyntax.JPEG2000Lossless,
    TransferSyntax.JPEG_2000: gdcm.TransferSyntax.JPEG2000,
}
_SYNTAXES = _JPEG_SYNTAXES | _JPEG_2000_SYNTAXES
COMPRESSED = frozenset({*_SYNTAXES, TransferSyntax.RLE_LOSSLESS})

# A marker of JPEG and the length of its segment; a frame header's precision, rows, columns, components
# (ISO/IEC 10918-1 annex B, ISO/IEC 14495-1 annex C).
_JPEG_SEGMENT = Struct(">BBH")
_JPEG_FRAME = Struct(">BHHB")
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_FILL = 0xFF
_JPEG_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
# Markers before an image that begin a segment: not those that stand alone.
_JPEG_SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xFF)})
# A length counts itself.
_JPEG_LEAST_LENGTH = 2
# The segment of a JFIF file (ISO/IEC 10918-5), of which there is version 1 only.
_JFIF, _JFIF_NAME, _JFIF_1 = 0xE0, b"JFIF\0", b"JFIF\0\1"
# JPEG 2000's first two markers, and its size segment: extents, offsets, tiles, components, depth
# (ISO/IEC 15444-1 annex A).
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JPEG_2000_SIZE = Struct(">HH8IHB")
# GDCM ends the process where a byte holds a value of fewer bits.
_LEAST_PRECISION = 8
_RLE_HEADER = Struct("<16I")
# A control byte below it is followed by so many literal bytes and one; one above, by a byte to repeat.
_NOTHING = 128

# Its warnings would go to standard error.
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()


class CodestreamError(ValueError):
    """The compressed frame is not the image that its header states."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What a codestream says of itself."""

    rows: int
    columns: int
    precision: int
    components: int


def decode_frame(
    content: bytes, syntax: TransferSyntax, *, matrix: tuple[int, int], stored_type: np.dtype[Any]
) -> NDArray[Any]:
    """Return one frame's stored values (rows, columns), 8 or 16 bits wide, whichever the stream holds.

    Args:
        content: The compressed frame.
        syntax: How it is compressed, one of `COMPRESSED`.
        matrix: Rows, columns.
        stored_type: Type of the stored values, little endian.

    Raises:
        CodestreamError: It is damaged, or no single image of that size.
    """
    if syntax is TransferSyntax.RLE_LOSSLESS:
        return _decode_rle(content, matrix, stored_type)
    try:
        head = _read_jpeg_2000(content) if syntax in _JPEG_2000_SYNTAXES else _read_jpeg(content)
    except struct.error as error:
        raise CodestreamError("a stream that breaks off") from error
    if (
        (head.rows, head.columns) != matrix
        or head.components != 1
        or not _LEAST_PRECISION <= head.precision <= 8 * stored_type.itemsize
    ):
        raise CodestreamError("an image of another size")
    container = np.dtype(f"<{stored_type.kind}{-(-head.precision // 8)}")
    decoded = _decode_gdcm(content, syntax, head=head, container=container)
    if len(decoded) != matrix[0] * matrix[1] * container.itemsize:
        raise CodestreamError("a damaged stream")
    return np.frombuffer(decoded, container).reshape(matrix)


def _read_jpeg(content: bytes) -> _Head:
    """Read the frame header, and see that nothing but whole segments leads to the image, which GDCM insists on."""
    if content[:2] != _JPEG_START:
        raise CodestreamError("no JPEG stream")
    position = 2
    heads: list[_Head] = []
    while True:
        fill, marker, length = _JPEG_SEGMENT.unpack_from(content, position)
        begin = position + _JPEG_SEGMENT.size
        if fill != _JPEG_FILL or marker not in _JPEG_SEGMENTS or length < _JPEG_LEAST_LENGTH:
            raise CodestreamError("something else between segments")
        if marker == _JFIF and content.startswith(_JFIF_NAME, begin) and not content.startswith(_JFIF_1, begin):
            raise CodestreamError("JFIF of an unknown version")
        if marker == _JPEG_SCAN:
            # It is no value of the image; without it GDCM loses the memory of what it has decoded.
            if content.find(_JPEG_END, begin) < 0:
                raise CodestreamError("a stream that breaks off")
            break
        if marker in _JPEG_FRAME_MARKERS:
            precision, rows, columns, components = _JPEG_FRAME.unpack_from(content, begin)
            heads.append(_Head(rows, columns, precision, components))
        position += 2 + length
    if len(heads) != 1:
        raise CodestreamError("none or several frame headers")
    return heads[0]


def _read_jpeg_2000(content: bytes) -> _Head:
    if content[:4] != _JPEG_2000_START:
        raise CodestreamError("no JPEG 2000 stream")
    _, _, right, bottom, left, top, *_, components, depth = _JPEG_2000_SIZE.unpack_from(content, 4)
    # The highest bit says whether values have a sign; the others are their depth, less one.
    return _Head(bottom - top, right - left, (depth & 0x7F) + 1, components)


def _decode_gdcm(content: bytes, syntax: TransferSyntax, *, head: _Head, container: np.dtype[Any]) -> bytes:
    # Every object is kept in a variable: GDCM counts references, and ends the process when it finds none left.
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(content)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((head.columns, head.rows, 1))
    image.SetDataElement(element)
    monochrome = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    image.SetTransferSyntax(gdcm.TransferSyntax(_SYNTAXES[syntax]))
    bits, signed = 8 * container.itemsize, int(container.kind == "i")
    image.SetPixelFormat(gdcm.PixelFormat(1, bits, head.precision, head.precision - 1, signed))
    decoded: str | None
    decoded, complains = hear_complaints(image.GetBuffer)
    # SWIG hands bytes out as a text, escaping what is none.
    return b"" if decoded is None or complains else decoded.encode("utf-8", "surrogateescape")


def _decode_rle(content: bytes, matrix: tuple[int, int], stored_type: np.dtype[Any]) -> NDArray[Any]:
    """Decode one frame of PackBits segments, one for each byte of the stored values, the highest first.

    References:
        DICOM PS3.5 annex G.
    """
    if len(content) < _RLE_HEADER.size:
        raise CodestreamError("a stream that breaks off")
    count, *offsets = _RLE_HEADER.unpack_from(content)
    if count != stored_type.itemsize:
        raise CodestreamError("an image of another depth")
    frame = np.empty((matrix[0] * matrix[1], count), np.uint8)
    ends = [*offsets[1:count], len(content)]
    for segment, (begin, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        frame[:, count - 1 - segment] = np.frombuffer(_unpack_bits(content[begin:end], len(frame)), np.uint8)
    return frame.view(stored_type).reshape(matrix)


def _unpack_bits(packed: bytes, size: int) -> bytearray:
    unpacked = bytearray()
    position = 0
    while len(unpacked) < size and position < len(packed):
        control = packed[position]
        if control < _NOTHING:
            unpacked += packed[position + 1 : position + control + 2]
            position += control + 2
        elif control > _NOTHING:
            unpacked += packed[position + 1 : position + 2] * (257 - control)
            position += 2
        else:
            position += 1
    # Beyond the image lies nothing but padding.
    if len(unpacked) != size or packed[position:].strip(b"\x00\x80"):
        raise CodestreamError("runs that are too long or too short")
    return unpacked
