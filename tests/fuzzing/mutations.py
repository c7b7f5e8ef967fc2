"""Owns how inputs are changed: bytes anyhow, and formats by what they are made of, so that changes get past heads.

A mutation takes bytes, the largest size of its result, a source of chance and `basic`, which changes bytes anyhow: the
fuzzer's own, which knows what was compared lately, or one that needs nothing but chance (`change_bytes`).
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from brainmets.formats.dicom_instance import TransferSyntax
from brainmets.formats.dicom_tags import Tag
from fuzzing.parts import join_parts, split_parts

Basic = Callable[[bytes, int], bytes]
Mutation = Callable[[bytes, int, Random, Basic], bytes]

_NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-7, 0.2, 10.0, 1e4, 3e38, float("inf"), float("nan"))
_LAYOUTS = ("<B", "<H", ">H", "<I", ">I")
_GZIP = b"\x1f\x8b"
# Enough for every seed; bombs are not inflated here.
_MOST_INFLATED_BYTES = 256 * 1024
# Where NIfTI-1 keeps what is read: sizes, datatype, codes; spacing, offset, scale, quaternion and affine.
_NIFTI_FIELDS = (
    *((offset, "<h") for offset in (*range(40, 56, 2), 70, 72, 252, 254)),
    *((offset, "<f") for offset in (*range(76, 120, 4), *range(256, 328, 4))),
)
# The head of an element that tells its representation, at any depth; that other bytes look like one does no harm.
_ELEMENT = re.compile(
    rb"(?s).{4}(?:(?:OB|OW|SQ|UN|UT|UC)\x00\x00.{4}"
    rb"|(?:AE|AS|AT|CS|DA|DS|DT|FD|FL|IS|LO|LT|PN|SH|SL|SS|ST|TM|UI|UL|US).{2})"
)
_LONG_HEAD_BYTES = 12
_DICOM_VALUES = (
    *(b"", b"0 ", b"1 ", b"-1", b"1e38", b"1e-9", b"nan ", b"inf ", b"1_0 ", b"2147483647", b"9" * 40, b"\xff\xfe"),
    *(b"1\\1 ", b"0\\0\\0 ", b"1e300\\0\\0 ", b"1\\0\\0\\0\\1\\0 ", b"0\\0\\0\\0\\0\\0 ", b"\\\\", b"YES ", b"NO"),
    *(b"ORIGINAL\\PRIMARY\\M ", b"DERIVED\\SECONDARY ", b"20240230", b"MONOCHROME1 ", b"SE\\IR ", b"GR", b"CT"),
    *(syntax.value.encode() for syntax in TransferSyntax),
    *(struct.pack("<H", number) for number in _NUMBERS if number < 2**16),
    *(struct.pack("<d", number) for number in _FLOATS),
)
_MARKERS = (b"\xff\xd8", b"\xff\xc3", b"\xff\xc4", b"\xff\xda", b"\xff\xd9", b"\xff\xf7", b"\xff\xf8", b"\xff\x4f")
_MARKER = re.compile(rb"\xff[^\x00\xff]")


def change_bytes(rng: Random) -> Basic:
    """Return what changes bytes by chance alone: turns, overwrites, takes out, puts in, repeats."""

    def change(content: bytes, most_bytes: int) -> bytes:
        for _ in range(rng.choice((1, 1, 2, 4))):
            content = _change_once(content, rng)
        return content[:most_bytes]

    return change


def _change_once(content: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(content) + 1)
    end = min(len(content), begin + rng.choice((1, 1, 2, 4, 16, 64)))
    before, touched, after = content[:begin], content[begin:end], content[end:]
    match rng.randrange(6):
        case 0:
            return before + bytes(byte ^ 1 << rng.randrange(8) for byte in touched) + after
        case 1:
            return before + after
        case 2:
            return before + touched + touched + after
        case 3:
            return before + rng.randbytes(rng.randrange(1, 9)) + content[begin:]
        case 4:
            return content[:begin]
        case _:
            number = interesting_number(rng)
            return before + number + content[begin + len(number) :]


def interesting_number(rng: Random) -> bytes:
    """Return a number at the edge of something, in one of the ways that formats write numbers."""
    layout = rng.choice(_LAYOUTS)
    return struct.pack(layout, rng.choice(_NUMBERS) % 256 ** struct.calcsize(layout))


def change_anyhow(content: bytes, most_bytes: int, _: Random, basic: Basic) -> bytes:
    """Change bytes that have no form worth knowing."""
    return basic(content, most_bytes)


def change_gzip(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change what a gzip stream holds, or its own bytes."""
    inflated = _inflate(content, wbits=31) if content[:2] == _GZIP and rng.random() < 0.5 else None
    if inflated is None:
        return basic(content, most_bytes)
    return _deflate(basic(inflated, _MOST_INFLATED_BYTES), wbits=31, rng=rng)


