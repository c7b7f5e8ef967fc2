"""Owns volumes written as DICOM: classic and Enhanced MR, of any orientation, compressed or not, alone or in a zip."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import cast

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    JPEG2000,
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from brainmets.formats.study_reader import StudyFile
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from imaging_cases import AXIAL, make_geometry

STUDY_UID = generate_uid(entropy_srcs=["brainmets study"])
# Where Enhanced MR keeps what classic MR says at the top: functional group, and keyword within it.
_GROUPS = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
}
_RLE_OPTIONS = {
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
    "photometric_interpretation": "PhotometricInterpretation",
}
# Without loss, also where the syntax allows for some.
_GDCM_ENCODERS = {
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGLSLossless: gdcm.TransferSyntax.JPEGLSLossless,
    JPEGLSNearLossless: gdcm.TransferSyntax.JPEGLSNearLossless,
    JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    JPEG2000: gdcm.TransferSyntax.JPEG2000,
}


def small_volume(
    shape: tuple[int, int, int] = (5, 24, 20),
    *,
    spacing_mm: tuple[float, float, float] = (2.0, 0.9, 1.1),
    directions: NDArray[np.float64] = AXIAL,
    origin_mm: tuple[float, float, float] = (-31.25, 17.5, 4.75),
    seed: int = 0,
) -> Volume:
    """Return whole numbers, negative ones too, at random."""
    voxels = np.random.default_rng(seed).integers(-90, 200, size=shape).astype(np.float32)
    return Volume(voxels, make_geometry(shape, spacing_mm=spacing_mm, directions=directions, origin_mm=origin_mm))


def write_series(
    volume: Volume,
    *,
    attributes: Mapping[str, object] | None = None,
    enhanced: bool = False,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    seed: int = 0,
) -> tuple[bytes, ...]:
    """Return a volume's slices as files, in their order; as one file when enhanced.

    Values that are whole and fit 16 bits are stored as they are, others by a rescale slope.

    Args:
        volume: What to write; its axes must be perpendicular.
        attributes: Attributes by keyword, of every instance; they replace those that are written otherwise.
        enhanced: Enhanced MR instead of classic MR.
        transfer_syntax: Uncompressed, deflated, RLE, JPEG lossless, JPEG-LS or JPEG 2000.
        seed: Makes the UIDs of the series: another one, another series of the same study.
    """
    data_sets = series_data_sets(volume, attributes=attributes, enhanced=enhanced, seed=seed)
    return tuple(write_instance(data_set, transfer_syntax) for data_set in data_sets)


def series_data_sets(
    volume: Volume, *, attributes: Mapping[str, object] | None = None, enhanced: bool = False, seed: int = 0
) -> tuple[Dataset, ...]:
    """Return what `write_series` writes before it is written, to be changed."""
    stored, slope = _store(volume.voxels)
    if enhanced:
        return (_enhanced(stored, volume.geometry, slope=slope, attributes=attributes or {}, seed=seed),)
    return tuple(
        _classic(stored[place], volume.geometry, place=place, slope=slope, attributes=attributes or {}, seed=seed)
        for place in range(len(stored))
    )


def write_instance(data_set: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return a data set as a file; its pixels are little endian and not compressed until here."""
    written = Dataset()
    written.update(data_set)
    if transfer_syntax.is_encapsulated and "PixelData" in written:
        written.PixelData = encapsulate([_encode(frame, written, transfer_syntax) for frame in _frames(written)])
        written["PixelData"].VR = "OB"
    if transfer_syntax == ExplicitVRBigEndian and "PixelData" in written:
        written.PixelData = np.frombuffer(written.PixelData, "<i2").astype(">i2").tobytes()
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = transfer_syntax
    written.file_meta.MediaStorageSOPClassUID = written.get("SOPClassUID", MRImageStorage)
    written.file_meta.MediaStorageSOPInstanceUID = written.get("SOPInstanceUID", generate_uid())
    content = io.BytesIO()
    written.save_as(
        content,
        implicit_vr=transfer_syntax == ImplicitVRLittleEndian,
        little_endian=transfer_syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return content.getvalue()


def write_zip(instances: Iterable[bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return files as a zip archive, in a folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for place, instance in enumerate(instances):
            archive.writestr(f"IMAGES/{place:05d}", instance)
    return content.getvalue()


def study_files(
    *contents: bytes, media_type: MediaType = MediaType.DICOM, sequence: Sequence | None = None
) -> tuple[StudyFile, ...]:
    """Return files as a study's, numbered from 0."""
    return tuple(StudyFile(number, media_type, sequence, content) for number, content in enumerate(contents))


def series_uid(seed: int = 0) -> UID:
    """Return the SeriesInstanceUID of a seed."""
    return generate_uid(entropy_srcs=["brainmets series", str(seed)])


def _store(voxels: NDArray[np.float32]) -> tuple[NDArray[np.int16], float]:
    largest = float(np.abs(voxels).max())
    slope = 1.0 if largest < 2**15 and np.array_equal(voxels, np.rint(voxels)) else largest / (2**15 - 1)
    return np.rint(voxels / slope).astype(np.int16), slope


def _image(rows: int, columns: int, attributes: Mapping[str, object]) -> Dataset:
    """Return what all images of the tests say."""
    data_set = Dataset()
    data_set.StudyInstanceUID, data_set.FrameOfReferenceUID = STUDY_UID, STUDY_UID
    data_set.PatientID, data_set.PatientName, data_set.PatientBirthDate = "4711", "Doe^Jane", "19500101"
    data_set.Modality, data_set.StudyDate, data_set.ImageType = "MR", "20240229", ["ORIGINAL", "PRIMARY", "M"]
    data_set.SeriesNumber = 1
    data_set.Rows, data_set.Columns, data_set.SamplesPerPixel = rows, columns, 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation = 16, 16, 15, 1
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def _classic(
    pixels: NDArray[np.int16],
    grid: Geometry,
    *,
    place: int,
    slope: float,
    attributes: Mapping[str, object],
    seed: int,
) -> Dataset:
    data_set = _image(*pixels.shape, attributes={})
    data_set.SOPClassUID, data_set.SeriesInstanceUID = MRImageStorage, series_uid(seed)
    data_set.SOPInstanceUID = generate_uid(entropy_srcs=["brainmets instance", str(seed), str(place)])
    data_set.InstanceNumber = place + 1
    data_set.ImagePositionPatient = _position(grid, place)
    data_set.ImageOrientationPatient, data_set.PixelSpacing = _orientation(grid), _pixel_spacing(grid)
    data_set.RescaleSlope, data_set.RescaleIntercept = _decimal(slope), "0"
    data_set.PixelData = pixels.astype("<i2").tobytes()
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set


def _enhanced(
    stored: NDArray[np.int16], grid: Geometry, *, slope: float, attributes: Mapping[str, object], seed: int
) -> Dataset:
    own = {keyword: value for keyword, value in attributes.items() if keyword not in _GROUPS}
    data_set = _image(*stored.shape[1:], attributes=own)
    data_set.SOPClassUID = EnhancedMRImageStorage
    data_set.SeriesInstanceUID = own.get("SeriesInstanceUID", series_uid(seed))
    data_set.SOPInstanceUID = generate_uid(entropy_srcs=["brainmets enhanced", str(seed)])
    data_set.NumberOfFrames = len(stored)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=_pixel_spacing(grid))]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=_orientation(grid))]
    for keyword in attributes.keys() & _GROUPS.keys():
        group, name = _GROUPS[keyword]
        items = cast("list[Dataset]", shared.get(group) or [Dataset()])
        # These two are binary numbers there, and texts in classic MR.
        is_binary = name in {"EffectiveEchoTime", "InversionTimes"}
        setattr(items[0], name, float(str(attributes[keyword])) if is_binary else attributes[keyword])
        setattr(shared, group, items)
    data_set.SharedFunctionalGroupsSequence = [shared]
    data_set.PerFrameFunctionalGroupsSequence = [_frame_groups(grid, place, slope) for place in range(len(stored))]
    data_set.PixelData = stored.astype("<i2").tobytes()
    return data_set


