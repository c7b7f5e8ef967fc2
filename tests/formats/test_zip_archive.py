"""Archives are listed and inflated in memory, within bounds, whatever they say of themselves."""

import io
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from brainmets.formats.zip_archive import ALWAYS_ALLOWED_BYTES, MAX_ENTRIES, list_entries
from brainmets.imaging.errors import MalformedFileError, StudyError, StudyTooLargeError, UnsupportedFormatError

MIB = 1024 * 1024
CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def archive(*contents: bytes, compression: int = zipfile.ZIP_DEFLATED, names: tuple[str, ...] = ()) -> bytes:
    """Return an archive of files."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as target:
        for place, content in enumerate(contents):
            target.writestr(names[place] if names else str(place), content)
    return written.getvalue()


def patched(content: bytes, magic: bytes, offset: int, value: bytes) -> bytes:
    """Return an archive with bytes of its first record of a kind replaced."""
    place = content.index(magic) + offset
    return content[:place] + value + content[place + len(value) :]


def read_all(content: bytes) -> list[bytes]:
    """Return an archive's files."""
    return [bytes(entry.read()) for entry in list_entries(content, file_index=7)]


def overlapping(count: int, size_bytes: int) -> bytes:
    """Return a small archive whose entries all are the same deflated zeros."""
    whole = archive(bytes(size_bytes))
    directory = whole.index(CENTRAL)
    entry, end = whole[directory : whole.index(b"PK\x05\x06")], whole[whole.index(b"PK\x05\x06") :]
    counts = struct.pack("<HHI", count, count, count * len(entry))
    return whole[:directory] + entry * count + end[:8] + counts + end[16:]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_back_as_they_went_in(compression: int) -> None:
    """Stored or deflated, in their order; folders and empty files are none."""
    contents = (b"one", b"", b"two" * 1000)
    assert read_all(archive(*contents, compression=compression)) == [b"one", b"two" * 1000]


def test_a_streamed_archive_is_read() -> None:
    """A writer that cannot go back puts sizes behind each file; the directory at the end has them too."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, content: bytes) -> int:  # type: ignore[override]  # of the bytes it is given here
            self.written += content
            return len(content)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as target:
        target.writestr("0", b"slice")
    assert read_all(bytes(pipe.written)) == [b"slice"]


def test_an_archive_of_64_bit_sizes_is_read() -> None:
    """Some programs write them always."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target, target.open("0", "w", force_zip64=True) as file:
        file.write(b"slice")
    content = written.getvalue()
    wide = struct.pack("<HHQQQ", 1, 24, 5, 5, 0)
    place = content.index(CENTRAL)
    entry, end = content[place : content.index(b"PK\x05\x06")], content[content.index(b"PK\x05\x06") :]
    entry = entry[:20] + b"\xff" * 8 + entry[28:30] + struct.pack("<H", len(wide)) + entry[32:42] + b"\xff" * 4
    entry += b"0" + wide
    end_64 = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), place)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + len(entry), 1)
    end = end[:8] + b"\xff" * 12 + end[20:]
    assert read_all(content[:place] + entry + end_64 + locator + end) == [b"slice"]


def test_names_lead_nowhere() -> None:
    """Nothing is ever written, so that a path out of the archive is as good a name as any."""
    content = archive(b"one", b"two", names=("../../etc/passwd", "/root/.ssh/authorized_keys"))
    assert read_all(content) == [b"one", b"two"]


FAULTS = {
    "nothing": (b"", UnsupportedFormatError),
    "no archive": (b"PK" + bytes(1000), UnsupportedFormatError),
    "another format": (bytes(1000), UnsupportedFormatError),
    "broken off": (archive(b"one" * 1000)[:-40], UnsupportedFormatError),
    "beginning missing": (b"PK" + archive(np.random.default_rng(0).bytes(1000))[500:], MalformedFileError),
    "encrypted": (patched(archive(b"one"), CENTRAL, 8, b"\x01\x00"), UnsupportedFormatError),
    "another compression": (archive(b"one" * 99, compression=zipfile.ZIP_LZMA), UnsupportedFormatError),
    "larger than it says": (patched(archive(b"one" * 99), CENTRAL, 24, b"\x05\x00\x00\x00"), MalformedFileError),
    "smaller than it says": (patched(archive(b"one" * 99), CENTRAL, 24, b"\xff\x01\x00\x00"), MalformedFileError),
    "larger than can be": (patched(archive(b"one" * 99), CENTRAL, 24, b"\x00\x00\x00\x10"), MalformedFileError),
    "larger than anything": (patched(archive(b"one" * 99), CENTRAL, 24, b"\xfe\xff\xff\xff"), StudyTooLargeError),
    "another digest": (patched(archive(b"one"), CENTRAL, 16, bytes(4)), MalformedFileError),
    "damaged": (patched(archive(b"one" * 99), LOCAL, 31, b"\xff\xff\xff"), MalformedFileError),
    "an entry beyond the end": (patched(archive(b"one"), CENTRAL, 42, b"\xff\xff\xff\x00"), MalformedFileError),
    "a directory beyond the end": (
        patched(archive(b"one"), b"PK\x05\x06", 16, b"\xff\xff\xff\x00"),
        MalformedFileError,
    ),
    "more entries than there are": (
        patched(archive(b"one"), b"PK\x05\x06", 8, b"\x05\x00\x05\x00"),
        MalformedFileError,
    ),
    "too many entries": (overlapping(MAX_ENTRIES + 1, 1), StudyTooLargeError),
    "a bomb": (archive(bytes(MIB + ALWAYS_ALLOWED_BYTES)), StudyTooLargeError),
    "overlapping entries": (overlapping(10_000, MIB), StudyTooLargeError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_as_what_it_is(fault: str) -> None:
    """The kind and the archive's number; in a second, and in the memory of one entry."""
    content, kind = FAULTS[fault]
    tracemalloc.start()
    begin_s = time.process_time()
    with pytest.raises(StudyError) as caught:
        read_all(content)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert type(caught.value) is kind
    assert caught.value.file_index == 7
    assert time.process_time() - begin_s < 1.0
    assert most_bytes < 16 * MIB


def test_a_bomb_within_the_ratio_is_inflated_entry_by_entry() -> None:
    """What is allowed at all needs the memory of its largest entry, not of all."""
    content = archive(*[bytes(2 * MIB)] * 30)
    assert len(content) < MIB
    tracemalloc.start()
    total_bytes = sum(len(entry.read()) for entry in list_entries(content, file_index=0))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total_bytes == 60 * MIB
    assert most_bytes < 10 * MIB
