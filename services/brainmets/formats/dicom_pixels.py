"""Owns the pixels of DICOM instances: what is read of them, and how they become intensities."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.codestream import COMPRESSED, CodestreamError, decode_frame
from brainmets.formats.data_set import UNDEFINED_LENGTH, DataSet, Element
from brainmets.formats.dicom_instance import Instance, TransferSyntax
from brainmets.formats.dicom_tags import Tag
from brainmets.imaging.errors import BrainmetsError, EmptyVolumeError, InvalidIntensityError, MalformedFileError
from brainmets.imaging.volume import VoxelMemory, new_voxels

_MONOCHROME = "MONOCHROME2"
_ALLOCATED_BITS = (8, 16)
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_FRAGMENT = Struct("<HHI")
_LONG_HEAD_BYTES, _SHORT_HEAD_BYTES = 12, 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of an instance, by its number from 0."""

    instance: Instance
    number: int

    @property
    def header(self) -> DataSet:
        """What is said of it."""
        return self.instance.frames[self.number]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an instance's pixels lie (PS3.3 C.7.6.3), and which stored value is no image, as 16 bits without sign."""

    matrix: tuple[int, int]
    frames: int
    stored_type: np.dtype[Any]  # Any: integers of 8 or 16 bits
    stored_bits: int
    padding: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame that is not compressed."""
        return self.matrix[0] * self.matrix[1] * self.stored_type.itemsize


def find_pixel_fault(frame: Frame) -> str:
    """Return why a frame's pixels are not read, in a few words without patient data; empty when they are."""
    header, syntax = frame.header, frame.instance.transfer_syntax
    allocated, stored = header.unsigned(Tag.BITS_ALLOCATED), header.unsigned(Tag.BITS_STORED)
    checks = {
        "no pixels": frame.instance.pixels is not None,
        "several frames without a place for each": len(frame.instance.frames)
        == (header.decimal(Tag.NUMBER_OF_FRAMES) or 1),
        "a compression that is not read": syntax is not None,
        "colours": header.unsigned(Tag.SAMPLES_PER_PIXEL) == 1,
        "a photometric interpretation other than MONOCHROME2": header.text(Tag.PHOTOMETRIC_INTERPRETATION)
        == _MONOCHROME,
        "pixels of neither 8 nor 16 bits": allocated in _ALLOCATED_BITS
        and not (allocated == _ALLOCATED_BITS[0] and syntax is TransferSyntax.EXPLICIT_BIG),
        "an unknown arrangement of bits": stored is not None
        and 1 <= stored <= (allocated or 0)
        and header.unsigned(Tag.HIGH_BIT) in {stored - 1, None}
        and header.unsigned(Tag.PIXEL_REPRESENTATION) in {0, 1},
        "a rescale slope or intercept that is no finite number": _scale(header) is not None,
    }
    return next((fault for fault, passed in checks.items() if not passed), "")


def decode_frames(
    frames: tuple[Frame, ...], *, matrix: tuple[int, int], memory: VoxelMemory = new_voxels
) -> NDArray[np.float32]:
    """Return the intensities (D, H, W) of frames in the given order.

    Args:
        frames: At least one.
        matrix: Their rows and columns.
        memory: Where the intensities are put.

    Raises:
        MalformedFileError: Pixels are fewer or more than stated, or damaged.
        InvalidIntensityError: Intensities are beyond float32.
        EmptyVolumeError: All of them are equal.
    """
    voxels = memory((len(frames), *matrix))
    padded: dict[int, NDArray[np.bool_]] = {}
    places: dict[Instance, list[int]] = {}
    for place, frame in enumerate(frames):
        places.setdefault(frame.instance, []).append(place)
    for instance, its_places in places.items():
        layout, read = _open(instance)
        for place in its_places:
            stored = _sign(read(frames[place].number), layout)
            if layout.padding is not None:
                padded[place] = stored == np.uint16(layout.padding).astype(stored.dtype)
            slope, intercept = _scale(frames[place].header) or (1.0, 0.0)
            voxels[place] = stored
            if (slope, intercept) != (1.0, 0.0):
                with np.errstate(over="ignore", invalid="ignore"):
                    voxels[place] = voxels[place] * np.float32(slope) + np.float32(intercept)
    if padded:
        _fill(voxels, padded)
    _check_intensities(voxels, file_index=min(frame.instance.file_index for frame in frames))
    return voxels


def pixel_bytes(instance: Instance) -> memoryview:
    """Return an instance's pixels as they are stored, whatever their encoding, to compare them."""
    begin = 0 if instance.pixels is None else instance.pixels.begin
    return memoryview(instance.load())[begin:]


def _layout(header: DataSet, *, big_endian: bool, frames: int) -> _Layout:
    signed, allocated = header.unsigned(Tag.PIXEL_REPRESENTATION), header.unsigned(Tag.BITS_ALLOCATED) or 16
    stored_type = np.dtype(f"{'>' if big_endian else '<'}{'i' if signed else 'u'}{allocated // 8}")
    matrix = (header.unsigned(Tag.ROWS) or 0, header.unsigned(Tag.COLUMNS) or 0)
    padding = header.unsigned(Tag.PIXEL_PADDING_VALUE)
    stored_bits = header.unsigned(Tag.BITS_STORED) or allocated
    return _Layout(matrix, frames, stored_type, stored_bits, None if padding is None else padding & 0xFFFF)


def _open(instance: Instance) -> tuple[_Layout, Callable[[int], NDArray[Any]]]:  # Any: as in _Layout
    """Return how an instance's pixels lie, and what reads a frame's stored values (rows, columns)."""
    big_endian = instance.transfer_syntax is TransferSyntax.EXPLICIT_BIG
    layout = _layout(instance.header, big_endian=big_endian, frames=len(instance.frames))
    content = memoryview(instance.load())
    read = _read_compressed if instance.transfer_syntax in COMPRESSED else _read_plain
    return layout, read(content, instance, layout)


