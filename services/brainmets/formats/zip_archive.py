"""Owns zip archives: their entries are listed and inflated in memory, within bounds; nothing is ever unpacked to disk.

The directory at the end of the archive counts, as in other programs. Names of entries are not even read: they may say
who the patient is, and nothing depends on them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from isal import igzip_lib, isal_zlib

from brainmets.formats.gzip_stream import MAX_EXPANSION
from brainmets.imaging.errors import BrainmetsError, MalformedFileError, StudyTooLargeError, UnsupportedFormatError

# A long examination has 5,000 images.
MAX_ENTRIES = 20_000
# A volume of the most voxels that are read, 512³, in 16 bits, and its header.
MAX_ENTRY_BYTES = 512 * 1024 * 1024
MAX_TOTAL_BYTES = 4 * 1024 * 1024 * 1024
# Images deflate to a quarter or half, air included. So much is allowed whatever the ratio.
MAX_RATIO = 100
ALWAYS_ALLOWED_BYTES = 64 * 1024 * 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_END = Struct("<I4H2IH")
_END_MAGIC = b"PK\x05\x06"
_END_64_LOCATOR = Struct("<2IQI")
_END_64_LOCATOR_MAGIC = int.from_bytes(b"PK\x06\x07", "little")
_END_64 = Struct("<IQ2H2I4Q")
_END_64_MAGIC = int.from_bytes(b"PK\x06\x06", "little")
_ENTRY = Struct("<I6H3I5H2I")
_ENTRY_MAGIC = int.from_bytes(b"PK\x01\x02", "little")
_LOCAL = Struct("<I5H3I2H")
_LOCAL_MAGIC = int.from_bytes(b"PK\x03\x04", "little")
_EXTRA = Struct("<2H")
_EXTRA_64 = 1
_UNKNOWN_16, _UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF
_LONGEST_COMMENT_BYTES = 65_535


@dataclass(frozen=True, slots=True, eq=False)
class ZipEntry:
    """One file of an archive.

    Attributes:
        stored: Its bytes as the archive holds them.
        size_bytes: How many they are inflated.
        crc: CRC-32 of them inflated.
        deflated: Whether they are deflated.
        file_index: The client's number of the archive, named in errors.
    """

    stored: memoryview
    size_bytes: int
    crc: int
    deflated: bool
    file_index: int

    def read(self) -> memoryview:
        """Return the file, never more than its stated size.

        Raises:
            MalformedFileError: It is not what the archive says of it.
        """
        content = self._inflate() if self.deflated else self.stored
        if len(content) != self.size_bytes or isal_zlib.crc32(content) != self.crc:
            raise _malformed("entries as long as stated, with their CRC-32", got="another", file_index=self.file_index)
        return content

    def _inflate(self) -> memoryview:
        stream = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)
        try:
            # One byte more finds what is too long.
            content = stream.decompress(self.stored, self.size_bytes + 1)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub says that it is an instance
            raise _malformed("deflated entries", got="a damaged one", file_index=self.file_index) from error
        return memoryview(content)


def list_entries(content: bytes | memoryview, *, file_index: int) -> tuple[ZipEntry, ...]:
    """Return an archive's files, not its folders, in the order of its directory; nothing is inflated yet.

    Args:
        content: The whole archive.
        file_index: The client's number of it, named in errors.

    Raises:
        UnsupportedFormatError: It is no zip archive, is split, or has entries encrypted or compressed by other methods.
        MalformedFileError: It contradicts itself.
        StudyTooLargeError: It has more entries, or larger ones, than any examination.
    """
    return _Directory(memoryview(content), file_index).entries()


class _Directory:
    """The list of entries at an archive's end, each judged before anything of its size is allocated."""

    def __init__(self, content: memoryview, file_index: int) -> None:
        self._content = content
        self._file_index = file_index

    def entries(self) -> tuple[ZipEntry, ...]:
        entries: list[ZipEntry] = []
        total_bytes = 0
        allowed_bytes = min(MAX_TOTAL_BYTES, max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * len(self._content)))
        for entry in self._walk():
            total_bytes += entry.size_bytes
            if total_bytes > allowed_bytes:
                raise self._too_large(f"at most {allowed_bytes} bytes inflated", got="more")
            entries.append(entry)
        return tuple(entries)

    def _walk(self) -> Iterator[ZipEntry]:
        count, position, end = self._find()
        if count > MAX_ENTRIES:
            raise self._too_large(f"at most {MAX_ENTRIES} entries", got=f"{count}")
        for _ in range(count):
            magic, *fields = self._unpack(_ENTRY, position, end=end)
            flags, method, crc, stored_bytes, size_bytes = fields[2], fields[3], fields[6], fields[7], fields[8]
            name_bytes, extra_bytes, comment_bytes, offset = fields[9], fields[10], fields[11], fields[15]
            if magic != _ENTRY_MAGIC:
                raise self._malformed("a directory of entries", got="something else within it")
            extra = position + _ENTRY.size + name_bytes
            sizes = self._wide([size_bytes, stored_bytes, offset], extra, extra + extra_bytes)
            position = extra + extra_bytes + comment_bytes
            if sizes[0]:
                yield self._entry(sizes, flags=flags, method=method, crc=crc)

    def _find(self) -> tuple[int, int, int]:
        """Return the number of entries, and where the directory begins and ends."""
        tail = bytes(self._content[-_END.size - _LONGEST_COMMENT_BYTES :])
        found = tail.rfind(_END_MAGIC)
        if found < 0 or len(tail) - found < _END.size or bytes(self._content[:2]) != b"PK":
            raise self._unsupported("a zip archive", got="something else")
        end = len(self._content) - len(tail) + found
        _, disk, first_disk, _, count, size, begin, _ = _END.unpack_from(self._content, end)
        if count == _UNKNOWN_16 or _UNKNOWN_32 in (size, begin):
            count, size, begin = self._find_64(end)
        elif disk or first_disk:
            raise self._unsupported("one archive", got="a part of a split one")
        if begin + size > end:
            raise self._malformed("a directory within the archive", got="one beyond it")
        return count, begin, end

    def _find_64(self, end: int) -> tuple[int, int, int]:
        magic, _, position, _ = self._unpack(_END_64_LOCATOR, end - _END_64_LOCATOR.size, end=end)
        if magic != _END_64_LOCATOR_MAGIC:
            raise self._malformed("a zip64 directory", got="none")
        magic, *_, count, size, begin = self._unpack(_END_64, position, end=end)
        if magic != _END_64_MAGIC:
            raise self._malformed("a zip64 directory", got="none")
        return count, size, begin

    def _wide(self, sizes: list[int], position: int, end: int) -> list[int]:
        """Return size, stored size and offset, those that need 64 bits from the entry's extra field."""
        while _UNKNOWN_32 in sizes:
            kind, length = self._unpack(_EXTRA, position, end=end)
            position += _EXTRA.size
            if kind == _EXTRA_64:
                values = iter(
                    bytes(self._content[position : position + length][i : i + 8]) for i in range(0, length, 8)
                )
                return [int.from_bytes(next(values, b""), "little") if size == _UNKNOWN_32 else size for size in sizes]
            position += length
        return sizes

    def _entry(self, sizes: list[int], *, flags: int, method: int, crc: int) -> ZipEntry:
        size_bytes, stored_bytes, offset = sizes
        if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
            raise self._unsupported("entries stored or deflated", got="encrypted ones, or another compression")
        if size_bytes > MAX_ENTRY_BYTES:
            raise self._too_large(f"entries of at most {MAX_ENTRY_BYTES} bytes", got=f"{size_bytes} bytes")
        if size_bytes > (MAX_EXPANSION * stored_bytes if method == _DEFLATED else stored_bytes):
            raise self._malformed("sizes that compressed bytes can have", got="larger ones")
        magic, *_, name_bytes, extra_bytes = self._unpack(_LOCAL, offset, end=len(self._content))
        begin = offset + _LOCAL.size + name_bytes + extra_bytes
        if magic != _LOCAL_MAGIC or begin + stored_bytes > len(self._content):
            raise self._malformed("entries within the archive", got="one beyond it")
        stored = self._content[begin : begin + stored_bytes]
        return ZipEntry(stored, size_bytes, crc, method == _DEFLATED, self._file_index)

    def _unpack(self, layout: Struct, position: int, *, end: int) -> tuple[int, ...]:
        if position < 0 or position + layout.size > min(end, len(self._content)):
            raise self._malformed("a whole zip archive", got="one that breaks off")
        return layout.unpack_from(self._content, position)

    def _malformed(self, expected: str, *, got: str) -> BrainmetsError:
        return _malformed(expected, got=got, file_index=self._file_index)

    def _unsupported(self, expected: str, *, got: str) -> BrainmetsError:
        return UnsupportedFormatError(
            "The zip archive is not read",
            expected=expected,
            got=got,
            remedy="send a plain zip archive of DICOM files",
            file_index=self._file_index,
        )

    def _too_large(self, expected: str, *, got: str) -> BrainmetsError:
        return StudyTooLargeError(
            "The zip archive is too large",
            expected=expected,
            got=got,
            remedy="send only the series that are to be segmented",
            file_index=self._file_index,
        )


def _malformed(expected: str, *, got: str, file_index: int) -> BrainmetsError:
    return MalformedFileError(
        "The zip archive is not sound",
        expected=expected,
        got=got,
        remedy="send the archive again, or pack it again if it is broken",
        file_index=file_index,
    )
