"""Owns the memory that the service shares with its decoders: it has no name, and is gone with its last user."""

import fcntl
import mmap
import os
import weakref
from types import TracebackType
from typing import Self


class StudyBytes:
    """A study's files, one after the other, as they were sent; a decoder maps them instead of receiving them.

    Use it in one thread: whoever writes after `close` might write into another study's memory.

    Args:
        size_bytes: Of all files together.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.descriptor = os.memfd_create("study")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def write(self, content: bytes, *, offset_bytes: int) -> None:
        """Copy a piece of a file to its place."""
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self.descriptor, rest, offset_bytes)
            rest, offset_bytes = rest[written:], offset_bytes + written


class Arena:
    """Where a decoder puts volumes; the service reads them there and copies nothing.

    The kernel takes a tenth of a second to clear new memory for a study, so an arena is used again. That must wait
    until nobody views what lies in it: `is_viewed` knows, however long an array lives and whoever holds it.

    Args:
        size_bytes: Most it can hold; untouched memory costs nothing.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.kept_bytes = 0
        self.descriptor = os.memfd_create("volumes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size_bytes)
        # Were it cut short by the decoder, reading it would kill the service (SIGBUS).
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._views: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    @property
    def is_viewed(self) -> bool:
        """Whether an array on its memory is still alive."""
        return len(self._views) > 0

    def view(self, size_bytes: int) -> mmap.mmap:
        """Return its beginning, read-only; arrays on it keep it alive."""
        view = mmap.mmap(self.descriptor, size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
        self._views.add(view)
        self.kept_bytes = max(self.kept_bytes, size_bytes)
        return view

    def read(self, size_bytes: int, *, offset_bytes: int) -> bytes:
        """Return a copy of a piece."""
        return os.pread(self.descriptor, size_bytes, offset_bytes)

    def close(self) -> None:
        """Let go of it; what is viewed lives on until it is not."""
        os.close(self.descriptor)
