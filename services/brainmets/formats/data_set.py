"""Owns a DICOM data set as bytes: a walk over its elements that no nesting, length or count can lead astray.

pydicom reads data sets too, but recurses as deep as a file nests and keeps whatever it meets.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct

from brainmets.formats.dicom_tags import SEQUENCES, VALUES
from brainmets.imaging.errors import BrainmetsError, DecodingLimitError, MalformedFileError

# Of the standard's own objects none nests deeper than 8.
MAX_DEPTH = 16
# 4,000 frames of 60 elements; walked in less than a second.
MAX_ELEMENTS = 250_000
# Of the attributes that are read none may have a longer value.
MAX_VALUE_BYTES = 65_536
UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS_GROUP = 0xFFFE
# Value representations whose length has 32 bits, and the others (PS3.5 table 7.1-1 and 7.1-2).
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
_HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written (PS3.5 annex A)."""

    explicit_vr: bool
    big_endian: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """The elements of `dicom_tags` that a data set holds, as bytes, and what they say.

    An attribute that is absent, empty or not of its kind says nothing: its reading is empty.

    Attributes:
        values: Value of each element, by tag.
        sequences: Items of each sequence, by tag.
        big_endian: Order of the bytes of binary values.
    """

    values: Mapping[int, bytes]
    sequences: Mapping[int, "tuple[DataSet, ...]"]
    big_endian: bool = False

    def texts(self, tag: int) -> tuple[str, ...]:
        """Return the values of a text, without padding."""
        value = self.values.get(tag, b"")
        try:
            text = value.decode()
        except UnicodeDecodeError:
            # The commonest of the others, and it reads any byte; words that matter to the reader are ASCII.
            text = value.decode("latin-1")
        return tuple(part.strip(" \0\t\r\n") for part in text.split("\\")) if text.strip(" \0") else ()

    def text(self, tag: int) -> str:
        """Return the first value of a text."""
        return next(iter(self.texts(tag)), "")

    def decimals(self, tag: int) -> tuple[float, ...]:
        """Return numbers that are written as text (DS, IS), all finite."""
        try:
            numbers = tuple(float(text) for text in self.texts(tag))
        except ValueError:
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def decimal(self, tag: int) -> float | None:
        """Return the first number that is written as text."""
        return next(iter(self.decimals(tag)), None)

    def double(self, tag: int) -> float | None:
        """Return the first binary number of 64 bits (FD), finite."""
        value = self.values.get(tag, b"")
        layout = Struct(">d" if self.big_endian else "<d")
        number: float = layout.unpack_from(value)[0] if len(value) >= layout.size else math.nan
        return number if math.isfinite(number) else None

    def unsigned(self, tag: int) -> int | None:
        """Return the first whole number (US, UL), by the length that it has."""
        value = self.values.get(tag, b"")
        size = 2 if len(value) % 4 else 4
        return int.from_bytes(value[:size], "big" if self.big_endian else "little") if len(value) >= size else None


def read_data_set(
    content: bytes | memoryview, start: int, *, stop: int, encoding: Encoding, file_index: int
) -> tuple[DataSet, int]:
    """Read the elements from a place on, up to the first whose tag is `stop` or beyond.

    Returns:
        What was read, and where it stopped, at the latest the end of the content.

    Raises:
        MalformedFileError: An element breaks off, or sequences nest deeper than any real one.
        DecodingLimitError: There are more elements than in any real file.
    """
    walk = _Walk(content, encoding, file_index)
    return walk.elements(start, len(content), depth=0, explicit=encoding.explicit_vr, stop=stop)


@dataclass(frozen=True, slots=True)
class Element:
    """Where an element's value lies in its file; a length of `UNDEFINED_LENGTH` is found by its items."""

    tag: int
    begin: int
    length: int


def find_element(content: bytes | memoryview, position: int, *, encoding: Encoding, file_index: int) -> Element | None:
    """Return the element whose head begins at a place; None at the end.

    Raises:
        MalformedFileError: Its head breaks off.
    """
    if position + _HEAD_BYTES > len(content):
        return None
    walk = _Walk(content, encoding, file_index)
    tag, length, begin, _ = walk.head(position, len(content), explicit=encoding.explicit_vr)
    return Element(tag, begin, length)


