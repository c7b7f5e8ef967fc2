"""Owns DICOM studies with one fault each, and the kind of error that tells it."""

import struct
import zlib
from collections.abc import Callable

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from brainmets.formats.study_reader import StudyFile
from brainmets.imaging.errors import (
    BrainmetsError,
    DecodingLimitError,
    EmptyVolumeError,
    InvalidArgumentError,
    InvalidIntensityError,
    MalformedFileError,
    MixedStudiesError,
    UnsupportedFormatError,
    UnusableSeriesError,
)
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from dicom_cases import series_data_sets, small_volume, study_files, write_instance, write_series, write_zip

MIB = 1024 * 1024
PIXELS = b"\xe0\x7f\x10\x00OW"
PRIVATE = b"\x09\x00\x10\x10"
SHARED_GROUPS = b"\x00\x52\x29\x92"
COMPRESSED = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
# Nothing of these, which the files carry, may ever be quoted.
IDENTITY = ("4711", "Doe", "Jane", "19500101", "1.2.826")

# Damage that leaves a stream as long as it was, with its head and its end: a lost block, and all that follows lost.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a block of zeros": lambda stream: stream[: len(stream) // 2] + bytes(128) + stream[len(stream) // 2 + 128 :],
    "cut": lambda stream: (
        stream[: len(stream) // 2] + b"\xff\xd9" + bytes(len(stream[len(stream) // 2 : -34])) + stream[-32:]
    ),
}

Study = tuple[StudyFile, ...]


def changed(
    change: Callable[[list[Dataset]], object], *, transfer_syntax: UID = ExplicitVRLittleEndian, enhanced: bool = False
) -> Study:
    """Return a study of one series whose data sets were changed."""
    data_sets = list(series_data_sets(small_volume(), enhanced=enhanced))
    change(data_sets)
    return study_files(*(write_instance(data_set, transfer_syntax) for data_set in data_sets))


def with_values(*, enhanced: bool = False, **values: object) -> Study:
    """Return a study all of whose images have these values, by keyword; None takes an attribute away."""

    def change(data_sets: list[Dataset]) -> None:
        for data_set in data_sets:
            for keyword, value in values.items():
                delattr(data_set, keyword) if value is None else setattr(data_set, keyword, value)

    return changed(change, enhanced=enhanced)


def with_positions(*heights_mm: float) -> Study:
    """Return a study of one series whose slices lie at these heights."""
    volume = small_volume((len(heights_mm), 12, 10))

    def write(data_set: Dataset, height_mm: float) -> bytes:
        data_set.ImagePositionPatient = [0.0, 0.0, height_mm]
        return write_instance(data_set)

    return study_files(*map(write, series_data_sets(volume), heights_mm))


def with_bytes(inserted: bytes) -> Study:
    """Return a study of one series with bytes before the first image's pixels."""
    first, *others = write_series(small_volume())
    place = first.rindex(PIXELS)
    return study_files(first[:place] + inserted + first[place:], *others)


def with_streams(change: Callable[[bytes], bytes], transfer_syntax: UID) -> Study:
    """Return a compressed study of one series whose compressed bytes were changed."""
    contents = write_series(small_volume((5, 64, 64)), transfer_syntax=transfer_syntax)
    return study_files(*(with_stream(content, change) for content in contents))


