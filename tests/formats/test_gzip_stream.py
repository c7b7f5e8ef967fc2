"""Streams are read piece by piece, whole or not at all."""

import gzip
import random

import pytest

from brainmets.formats.gzip_stream import GzipStream, GzipStreamError, write_gzip

CONTENT = random.Random(0).randbytes(100_000)  # noqa: S311 -- voxels, no secret


def test_pieces_joined_are_the_content() -> None:
    """Reading on goes on where the last piece ended."""
    stream = GzipStream(gzip.compress(CONTENT))
    assert stream.read(544) + stream.read(1_000_000) == CONTENT


def test_nothing_is_inflated_beyond_what_was_asked() -> None:
    """A bomb costs as much as one asks of it."""
    stream = GzipStream(gzip.compress(bytes(100_000_000), 9))
    assert len(stream.read(1000)) == 1000


def test_members_follow_each_other() -> None:
    """A file that was compressed in blocks is one file."""
    stream = GzipStream(gzip.compress(CONTENT[:5000]) + gzip.compress(CONTENT[5000:]))
    assert stream.read(len(CONTENT) + 1) == CONTENT


@pytest.mark.parametrize("kept", [5, 30, 60_000, -1])
def test_a_stream_that_breaks_off_is_refused(kept: int) -> None:
    """Also when only its last byte, a part of its digest, is missing."""
    with pytest.raises(GzipStreamError):
        GzipStream(gzip.compress(CONTENT)[:kept]).read(len(CONTENT) + 1)


def test_a_damaged_stream_is_refused() -> None:
    """A byte that changed on the way is found by the stream's own digest."""
    damaged = bytearray(gzip.compress(CONTENT))
    damaged[50_000] ^= 1
    with pytest.raises(GzipStreamError):
        GzipStream(bytes(damaged)).read(len(CONTENT) + 1)


def test_what_is_written_is_read_by_others() -> None:
    """Python's own gzip reads it."""
    assert gzip.decompress(write_gzip(CONTENT)) == CONTENT


def test_equal_bytes_give_equal_streams() -> None:
    """No clock and no name is written."""
    assert write_gzip(CONTENT) == write_gzip(CONTENT)
