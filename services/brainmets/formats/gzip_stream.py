"""Owns gzip: what a stream holds is inflated piece by piece, never further than was asked for."""

from isal import igzip, igzip_lib, isal_zlib

MAGIC = b"\x1f\x8b"
# Deflate cannot expand a byte further (RFC 1951: 258 bytes from two bits), so a header that promises more lies.
MAX_EXPANSION = 1032
# zlib's word for "a gzip header and trailer, and the largest window".
_GZIP_WINDOW_BITS = 31
# isal's fastest but one: result files are mostly empty, and a higher level saves them little.
_LEVEL = 1


class GzipStreamError(ValueError):
    """The bytes are not a whole gzip stream."""


class GzipStream:
    """Reads a gzip stream of one or more members, in memory, from its beginning.

    Args:
        content: The whole compressed file.
    """

    def __init__(self, content: bytes | memoryview) -> None:
        self._rest: bytes | memoryview = memoryview(content)
        self._member = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)

    def read(self, size: int) -> bytes:
        """Return the next `size` inflated bytes, fewer only at the stream's end.

        Raises:
            GzipStreamError: The stream is broken off or damaged.
        """
        pieces: list[bytes] = []
        missing = size
        while missing:
            piece = self._inflate(missing)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _inflate(self, most: int) -> bytes:
        while True:
            if self._member.eof:
                self._rest = self._member.unused_data
                if not self._rest:
                    return b""
                self._member = isal_zlib.decompressobj(_GZIP_WINDOW_BITS)
            try:
                piece: bytes = self._member.decompress(self._rest, most)
            except igzip_lib.IsalError as error:  # type: ignore[misc]  # its stub says that it is an instance
                raise GzipStreamError("a damaged gzip stream") from error
            self._rest = self._member.unconsumed_tail
            if piece:
                return piece
            if not self._member.eof and not self._rest:
                raise GzipStreamError("a gzip stream that breaks off")


def write_gzip(content: bytes | memoryview) -> bytes:
    """Return the bytes as a gzip stream; equal bytes give equal streams."""
    stream: bytes = igzip.compress(content, compresslevel=_LEVEL, mtime=0)
    return stream