def _frame_groups(grid: Geometry, place: int, slope: float) -> Dataset:
    scale = _item(RescaleSlope=_decimal(slope), RescaleIntercept="0", RescaleType="US")
    return _item(
        PlanePositionSequence=[_item(ImagePositionPatient=_position(grid, place))],
        FrameContentSequence=[_item(InStackPositionNumber=place + 1, StackID="1")],
        PixelValueTransformationSequence=[scale],
    )


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _position(grid: Geometry, place: int) -> list[DSfloat]:
    return [_decimal(value) for value in grid.index_to_world(np.array([[place, 0, 0]]))[0]]


def _orientation(grid: Geometry) -> list[DSfloat]:
    """Return the direction of a row, which columns run along, and then that of a column."""
    return [_decimal(value) for value in (*grid.directions[:, 2], *grid.directions[:, 1])]


def _pixel_spacing(grid: Geometry) -> list[DSfloat]:
    return [_decimal(value) for value in grid.spacing_mm[1:]]


def _decimal(value: float) -> DSfloat:
    """Return a number as 16 characters say it (PS3.5 6.2, DS)."""
    return DSfloat(float(value), auto_format=True)


def _frames(data_set: Dataset) -> list[bytes]:
    frame_bytes = data_set.Rows * data_set.Columns * data_set.BitsAllocated // 8
    pixels = data_set.PixelData
    return [pixels[begin : begin + frame_bytes] for begin in range(0, len(pixels) - frame_bytes + 1, frame_bytes)]


def _encode(frame: bytes, data_set: Dataset, transfer_syntax: UID) -> bytes:
    if transfer_syntax == RLELossless:
        options = {name: getattr(data_set, keyword) for name, keyword in _RLE_OPTIONS.items()}
        return RLELosslessEncoder.encode(frame, encoding_plugin="pydicom", number_of_frames=1, **options)
    return _encode_gdcm(frame, data_set, _GDCM_ENCODERS[transfer_syntax])


def _encode_gdcm(frame: bytes, data_set: Dataset, transfer_syntax: int) -> bytes:
    # Its image must be a writer's, and every object kept in a variable: GDCM ends the process otherwise.
    writer = gdcm.ImageWriter()
    image = writer.GetImage()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((data_set.Columns, data_set.Rows, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    bits = (data_set.BitsAllocated, data_set.BitsStored, data_set.HighBit, data_set.PixelRepresentation)
    image.SetPixelFormat(gdcm.PixelFormat(1, *bits))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(frame)
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(transfer_syntax))
    change.SetInput(image)
    if not change.Change():
        raise ValueError("GDCM does not encode this")
    output = change.GetOutput()
    encoded: str = output.GetDataElement().GetSequenceOfFragments().GetFragment(0).GetByteValue().GetBuffer()
    content = encoded.encode("utf-8", "surrogateescape")
    if len(content) > len(frame):
        raise ValueError("GDCM encodes into as many bytes as there were, and writes beyond them: take a larger image")
    return content
