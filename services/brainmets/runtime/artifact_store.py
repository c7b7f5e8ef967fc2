"""Owns the artefact store: studies as sent and results as written, as files behind one URL."""

import asyncio
import errno
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from brainmets.imaging.errors import BrainmetsError, DataLossError, DependencyUnavailableError

# Largest piece `stream` yields: what one message of the published contract carries.
STREAM_CHUNK_BYTES = 1024 * 1024
# A cloud's store that takes a file and does not say so in this time is not there. A process that is told to stop gives
# calls 20 s and then waits for their uploads so long; Kubernetes kills it after 60 s.
PUT_TIMEOUT_S = 20.0
# How long the library asks such a store again, which it would for three minutes. It waits 30 s for one answer.
RETRY_TIMEOUT_S = 15.0
# Identifiers and fixed names only. A dot cannot begin a segment, so there is no "..".
_PATH = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")


class ArtifactStore:
    """Files by path, below one URL.

    A file appears whole or not at all. A prefix is a folder, or one exact path.
    Every method may raise DependencyUnavailableError, after which it may be repeated.
    """

    def __init__(self, store: ObjectStore, root: Path | None) -> None:
        self._store = store
        self._root = root

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the store at a URL: file:///folder (made when missing), s3://, gs:// or az://bucket/prefix.

        A cloud's store takes its credentials from the environment, under the names that the cloud's own tools have.

        Raises:
            DependencyUnavailableError: The folder cannot be made, the URL is of no kind of store, or what the
                environment says of its credentials cannot be used.
        """
        if not url.startswith("file://"):
            return cls(_open_cloud(url), None)
        with _store_errors():
            root = Path(unquote(urlsplit(url).path))
            return cls(LocalStore(root, automatic_cleanup=True, mkdir=True), root)

    async def put(self, path: str, data: bytes | bytearray | memoryview) -> None:
        """Write a file; once this returns it survives a loss of power.

        Two writers of one path do not mix: the file is wholly one's or the other's.
        """
        with _store_errors():
            # Multipart would split the file into parallel writes and more system calls; a part is some MiB.
            async with asyncio.timeout(PUT_TIMEOUT_S if self._root is None else None):
                await obstore.put_async(self._store, _checked(path), data, use_multipart=False)
            await self._sync(path)

    async def copy(self, source: str, target: str) -> None:
        """Copy a file inside the store, as durably as `put`.

        Raises:
            DataLossError: There is no file at `source`.
        """
        with _store_errors():
            await obstore.copy_async(self._store, _checked(source), _checked(target))
            await self._sync(target)

    async def _sync(self, path: str) -> None:
        # Object storage is durable when it answers; a file system is after fsync of file and folders.
        if self._root is not None:
            await asyncio.to_thread(_sync_file, self._root, path)

    async def read(self, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            DataLossError: There is no file at `path`.
        """
        with _store_errors():
            answer = await obstore.get_async(self._store, _checked(path))
            return bytes(await answer.bytes_async())

    async def size(self, path: str) -> int:
        """Return a file's size, bytes.

        Raises:
            DataLossError: There is no file at `path`.
        """
        with _store_errors():
            return (await obstore.head_async(self._store, _checked(path)))["size"]

    async def stream(self, path: str, *, offset_bytes: int, length_bytes: int) -> AsyncIterator[bytes]:
        """Yield `length_bytes` of a file from `offset_bytes` on, in pieces of at most 1 MiB.

        Raises:
            DataLossError: There is no file at `path`, or it ends before.
        """
        if length_bytes == 0:
            return
        stop = offset_bytes + length_bytes
        with _store_errors():
            if await self.size(path) < stop:
                raise _lost("a file that ends early")
            answer = await obstore.get_async(self._store, path, options={"range": (offset_bytes, stop)})
        pieces = aiter(answer.stream(min_chunk_size=STREAM_CHUNK_BYTES))
        while True:
            with _store_errors():
                piece = await anext(pieces, None)
            if piece is None:
                return
            view = memoryview(piece)
            for start in range(0, len(view), STREAM_CHUNK_BYTES):
                yield bytes(view[start : start + STREAM_CHUNK_BYTES])

    async def list_paths(self, prefix: str) -> tuple[str, ...]:
        """Return the paths of all files below a prefix, sorted."""
        with _store_errors():
            pages = [page async for page in obstore.list(self._store, _checked(prefix))]
        return tuple(sorted(entry["path"] for page in pages for entry in page))

    async def list_folders(self, prefix: str) -> tuple[str, ...]:
        """Return the folders right below a prefix, sorted, without looking into them."""
        with _store_errors():
            listed = await obstore.list_with_delimiter_async(self._store, _checked(prefix))
        return tuple(sorted(f"{folder}/" for folder in listed["common_prefixes"]))

    async def delete_prefix(self, prefix: str) -> None:
        """Erase every file below a prefix, and the file at exactly that path; erasing nothing is no error."""
        paths = list(await self.list_paths(prefix))
        if not prefix.endswith("/"):
            paths.append(prefix)
        for path in paths:
            with _store_errors():
                try:
                    await obstore.delete_async(self._store, path)
                except FileNotFoundError:  # another process erases the same prefix
                    continue
        if self._root is not None:
            with _store_errors():
                await asyncio.to_thread(_remove_unlisted, self._root / prefix, folder=prefix.endswith("/"))


def _open_cloud(url: str) -> ObjectStore:
    try:
        return from_url(url, retry_config={"retry_timeout": timedelta(seconds=RETRY_TIMEOUT_S)})
    except (BaseError, OSError) as error:
        # Neither the URL nor the library's words: both may hold what is nobody's to read.
        raise DependencyUnavailableError(
            "The artefact store cannot be opened",
            expected="file:///folder, or s3://, gs:// or az://bucket/prefix with credentials in the environment",
            got="a URL or credentials that cannot be used",
            remedy="see BRAINMETS_ARTIFACT_URL and the cloud's variables (docs/operations.md, object storage)",
        ) from error


def _checked(path: str) -> str:
    if not _PATH.fullmatch(path):
        message = f"Not a path of the artefact store: {path!r}"
        raise ValueError(message)
    return path


def _remove_unlisted(target: Path, *, folder: bool) -> None:
    """Remove what a writer that was killed left behind: "name#1" beside the file, which no listing shows."""
    if folder:
        shutil.rmtree(target, onerror=_note_erasing)
        return
    for staged in target.parent.glob(f"{target.name}#*"):
        staged.unlink(missing_ok=True)


def _note_erasing(_call: object, _path: object, caught: tuple[object, BaseException, object]) -> None:
    error = caught[1]
    # Another process erases the same folder, or still writes to it: an erasure is repeated until nobody can.
    if not (isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and error.errno == errno.ENOTEMPTY)):
        raise error


def _sync_file(root: Path, path: str) -> None:
    file = root / path
    for entry in (file, *file.parents):
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if entry == root:
            return


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except BrainmetsError:
        raise
    except FileNotFoundError as error:
        raise _lost("no file") from error
    except (BaseError, OSError) as error:
        raise DependencyUnavailableError(
            "The artefact store is not available",
            expected="a store that can be read and written",
            got=type(error).__name__,
            remedy="retry; if it lasts, tell the operator",
        ) from error


def _lost(got: str) -> DataLossError:
    return DataLossError(
        "A stored file is missing or incomplete",
        expected="the file as it was written",
        got=got,
        remedy="upload again",
    )
