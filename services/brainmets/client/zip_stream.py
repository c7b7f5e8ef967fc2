"""A zip archive that is made while it is sent: it is never whole, on disk or in memory."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Sizes of an archive's records without names, bytes: APPNOTE.TXT 4.3.7, 4.3.9, 4.3.12 and 4.3.16.
_LOCAL_HEADER_BYTES = 30
_DATA_DESCRIPTOR_BYTES = 16
_DIRECTORY_ENTRY_BYTES = 46
_DIRECTORY_END_BYTES = 22


class _Outlet:
    """What an archive is written into, and its bytes are taken out of."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, content: bytes) -> int:
        self._waiting += content
        return len(content)

    def flush(self) -> None:
        """Do nothing: the archive's writer asks for it."""

    def take(self, count: int) -> bytes:
        taken = bytes(self._waiting[:count])
        del self._waiting[:count]
        return taken

    def __len__(self) -> int:
        return len(self._waiting)


def stream_zip(paths: Sequence[Path], *, chunk_bytes: int) -> Iterator[bytes]:
    """Yield an archive of files in chunks of `chunk_bytes`, the last one shorter.

    The files are stored as they are, and named "0", "1" and so on: a file's own name may name a patient. The same files
    make the same bytes, whenever they are sent.
    """
    outlet = _Outlet()
    # Typed for files; what it needs of one is what an outlet has.
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for number, path in enumerate(paths):
            entry = zipfile.ZipInfo(str(number))
            # Known beforehand, for an entry beyond 2 GiB needs another header.
            entry.file_size = path.stat().st_size
            with path.open("rb") as stream, archive.open(entry, "w") as target:
                while content := stream.read(chunk_bytes):
                    target.write(content)
                    while len(outlet) >= chunk_bytes:
                        yield outlet.take(chunk_bytes)
    while len(outlet):
        yield outlet.take(chunk_bytes)


def zip_size_bytes(paths: Sequence[Path]) -> int:
    """Return the size of `stream_zip`'s archive; it is exact below 65,536 files and 2 GiB."""
    records_bytes = _LOCAL_HEADER_BYTES + _DATA_DESCRIPTOR_BYTES + _DIRECTORY_ENTRY_BYTES
    return _DIRECTORY_END_BYTES + sum(
        records_bytes + 2 * len(str(number)) + path.stat().st_size for number, path in enumerate(paths)
    )