def change_nifti(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change a field of a NIfTI file's header, or anything of it, inside its gzip stream if it has one."""
    inflated = _inflate(content, wbits=31) if content[:2] == _GZIP and rng.random() < 0.7 else None
    if inflated is not None:
        return _deflate(change_nifti(inflated, _MOST_INFLATED_BYTES, rng, basic), wbits=31, rng=rng)
    if rng.random() < 0.4:
        return basic(content, most_bytes)
    offset, layout = rng.choice(_NIFTI_FIELDS)
    number = struct.pack(layout, _number_for(layout, rng))
    return (content[:offset] + number + content[offset + len(number) :])[:most_bytes]


def _number_for(layout: str, rng: Random) -> float:
    if layout == "<f":
        return rng.choice((*_FLOATS, rng.gauss(0, 2), rng.gauss(0, 1e3)))
    return rng.choice((-1, 0, 1, 3, 4, 5, 6, 7, 64, 512, 768, 1024, 1280, 32767, -32768, rng.randrange(64)))


def change_dicom(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change an element of a DICOM file, its value with the length of it, or anything of the file."""
    elements = list(_ELEMENT.finditer(content))
    if not elements or rng.random() < 0.2:
        return basic(content, most_bytes)
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = _change_element(content, list(_ELEMENT.finditer(content)), rng, basic)
    return content[:most_bytes]


def _change_element(content: bytes, elements: list[re.Match[bytes]], rng: Random, basic: Basic) -> bytes:
    if not elements:
        return content
    chosen = rng.choice(elements)
    begin, value = chosen.span()
    length = _element_length(chosen[0])
    end = value + length if value + length <= len(content) else value
    match rng.randrange(7):
        case 0:
            return content[:begin] + content[end:]
        case 1:
            place = rng.choice(elements).start()
            return content[:place] + content[begin:end] + content[place:]
        case 2:
            tag = rng.choice(list(Tag))
            return content[:begin] + struct.pack("<HH", tag >> 16, tag & 0xFFFF) + content[begin + 4 :]
        case 3:
            return content[:begin] + _with_length(chosen[0], rng.choice(_NUMBERS)) + content[value:]
        case 4:
            changed = basic(content[value:end] or b"0", 4096)
        case _:
            changed = rng.choice(_DICOM_VALUES)
    return content[:begin] + _with_length(chosen[0], len(changed)) + changed + content[end:]


def _element_length(head: bytes) -> int:
    return int.from_bytes(head[8:12] if len(head) == _LONG_HEAD_BYTES else head[6:8], "little")


def _with_length(head: bytes, length: int) -> bytes:
    if len(head) == _LONG_HEAD_BYTES:
        return head[:8] + struct.pack("<I", length)
    return head[:6] + struct.pack("<H", length % 2**16)


def change_zip(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change a file of a zip archive, which is packed anew, or the archive's own bytes."""
    files = _unpack(content) if rng.random() < 0.5 else None
    if not files:
        return basic(content, most_bytes)
    files = change_parts(files, rng, lambda file: change_dicom(file, _MOST_INFLATED_BYTES, rng, basic))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}", file)
    return packed.getvalue() if packed.tell() <= most_bytes else content


def _unpack(content: bytes) -> list[bytes] | None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _MOST_INFLATED_BYTES:
                return None
            return [archive.read(entry) for entry in entries]
    except Exception:  # noqa: BLE001 -- any: it is a fuzzed archive, and Python's reader is not the one under test
        return None


def change_parts(parts: list[bytes], rng: Random, change: Callable[[bytes], bytes]) -> list[bytes]:
    """Change one part, or take it out, repeat it or move it."""
    place = rng.randrange(len(parts))
    other = rng.randrange(len(parts))
    match rng.randrange(10):
        case 0:
            return parts[:place] + parts[place + 1 :]
        case 1:
            return [*parts[:other], parts[place], *parts[other:]]
        case 2:
            parts[place], parts[other] = parts[other], parts[place]
            return parts
        case _:
            return [*parts[:place], change(parts[place]), *parts[place + 1 :]]


def change_study(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change a file of a study (see `readers.read_any_study`) by its format, or what it is announced as."""
    parts = split_parts(content)
    if not parts or rng.random() < 0.1:
        return basic(content, most_bytes)

    def change(part: bytes) -> bytes:
        announced, file = part[:1] or b"\0", part[1:]
        if rng.random() < 0.1:
            return rng.randbytes(1) + file
        mutation = (change_nifti, change_dicom, change_zip)[announced[0] % 3]
        return announced + mutation(file, most_bytes, rng, basic)

    return join_parts(change_parts(parts, rng, change))[:most_bytes]


def change_codestream(content: bytes, most_bytes: int, rng: Random, basic: Basic) -> bytes:
    """Change what follows a marker of a compressed frame, or anything of it."""
    markers = list(_MARKER.finditer(content))
    if not markers or rng.random() < 0.5:
        return basic(content, most_bytes)
    place = rng.choice(markers).start()
    match rng.randrange(3):
        case 0:
            begin = place + rng.randrange(2, 24)
            number = interesting_number(rng)
            return (content[:begin] + number + content[begin + len(number) :])[:most_bytes]
        case 1:
            return (content[:place] + rng.choice(_MARKERS) + content[place + rng.choice((0, 2)) :])[:most_bytes]
        case _:
            end = rng.choice(markers).start()
            return (content[:place] + content[min(place, end) : end] + content[place:])[:most_bytes]


def _inflate(content: bytes, *, wbits: int) -> bytes | None:
    try:
        return zlib.decompressobj(wbits).decompress(content, _MOST_INFLATED_BYTES)
    except zlib.error:
        return None


def _deflate(content: bytes, *, wbits: int, rng: Random) -> bytes:
    packer = zlib.compressobj(rng.choice((1, 9)), wbits=wbits)
    return packer.compress(content) + packer.flush()
