"""Owns a DICOM instance: one Part 10 file, recognised, its header read, its pixels found but not touched."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from isal import igzip_lib, isal_zlib

from brainmets.formats.data_set import DataSet, Element, Encoding, find_element, read_data_set
from brainmets.formats.dicom_tags import LAYOUT, MACROS, Tag
from brainmets.imaging.errors import BrainmetsError, MalformedFileError, UnsupportedFormatError
from brainmets.imaging.geometry import MAX_VOXELS

Source = Callable[[], bytes | memoryview]

# PS3.10 7.1: a preamble of any content, then the prefix.
PREAMBLE_BYTES = 128
PREFIX = b"DICM"
# Headers of Enhanced MR with thousands of frames have a few MiB; of a deflated file no more is inflated to find one.
MAX_HEADER_BYTES = 64 * 1024 * 1024
_AFTER_META = 0x00030000
# Groups that a file begins with that has neither preamble nor prefix: a message's data set, stored as it came.
_FIRST_GROUPS = frozenset({b"\x02\x00", b"\x08\x00"})
_LONGEST_FIRST_VALUE = 256
_DIRECTORY = "1.2.840.10008.1.3.10"
_MR_IMAGES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.4",  # MR
        "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR
        "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR
    }
)


class TransferSyntax(StrEnum):
    """How an instance's data set is written (PS3.5 chapter 10); others are not read."""

    IMPLICIT_LITTLE = "1.2.840.10008.1.2"
    EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
    DEFLATED = "1.2.840.10008.1.2.1.99"
    EXPLICIT_BIG = "1.2.840.10008.1.2.2"
    JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
    JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
    JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
    JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
    JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
    JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
    JPEG_2000 = "1.2.840.10008.1.2.4.91"
    RLE_LOSSLESS = "1.2.840.10008.1.2.5"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One DICOM file.

    Attributes:
        file_index: The client's number of the file that it came in.
        header: Its data set, without pixels.
        frames: What is said of each frame: the data set, with the frame's functional groups merged into it.
        transfer_syntax: How pixels are encoded; None when it is none that is read.
        pixels: The pixels' element in the bytes of `load`; None when there is none.
        load: Returns the bytes that the pixels lie in.
    """

    file_index: int
    header: DataSet
    frames: tuple[DataSet, ...]
    transfer_syntax: TransferSyntax | None
    pixels: Element | None
    load: Source

    @property
    def modality(self) -> str:
        """Modality (0008,0060), or MR when the instance's class says so."""
        stated = self.header.text(Tag.MODALITY).upper()
        return stated or ("MR" if self.header.text(Tag.SOP_CLASS_UID) in _MR_IMAGES else "")


def is_dicom(content: bytes | memoryview) -> bool:
    """True when the bytes begin as a DICOM file does, with or without preamble."""
    return _find_start(content) is not None


def read_instance(content: bytes | memoryview, *, load: Source, file_index: int) -> Instance | None:
    """Read a DICOM file's header; None when it is a DICOMDIR, which is a list of files.

    Args:
        content: The whole file; not kept.
        load: Returns it again, when its pixels are wanted.
        file_index: The client's number of the file, named in errors.

    Raises:
        UnsupportedFormatError: It is no DICOM file.
        MalformedFileError: It contradicts itself, breaks off, or belongs to no series.
        DecodingLimitError: It has more elements than any real file.

    References:
        DICOM PS3.10 chapter 7.
    """
    start = _find_start(content)
    if start is None:
        raise _not_dicom(file_index)
    meta_encoding = Encoding(explicit_vr=_is_explicit(content, start))
    meta, body = read_data_set(content, start, stop=_AFTER_META, encoding=meta_encoding, file_index=file_index)
    if meta.text(Tag.MEDIA_STORAGE_SOP_CLASS_UID) == _DIRECTORY:
        return None
    stated = meta.text(Tag.TRANSFER_SYNTAX_UID)
    syntax = next((known for known in TransferSyntax if known == stated), None)
    if syntax is TransferSyntax.DEFLATED:
        return _read_deflated(partial(_inflate, load, body, file_index=file_index), file_index=file_index)
    if not stated:
        # A message's data set, stored as it came, is not compressed.
        syntax = TransferSyntax.IMPLICIT_LITTLE
    return _read_body(content, body, syntax=syntax, load=load, file_index=file_index)