class _Walk:
    """One way over a file's elements; positions and ends are byte offsets into it."""

    def __init__(self, content: bytes | memoryview, encoding: Encoding, file_index: int) -> None:
        self._content = content
        self._big_endian = encoding.big_endian
        self._file_index = file_index
        self._left = MAX_ELEMENTS
        order = ">" if encoding.big_endian else "<"
        self._explicit_head = Struct(f"{order}HH2sH").unpack_from
        self._implicit_head = Struct(f"{order}HHI").unpack_from
        self._length = Struct(f"{order}I").unpack_from

    def elements(
        self, position: int, end: int, *, depth: int, explicit: bool, stop: int | None = None
    ) -> tuple[DataSet, int]:
        """Read elements up to `end`, the end of their item or `stop`, whichever comes first."""
        if depth > MAX_DEPTH:
            raise self._malformed(f"sequences nested at most {MAX_DEPTH} deep", got="deeper ones")
        values: dict[int, bytes] = {}
        sequences: dict[int, tuple[DataSet, ...]] = {}
        while position + _HEAD_BYTES <= end:
            tag, length, begin, implicit_items = self.head(position, end, explicit=explicit)
            if tag == _ITEM_END or (stop is not None and tag >= stop):
                position = begin if stop is None else position
                break
            position = begin
            if length == UNDEFINED_LENGTH or tag in SEQUENCES:
                items_explicit = explicit and not implicit_items
                items, position = self._items(position, end, length, depth=depth, explicit=items_explicit, tag=tag)
                if tag in SEQUENCES:
                    sequences[tag] = items
                continue
            if position + length > end:
                raise self._malformed("elements that end within their file", got="one that breaks off")
            if tag in VALUES:
                values[tag] = self._value(position, length)
            position += length
        return DataSet(values, sequences, self._big_endian), position

    def head(self, position: int, end: int, *, explicit: bool) -> tuple[int, int, int, bool]:
        """Return an element's tag, its length, where its value begins, and whether items in it are implicit."""
        self._left -= 1
        if self._left < 0:
            raise _too_many(self._file_index)
        if explicit:
            group, element, vr, length = self._explicit_head(self._content, position)
            if group != _DELIMITERS_GROUP:
                if vr in _SHORT_VRS:
                    return group << 16 | element, length, position + 8, False
                if vr in _LONG_VRS:
                    if position + 12 > end:
                        raise self._malformed("elements that end within their file", got="one that breaks off")
                    # An unknown one of undefined length holds implicit items, whatever is around it (PS3.5 6.2.2).
                    (length,) = self._length(self._content, position + 8)
                    return group << 16 | element, length, position + 12, vr == b"UN"
        # Delimiters have no representation; nor have elements of writers that slip into the implicit encoding.
        group, element, length = self._implicit_head(self._content, position)
        return group << 16 | element, length, position + 8, True

    def _items(
        self, position: int, end: int, length: int, *, depth: int, explicit: bool, tag: int
    ) -> tuple[tuple[DataSet, ...], int]:
        """Read a sequence's items; of one that nobody wants, only as much as it takes to find its end."""
        bounded = length != UNDEFINED_LENGTH
        if bounded and position + length > end:
            raise self._malformed("sequences that end within their file", got="one that breaks off")
        end = position + length if bounded else end
        items: list[DataSet] = []
        while position + _HEAD_BYTES <= end:
            item_tag, item_length, position, _ = self.head(position, end, explicit=False)
            if item_tag == _SEQUENCE_END:
                return tuple(items), position
            if item_tag != _ITEM or (item_length != UNDEFINED_LENGTH and position + item_length > end):
                raise self._malformed("a sequence of items", got="something else within it")
            if item_length == UNDEFINED_LENGTH:
                item, position = self.elements(position, end, depth=depth + 1, explicit=explicit)
                items.append(item)
                continue
            if tag in SEQUENCES:
                items.append(self.elements(position, position + item_length, depth=depth + 1, explicit=explicit)[0])
            position += item_length
        if not bounded:
            raise self._malformed("sequences that end within their file", got="one that breaks off")
        return tuple(items), end

    def _value(self, position: int, length: int) -> bytes:
        if length > MAX_VALUE_BYTES:
            raise self._malformed(f"a value of at most {MAX_VALUE_BYTES} bytes", got=f"{length} bytes")
        return bytes(self._content[position : position + length])

    def _malformed(self, expected: str, *, got: str) -> BrainmetsError:
        return MalformedFileError(
            "The DICOM file's elements are not sound",
            expected=expected,
            got=got,
            remedy="send the file again, or export it again if it is broken",
            file_index=self._file_index,
        )


def _too_many(file_index: int) -> BrainmetsError:
    return DecodingLimitError(
        "The DICOM file has too many elements",
        expected=f"at most {MAX_ELEMENTS}",
        got="more",
        remedy="export the series as single images",
        file_index=file_index,
    )
