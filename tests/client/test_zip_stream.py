"""An archive that is made while it is sent."""

import io
import random
import zipfile
from pathlib import Path

import pytest

from brainmets.client.zip_stream import stream_zip, zip_size_bytes

CHUNK_BYTES = 1000


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Files, one of them empty and some longer than a chunk."""
    made = []
    for number, size_bytes in enumerate([0, 1, 999, 1000, 1001, 5000, *range(300, 312)]):
        path = tmp_path / f"file {number}"
        path.write_bytes(random.Random(number).randbytes(size_bytes))  # noqa: S311 -- content, not a secret
        made.append(path)
    return made


def test_every_archiver_reads_it(paths: list[Path]) -> None:
    """The files come out in their order, as they are, under numbers."""
    content = b"".join(stream_zip(paths, chunk_bytes=CHUNK_BYTES))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [str(number) for number in range(len(paths))]
        assert [archive.read(name) for name in archive.namelist()] == [path.read_bytes() for path in paths]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}


def test_its_size_is_known_before(paths: list[Path]) -> None:
    """A bar can be drawn."""
    assert zip_size_bytes(paths) == sum(map(len, stream_zip(paths, chunk_bytes=CHUNK_BYTES)))
    assert zip_size_bytes([]) == sum(map(len, stream_zip([], chunk_bytes=CHUNK_BYTES)))


def test_chunks_are_full_but_for_the_last(paths: list[Path]) -> None:
    """A thousand small files are not a thousand messages."""
    sizes = [len(chunk) for chunk in stream_zip(paths, chunk_bytes=CHUNK_BYTES)]
    assert set(sizes[:-1]) == {CHUNK_BYTES}
    assert 0 < sizes[-1] <= CHUNK_BYTES


def test_the_same_files_are_the_same_bytes(paths: list[Path]) -> None:
    """Also when they were written at another time: the result cache knows a study by its bytes."""
    before = list(stream_zip(paths, chunk_bytes=CHUNK_BYTES))
    for path in paths:
        path.write_bytes(path.read_bytes())
    assert list(stream_zip(paths, chunk_bytes=CHUNK_BYTES)) == before


def test_no_more_is_read_than_is_sent(paths: list[Path]) -> None:
    """The first chunks are there before the last file is looked at."""
    paths[-1].unlink()
    chunks = stream_zip(paths, chunk_bytes=CHUNK_BYTES)
    assert len(next(chunks)) == CHUNK_BYTES
    with pytest.raises(FileNotFoundError):
        list(chunks)