def _read_deflated(inflate: Callable[[int], bytes], *, file_index: int) -> Instance:
    """Read a header at the beginning of a deflated data set; only what its image needs is ever inflated."""
    beginning = inflate(MAX_HEADER_BYTES)
    read = partial(_read_body, beginning, 0, syntax=TransferSyntax.DEFLATED, file_index=file_index)
    header = read(load=lambda: beginning).header
    rows, columns = header.unsigned(Tag.ROWS) or 0, header.unsigned(Tag.COLUMNS) or 0
    frames = header.decimal(Tag.NUMBER_OF_FRAMES) or 1
    most_bytes = MAX_HEADER_BYTES + 2 * int(min(rows * columns * max(frames, 1), MAX_VOXELS))
    return read(load=partial(inflate, most_bytes))


def _read_body(
    content: bytes | memoryview, start: int, *, syntax: TransferSyntax | None, load: Source, file_index: int
) -> Instance:
    # As the first element is written: what a file states of its encoding is wrong at times.
    encoding = Encoding(_is_explicit(content, start), big_endian=syntax is TransferSyntax.EXPLICIT_BIG)
    header, end = read_data_set(content, start, stop=Tag.PIXEL_DATA, encoding=encoding, file_index=file_index)
    if not (header.text(Tag.STUDY_INSTANCE_UID) and header.text(Tag.SERIES_INSTANCE_UID)):
        raise _malformed("StudyInstanceUID and SeriesInstanceUID", got="none", file_index=file_index)
    last = find_element(content, end, encoding=encoding, file_index=file_index)
    pixels = last if last and last.tag == Tag.PIXEL_DATA else None
    frames = tuple(_merge_frames(header, file_index=file_index))
    return Instance(file_index, header, frames, syntax, pixels, load)


def _merge_frames(header: DataSet, *, file_index: int) -> Iterator[DataSet]:
    """Yield what is said of each frame: by itself, else by all frames together, else by the instance.

    References:
        DICOM PS3.3 C.7.6.16, multi-frame functional groups.
    """
    groups = header.sequences.get(Tag.PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, ())
    if not groups:
        yield header
        return
    stated = header.decimal(Tag.NUMBER_OF_FRAMES)
    if stated != len(groups):
        raise _malformed("one functional group for each frame", got=f"{len(groups)}", file_index=file_index)
    common = dict(header.values)
    for group in header.sequences.get(Tag.SHARED_FUNCTIONAL_GROUPS_SEQUENCE, ())[:1]:
        common.update(_flatten(group))
    for group in groups:
        yield DataSet({**common, **_flatten(group)}, header.sequences, header.big_endian)


def _flatten(group: DataSet) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    for tag, items in group.sequences.items():
        if tag in MACROS and items:
            values.update({each: value for each, value in items[0].values.items() if each not in LAYOUT})
    return values


def _find_start(content: bytes | memoryview) -> int | None:
    """Return where the first element begins; None when the bytes are no DICOM file."""
    if content[PREAMBLE_BYTES : PREAMBLE_BYTES + len(PREFIX)] == PREFIX:
        return PREAMBLE_BYTES + len(PREFIX)
    begins = bytes(content[:2]) in _FIRST_GROUPS
    short = int.from_bytes(content[4:8], "little") <= _LONGEST_FIRST_VALUE
    return 0 if begins and (_is_explicit(content, 0) or short) else None


def _is_explicit(content: bytes | memoryview, start: int) -> bool:
    """True when the element that begins there has a value representation, two capital letters."""
    return bytes(content[start + 4 : start + 6]).isupper() and bytes(content[start + 4 : start + 6]).isalpha()


def _inflate(load: Source, start: int, most_bytes: int, *, file_index: int) -> bytes:
    stream = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)
    try:
        content: bytes = stream.decompress(memoryview(load())[start:], most_bytes)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub says that it is an instance
        raise _malformed("a deflated data set", got="a damaged one", file_index=file_index) from error
    return content


def _not_dicom(file_index: int) -> BrainmetsError:
    return UnsupportedFormatError(
        "The file is no DICOM file",
        expected="a DICOM Part 10 file",
        got="other bytes",
        remedy="send the images as the scanner or archive exports them",
        file_index=file_index,
    )


def _malformed(expected: str, *, got: str, file_index: int) -> BrainmetsError:
    return MalformedFileError(
        "The DICOM file is not sound",
        expected=expected,
        got=got,
        remedy="send the file again, or export it again if it is broken",
        file_index=file_index,
    )