def _read_plain(content: memoryview, instance: Instance, layout: _Layout) -> Callable[[int], NDArray[Any]]:
    element, whole_bytes = _pixels(instance), layout.frames * layout.frame_bytes
    # Values have even lengths (PS3.5 7.1.1), which some writers forget.
    if element.length not in {whole_bytes, whole_bytes + whole_bytes % 2} or element.begin + whole_bytes > len(content):
        got = "fewer" if element.begin + whole_bytes > len(content) else f"{element.length} stated"
        raise _malformed(f"{whole_bytes} bytes of pixels", got=got, instance=instance)

    def read(number: int) -> NDArray[Any]:  # Any: as in _Layout
        begin = element.begin + number * layout.frame_bytes
        count = layout.matrix[0] * layout.matrix[1]
        return np.frombuffer(content, layout.stored_type, count, begin).reshape(layout.matrix)

    return read


def _read_compressed(content: memoryview, instance: Instance, layout: _Layout) -> Callable[[int], NDArray[Any]]:
    syntax = instance.transfer_syntax or TransferSyntax.RLE_LOSSLESS
    streams = _list_streams(content, instance, frames=layout.frames)

    def read(number: int) -> NDArray[Any]:  # Any: as in _Layout
        try:
            return decode_frame(streams[number], syntax, matrix=layout.matrix, stored_type=layout.stored_type)
        except CodestreamError as error:
            raise _malformed("frames compressed as stated", got=str(error), instance=instance) from error

    return read


def _list_streams(content: memoryview, instance: Instance, *, frames: int) -> tuple[bytes, ...]:
    """Return each frame's compressed bytes: a fragment each, or those from its offset on.

    References:
        DICOM PS3.5 annex A.4.
    """
    table, *fragments = _list_fragments(content, instance)
    if len(fragments) == frames:
        return tuple(bytes(content[begin : begin + length]) for begin, length in fragments)
    offsets = np.frombuffer(content, "<u4", table[1] // 4, table[0]).tolist() if frames > 1 else [0]
    starts = {begin - _FRAGMENT.size - (table[0] + table[1]): place for place, (begin, _) in enumerate(fragments)}
    if len(offsets) != frames or not fragments or not all(offset in starts for offset in offsets):
        raise _malformed(f"{frames} compressed frames", got=f"{len(fragments)} fragments", instance=instance)
    ends = pairwise([*(starts[offset] for offset in offsets), len(fragments)])
    return tuple(b"".join(content[begin : begin + length] for begin, length in fragments[a:b]) for a, b in ends)


def _list_fragments(content: memoryview, instance: Instance) -> list[tuple[int, int]]:
    """Return where each item of compressed pixels begins and its length; the first is the table of offsets."""
    element = _pixels(instance)
    position = element.begin
    items: list[tuple[int, int]] = []
    while element.length == UNDEFINED_LENGTH and position + _FRAGMENT.size <= len(content):
        group, number, length = _FRAGMENT.unpack_from(content, position)
        tag, position = group << 16 | number, position + _FRAGMENT.size
        if tag == _SEQUENCE_END and items:
            return items
        if tag != _ITEM or position + length > len(content):
            break
        items.append((position, length))
        position += length
    raise _malformed(
        "pixels compressed in fragments", got="something else, or pixels that break off", instance=instance
    )


def _pixels(instance: Instance) -> Element:
    if instance.pixels is None:
        raise _malformed("pixels", got="none", instance=instance)
    return instance.pixels


def _sign(stored: NDArray[Any], layout: _Layout) -> NDArray[Any]:  # Any: as in _Layout
    """Return stored values without what old files keep in the bits beside them, with the sign that the rest has."""
    beside = 8 * stored.dtype.itemsize - layout.stored_bits
    return stored if beside <= 0 else (stored << beside) >> beside


def _scale(header: DataSet) -> tuple[float, float] | None:
    """Return slope and intercept; None when they are no finite numbers, or the slope is 0."""
    slope, intercept = (
        header.decimal(tag) if header.texts(tag) else default
        for tag, default in ((Tag.RESCALE_SLOPE, 1.0), (Tag.RESCALE_INTERCEPT, 0.0))
    )
    return None if slope is None or intercept is None or slope == 0.0 else (slope, intercept)


def _fill(voxels: NDArray[np.float32], padded: dict[int, NDArray[np.bool_]]) -> None:
    """Make what is no image (PS3.3 C.7.5.1.1.2) as dark as the darkest voxel, or 0 as what was not acquired is."""
    real = np.ones(voxels.shape, dtype=np.bool_)
    for place, mask in padded.items():
        real[place] = ~mask
    voxels[~real] = voxels.min(initial=0.0, where=real)


def _check_intensities(voxels: NDArray[np.float32], *, file_index: int) -> None:
    # NaN passes through both.
    lowest, highest = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise InvalidIntensityError(
            "A voxel's intensity is not usable",
            expected="finite intensities that float32 can hold",
            got="infinity or a number too large",
            remedy="export the series again, with the rescale slope that it was acquired with",
            file_index=file_index,
        )
    if lowest == highest:
        raise EmptyVolumeError(
            "The volume is empty",
            expected="a head",
            got=f"{lowest:g} in every voxel",
            remedy="export the series again",
            file_index=file_index,
        )


def _malformed(expected: str, *, got: str, instance: Instance) -> BrainmetsError:
    return MalformedFileError(
        "The pixels are not whole",
        expected=expected,
        got=got,
        remedy="send the file again, or export it again if it is broken",
        file_index=instance.file_index,
    )