def with_stream(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a file whose compressed bytes, up to its end, were changed."""
    # Tag, representation, length, an empty table of offsets, and then the first item's head.
    place = content.rindex(b"\xe0\x7f\x10\x00OB") + 12 + 8 + 8
    return content[:place] + change(content[place:])


def of_another_size(transfer_syntax: UID, *, rows: int, columns: int) -> Study:
    """Return a compressed study of 64 x 64 that states another size."""
    contents = write_series(small_volume((5, 64, 64), spacing_mm=(2.0, 0.2, 0.2)), transfer_syntax=transfer_syntax)
    for element, size in ((b"\x10\x00", rows), (b"\x11\x00", columns)):
        head = b"\x28\x00" + element + b"US\x02\x00"
        old, new = head + struct.pack("<H", 64), head + struct.pack("<H", size)
        contents = tuple(content.replace(old, new) for content in contents)
    return study_files(*contents)


def nested(depth: int, tag: bytes) -> bytes:
    """Return sequences of undefined length within each other."""
    begin = tag + b"SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00" + b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    return begin * depth + end * depth


def deflated_bomb(size_bytes: int, *, tag: bytes) -> Study:
    """Return a deflated file of a few hundred KiB with one element of so many zeros."""
    (first, *_) = write_series(small_volume())
    meta_bytes = 144 + int.from_bytes(first[140:144], "little")
    (stated, *_) = write_series(small_volume(), transfer_syntax=DeflatedExplicitVRLittleEndian)
    stated_bytes = 144 + int.from_bytes(stated[140:144], "little")
    body = first[meta_bytes : first.rindex(PIXELS)] + tag + b"OW\x00\x00" + struct.pack("<I", size_bytes)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, equal bytes deflate to equal bytes, so that they need not be deflated again and again.
    zeros = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return study_files(stated[:stated_bytes] + packed + zeros * (size_bytes // MIB) + packer.flush())


def one_of(*studies: Study) -> Study:
    """Return a study of the files of several."""
    contents = (file.content for study in studies for file in study)
    return study_files(*(bytes(content) for content in contents))


def another_series(**values: object) -> Study:
    """Return a second series with these values."""
    return study_files(*write_series(small_volume(), seed=1, attributes={"SeriesNumber": 2, **values}))


def same_identifier(data_sets: list[Dataset]) -> None:
    """Give all images one SOPInstanceUID."""
    for data_set in data_sets:
        data_set.SOPInstanceUID = data_sets[0].SOPInstanceUID


def lie_of_frames(data_sets: list[Dataset]) -> None:
    """State two thousand million frames."""
    data_sets[0].NumberOfFrames = 2**31 - 1


SOUND = study_files(*write_series(small_volume()))
FIRST = bytes(SOUND[0].content)

FAULTS: dict[str, tuple[Study, type[BrainmetsError]]] = {
    "nothing": (study_files(b""), UnsupportedFormatError),
    "no files": ((), UnsupportedFormatError),
    "a picture": (study_files(b"\xff\xd8\xff\xe0" + bytes(1000)), UnsupportedFormatError),
    "text": (study_files(b"no head at all " * 100), UnsupportedFormatError),
    "a zip that says it is an image": (study_files(write_zip([FIRST])), UnsupportedFormatError),
    "preamble alone": (study_files(bytes(128) + b"DICM"), MalformedFileError),
    "header broken off": (study_files(FIRST[:600]), MalformedFileError),
    "private elements only": (
        study_files(bytes(128) + b"DICM" + b"\x09\x00\x10\x00LO\x04\x00ACME"),
        MalformedFileError,
    ),
    "no StudyInstanceUID": (with_values(StudyInstanceUID=None), MalformedFileError),
    "no SeriesInstanceUID": (with_values(SeriesInstanceUID=None), MalformedFileError),
    "one SOPInstanceUID for all": (changed(same_identifier), MalformedFileError),
    "two patients": (one_of(SOUND, another_series(PatientID="0815")), MixedStudiesError),
    "two names": (one_of(SOUND, another_series(PatientName="Roe^Richard")), MixedStudiesError),
    "two birthdays": (one_of(SOUND, another_series(PatientBirthDate="19500102")), MixedStudiesError),
    "two studies": (one_of(SOUND, another_series(StudyInstanceUID="1.2.826.9")), MixedStudiesError),
    "no position": (with_values(ImagePositionPatient=None), UnusableSeriesError),
    "no orientation": (with_values(ImageOrientationPatient=None), UnusableSeriesError),
    "no spacing": (with_values(PixelSpacing=None), UnusableSeriesError),
    "orientation of zeros": (with_values(ImageOrientationPatient=[0] * 6), UnusableSeriesError),
    "orientation not perpendicular": (with_values(ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0]), UnusableSeriesError),
    "spacing of zero": (with_values(PixelSpacing=[0, 0]), UnusableSeriesError),
    "spacing in metres": (with_values(PixelSpacing=[0.001, 0.001]), UnusableSeriesError),
    "no rows": (with_values(Rows=0), UnusableSeriesError),
    "two slices": (with_positions(0, 1), UnusableSeriesError),
    "a slice is missing": (with_positions(0, 1, 3, 4, 5), UnusableSeriesError),
    "a slice is doubled": (with_positions(0, 1, 1, 2, 3), UnusableSeriesError),
    "all slices at one place": (with_positions(1, 1, 1, 1), UnusableSeriesError),
    "uneven slices": (with_positions(0, 1, 2.3, 3, 4), UnusableSeriesError),
    "slices far apart": (with_positions(0, 20, 40, 60), UnusableSeriesError),
    "no pixels": (with_values(PixelData=None), UnusableSeriesError),
    "pixels short": (with_values(PixelData=bytes(200)), MalformedFileError),
    "pixels long": (with_values(PixelData=bytes(964)), MalformedFileError),
    "pixels broken off": (study_files(*(bytes(file.content)[:-50] for file in SOUND)), MalformedFileError),
    "larger than its pixels": (with_values(Rows=60_000, Columns=60_000), UnusableSeriesError),
    "colours": (with_values(SamplesPerPixel=3, PhotometricInterpretation="RGB"), UnusableSeriesError),
    "inverted": (with_values(PhotometricInterpretation="MONOCHROME1"), UnusableSeriesError),
    "32 bits": (with_values(BitsAllocated=32, BitsStored=32, HighBit=31), UnusableSeriesError),
    "more bits stored than there are": (with_values(BitsStored=20), UnusableSeriesError),
    "frames that are none": (changed(lie_of_frames), UnusableSeriesError),
    "frames that are none, Enhanced": (changed(lie_of_frames, enhanced=True), MalformedFileError),
    "pixels short, Enhanced": (with_values(enhanced=True, PixelData=bytes(1000)), MalformedFileError),
    "all voxels equal": (with_values(PixelData=bytes(960)), EmptyVolumeError),
    "scaled beyond float32": (with_values(RescaleSlope="1e38"), InvalidIntensityError),
    "slope of zero": (with_values(RescaleSlope="0"), UnusableSeriesError),
    "nested 500 deep": (with_bytes(nested(500, PRIVATE)), MalformedFileError),
    "nested 500 deep where it is read": (with_bytes(nested(500, SHARED_GROUPS)), MalformedFileError),
    "nested 100,000 deep": (with_bytes(nested(100_000, PRIVATE)), MalformedFileError),
    "a sequence without end": (with_bytes(PRIVATE + b"SQ\x00\x00\xff\xff\xff\xff"), MalformedFileError),
    "an element longer than its file": (with_bytes(PRIVATE + b"OB\x00\x00\xfe\xff\xff\x7f"), MalformedFileError),
    "a text of a megabyte": (
        with_bytes(b"\x10\x00\x20\x00UT\x00\x00\x00\x00\x10\x00" + bytes(MIB)),
        MalformedFileError,
    ),
    "a million elements": (with_bytes((PRIVATE + b"LO\x00\x00") * 1_000_000), DecodingLimitError),
    "a million items": (
        with_bytes(PRIVATE + b"SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * 1_000_000),
        DecodingLimitError,
    ),
    "deflated bomb in an element": (deflated_bomb(700 * MIB, tag=PRIVATE), MalformedFileError),
    "deflated bomb in the pixels": (deflated_bomb(700 * MIB, tag=PIXELS[:4]), UnusableSeriesError),
    "deflated of rubbish": (
        study_files(bytes(deflated_bomb(MIB, tag=PRIVATE)[0].content[:400]) + b"\xff" * 500),
        MalformedFileError,
    ),
    "an archive of nothing": (study_files(write_zip([]), media_type=MediaType.DICOM_ZIP), UnsupportedFormatError),
    "an archive of archives": (
        study_files(write_zip([write_zip([FIRST])]), media_type=MediaType.DICOM_ZIP),
        UnsupportedFormatError,
    ),
    "two statements of one series": (
        tuple(
            StudyFile(file.file_index, file.media_type, list(Sequence)[file.file_index % 2], file.content)
            for file in SOUND
        ),
        InvalidArgumentError,
    ),
    **{
        f"{syntax.keyword}, of {rows} x {columns}": (
            of_another_size(syntax, rows=rows, columns=columns),
            MalformedFileError,
        )
        for syntax in COMPRESSED
        for rows, columns in ((63, 64), (64, 65), (64, 32), (2900, 2900))
    },
    **{
        f"{syntax.keyword}, {name}": (with_streams(change, syntax), MalformedFileError)
        for syntax in COMPRESSED
        for name, change in {
            "broken off": lambda stream: stream[: len(stream) // 2],
            "of zeros": lambda stream: bytes(len(stream) - 8) + stream[-8:],
        }.items()
    },
    **{
        f"{syntax.keyword}, {name}": (with_streams(change, syntax), MalformedFileError)
        for syntax in (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless)
        for name, change in DAMAGES.items()
    },
}
