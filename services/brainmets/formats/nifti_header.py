"""Owns the header of a NIfTI file: read and checked before anything of the size it states is allocated."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainmets.imaging.errors import (
    BrainmetsError,
    InvalidIntensityError,
    InvalidSpacingError,
    MalformedFileError,
    SingularAffineError,
    StudyTooLargeError,
    TooFewSlicesError,
    UnsupportedDimensionsError,
    UnsupportedFormatError,
)
from brainmets.imaging.geometry import MAX_VOXELS
from brainmets.imaging.nifti_forms import MAX_CODE, NiftiForms

# Bytes that tell everything: NIfTI-2's header, the longer one, and the flag of extensions behind it.
LONGEST_HEADER_BYTES = 544
# Extensions hold text; nobody's are this long.
MAX_OFFSET_BYTES = 16 * 1024 * 1024
# Below, a clinical head does not fit into MAX_VOXELS; above, a lesion fits between two slices.
SPACING_RANGE_MM = (0.2, 10.0)
# How far the two ways that a file tells its spacing may lie apart: some writers keep two digits.
SPACING_TOLERANCE = 0.01
# Longer than any head coil; the axial grid of 1 mm around one voxel of 10 mm holds a thousand.
MAX_EXTENT_MM = 600.0
# A kilometre: no scanner's room is larger, and computing with larger numbers would overflow.
MAX_COORDINATE_MM = 1e6
# Two slices have no inside.
MIN_SLICES = 3
# Volume of the voxel's unit parallelepiped: 1 for right angles, 0 when the axes lie in a plane.
MIN_UNIT_VOLUME = 1e-3
_SPATIAL_AXES = 3
_MAX_AXES = 7

# NIfTI's codes of the datatypes that hold one real number.
_REAL_TYPES = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
    1024: np.int64,
    1280: np.uint64,
}
_RGB_TYPES = {128, 2304}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A version of NIfTI, by the size that its header begins with."""

    header: type[Nifti1Header]
    size_bytes: int
    magic: bytes
    pair_magic: bytes


_KINDS = (
    _Kind(Nifti1Header, 348, b"n+1\x00", b"ni1\x00"),
    _Kind(Nifti2Header, 540, b"n+2\x00", b"ni2\x00"),
)


@dataclass(frozen=True, slots=True, eq=False)
class NiftiHeader:
    """What a file says about its voxels, all of it usable.

    Attributes:
        shape: Sizes (slice, row, column) of the stored axes, the fastest last.
        stored_type: Type of the stored voxels, byte order included.
        offset_bytes: Where the voxels begin.
        slope: Stored values times this …
        intercept: … plus this are intensities.
        affine_ras: 4 by 4 matrix from (column, row, slice, 1) to RAS millimetres, sform before qform.
        forms_apart_mm: How far apart sform and qform put a corner of the volume; 0 where one of them is not told, or
            the qform cannot be used.
        forms: How the header places them, in its own words.
    """

    shape: tuple[int, int, int]
    stored_type: np.dtype[Any]  # Any: whichever of the real types the file holds
    offset_bytes: int
    slope: float
    intercept: float
    affine_ras: NDArray[np.float64]
    forms_apart_mm: float
    forms: NiftiForms

    @property
    def voxel_count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def file_bytes(self) -> int:
        """Size of the whole file, inflated."""
        return self.offset_bytes + self.voxel_count * self.stored_type.itemsize


def read_header(beginning: bytes, *, file_index: int) -> NiftiHeader:
    """Read the header at the beginning of an inflated file.

    Args:
        beginning: The file's first `LONGEST_HEADER_BYTES`, or all of a shorter one.
        file_index: The client's number of the file, named in errors.

    Raises:
        UnsupportedFormatError: It is no single-file NIfTI, or its voxels are not real numbers.
        MalformedFileError: The header contradicts itself.
        UnsupportedDimensionsError: It holds a time series, vectors or colours.
        TooFewSlicesError: It has fewer than 3 slices, rows or columns.
        StudyTooLargeError: It has more voxels than the service takes.
        InvalidSpacingError: A spacing is not a number within 0.2 to 10 mm, or told as two, or an axis is longer than
            600 mm.
        SingularAffineError: The grid's axes do not span a space, or it is not told how they lie in the patient.
        InvalidIntensityError: The intensities' scale is not finite.
    """
    checks = _Checks(file_index)
    kind, header = checks.recognize(beginning)
    shape = checks.shape(header)
    stored_type = checks.stored_type(header)
    checks.size(shape)
    offset_bytes = checks.offset(header, least=kind.size_bytes + 4)
    affine_ras = checks.affine(header, shape)
    slope, intercept = checks.scale(header)
    qform = _read_qform(header)
    forms_apart_mm = 0.0
    if qform is not None and header["sform_code"] > 0:
        forms_apart_mm = _measure_apart(qform, affine_ras, shape)
    forms = _read_forms(header, qform_is_used=qform is not None)
    return NiftiHeader(shape, stored_type, offset_bytes, slope, intercept, affine_ras, forms_apart_mm, forms)


class _Checks:
    """The header's fields, each read and judged; every refusal names the file."""

    def __init__(self, file_index: int) -> None:
        self._file_index = file_index

    def recognize(self, beginning: bytes) -> tuple[_Kind, Nifti1Header]:
        if not beginning:
            raise self._malformed("The file is empty", expected="a NIfTI header and voxels", got="0 bytes")
        for kind in _KINDS:
            for order, endianness in (("little", "<"), ("big", ">")):
                if beginning[:4] == kind.size_bytes.to_bytes(4, order):  # type: ignore[arg-type]  # a str of two
                    return kind, self._parse(kind, beginning, endianness)
        raise self._refuse(
            UnsupportedFormatError,
            "The file is no NIfTI",
            expected="a header of 348 or 540 bytes",
            got="other bytes",
            remedy="send NIfTI-1 or NIfTI-2 as a single .nii or .nii.gz file",
        )

    def _parse(self, kind: _Kind, beginning: bytes, endianness: str) -> Nifti1Header:
        if len(beginning) < kind.size_bytes:
            raise self._malformed(
                "The header breaks off", expected=f"{kind.size_bytes} bytes", got=f"{len(beginning)} bytes"
            )
        # Checked here instead, because nibabel mends in silence what it can.
        header = kind.header(beginning[: kind.size_bytes], endianness=endianness, check=False)
        # numpy strips a text's final zeros.
        magic = header["magic"].item().ljust(len(kind.magic), b"\x00")
        if magic == kind.pair_magic:
            raise self._refuse(
                UnsupportedFormatError,
                "The voxels lie in another file",
                expected="header and voxels in one file",
                got="a .hdr and .img pair",
                remedy="convert the pair to a single .nii.gz file",
            )
        if magic != kind.magic:
            raise self._malformed("The magic word is wrong", expected=repr(kind.magic), got="another")
        return header

    def shape(self, header: Nifti1Header) -> tuple[int, int, int]:
        axes, *sizes = (int(size) for size in header["dim"])
        if not 1 <= axes <= _MAX_AXES:
            raise self._malformed("The number of axes is wrong", expected="1 to 7", got=str(axes))
        used = sizes[:axes]
        if any(size < 0 for size in used):
            raise self._malformed("A size is negative", expected="sizes above 0", got=_times(used))
        if any(size != 1 for size in used[_SPATIAL_AXES:]):
            raise self._refuse(
                UnsupportedDimensionsError,
                "The file holds more than one volume",
                expected="three axes",
                got=f"{axes} axes of {_times(used)}",
                remedy="send one volume for each sequence",
            )
        columns, rows, slices = (*used, 1, 1)[:_SPATIAL_AXES]
        if min(slices, rows, columns) < MIN_SLICES:
            raise self._refuse(
                TooFewSlicesError,
                "The volume has too few slices",
                expected=f"{MIN_SLICES} or more on each axis",
                got=_times([slices, rows, columns]),
                remedy="send the whole series, not single slices",
            )
        return slices, rows, columns

    def stored_type(self, header: Nifti1Header) -> np.dtype[Any]:  # Any: as in NiftiHeader
        code, bits = int(header["datatype"]), int(header["bitpix"])
        if code in _RGB_TYPES:
            raise self._refuse(
                UnsupportedDimensionsError,
                "The voxels are colours",
                expected="one intensity for each voxel",
                got=f"RGB, NIfTI datatype {code}",
                remedy="send the series itself, not a picture of it",
            )
        if code not in _REAL_TYPES:
            raise self._refuse(
                UnsupportedFormatError,
                "The voxels' datatype is not read",
                expected="integers of 8 to 64 bits or floats of 32 or 64",
                got=f"NIfTI datatype {code}",
                remedy="convert the file to int16 or float32",
            )
        stored_type = np.dtype(_REAL_TYPES[code]).newbyteorder(header.endianness)
        if bits != 8 * stored_type.itemsize:
            raise self._malformed(
                "The voxels' size contradicts their datatype",
                expected=f"{8 * stored_type.itemsize} bits",
                got=f"{bits} bits",
            )
        return stored_type

    def size(self, shape: tuple[int, int, int]) -> None:
        if math.prod(shape) > MAX_VOXELS:
            raise self._refuse(
                StudyTooLargeError,
                "The volume has too many voxels",
                expected=f"at most {MAX_VOXELS} voxels",
                got=f"{_times(shape)} voxels",
                remedy="resample the series to 0.5 mm or more",
            )

    def offset(self, header: Nifti1Header, *, least: int) -> int:
        offset = float(header["vox_offset"])
        # Written so that a NaN is refused too.
        if not (least <= offset <= MAX_OFFSET_BYTES and offset.is_integer()):
            raise self._malformed(
                "The voxels begin at no place of the file",
                expected=f"an offset of {least} to {MAX_OFFSET_BYTES} bytes",
                got=str(offset),
            )
        return int(offset)

    def affine(self, header: Nifti1Header, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        told_mm = np.abs(header["pixdim"][1:4].astype(np.float64))
        self._check_spacing(told_mm)
        # The standard's word for a handedness that is not told.
        if header["pixdim"][0] == 0:
            header["pixdim"][0] = 1
        placed = [code for code in ("sform_code", "qform_code") if header[code] > 0]
        if not placed:
            raise self._unplaced("an sform or a qform", got="neither: left and right would be guessed")
        try:
            affine: NDArray[np.float64] = header.get_best_affine().astype(np.float64)
        except (ValueError, ArithmeticError, HeaderDataError) as error:
            # A quaternion longer than 1 is no rotation; nor is one of a handedness that is neither 1 nor -1.
            raise self._singular("a rotation", got="a quaternion that is none") from error
        # Written so that a NaN is refused too.
        if not np.abs(affine).max() <= MAX_COORDINATE_MM:
            raise self._singular(f"coordinates of at most {MAX_COORDINATE_MM:g} mm", got="larger ones, or NaN")
        spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
        if spacing_mm.min() == 0.0:
            raise self._singular("three independent axes", got="an axis without length")
        self._check_spacing(spacing_mm)
        self._check_told_once(spacing_mm, told_mm)
        if abs(np.linalg.det(affine[:3, :3] / spacing_mm)) < MIN_UNIT_VOLUME:
            raise self._singular("three independent axes", got="axes in one plane")
        # A qform is a rotation, and a reflection where pixdim[0] says so.
        if len(placed) > 1 and np.linalg.det(affine[:3, :3]) * header["pixdim"][0] < 0:
            raise self._unplaced("an sform and a qform of one handedness", got="mirror images of each other")
        self._check_extent(spacing_mm * shape[::-1])
        return affine

    def _check_told_once(self, spacing_mm: NDArray[np.float64], told_mm: NDArray[np.float64]) -> None:
        """Refuse a file of two sizes: an affine registration changes the sform alone, and ITK goes by pixdim."""
        if np.abs(spacing_mm / told_mm - 1.0).max() > SPACING_TOLERANCE:
            raise self._refuse(
                InvalidSpacingError,
                "The file tells two voxel spacings",
                expected=f"an sform and a pixdim within {SPACING_TOLERANCE:.0%}",
                got=f"{_times_mm(spacing_mm)} and {_times_mm(told_mm)}",
                remedy="convert the series again from DICOM; one fitted to a template must be resampled first",
            )

    def _check_extent(self, extent_mm: NDArray[np.float64]) -> None:
        if extent_mm.max() > MAX_EXTENT_MM:
            raise self._refuse(
                InvalidSpacingError,
                "The field of view is larger than a scanner's",
                expected=f"at most {MAX_EXTENT_MM:g} mm on each axis",
                got=_times_mm(extent_mm),
                remedy="convert the series again; the spacing must be in millimetres",
            )

    def _check_spacing(self, spacing_mm: NDArray[np.float64]) -> None:
        least_mm, most_mm = SPACING_RANGE_MM
        # Written so that a NaN is refused too; float32 may lie a rounding error beside a limit.
        if not (spacing_mm.min() >= least_mm * (1 - 1e-6) and spacing_mm.max() <= most_mm * (1 + 1e-6)):
            raise self._refuse(
                InvalidSpacingError,
                "The voxel spacing is not usable",
                expected=f"{least_mm} to {most_mm} mm on each axis",
                got=_times_mm(spacing_mm),
                remedy="convert the series again; the spacing must be in millimetres",
            )

    def scale(self, header: Nifti1Header) -> tuple[float, float]:
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        # The standard's word for "not scaled", and that of nibabel.
        if not slope or math.isnan(slope):
            return 1.0, 0.0
        if not (math.isfinite(slope) and math.isfinite(intercept)):
            raise self._refuse(
                InvalidIntensityError,
                "The intensities' scale is not finite",
                expected="a finite scl_slope and scl_inter",
                got=f"{slope} and {intercept}",
                remedy="convert the series again",
            )
        return slope, intercept

    def _unplaced(self, expected: str, *, got: str) -> BrainmetsError:
        return self._refuse(
            SingularAffineError,
            "The file does not say how the patient lies",
            expected=expected,
            got=got,
            remedy="convert the series again from DICOM, or set the sform",
        )

    def _singular(self, expected: str, *, got: str) -> BrainmetsError:
        return self._refuse(
            SingularAffineError,
            "The place of the voxels in space is not usable",
            expected=expected,
            got=got,
            remedy="convert the series again; sform or qform must be a valid transform",
        )

    def _malformed(self, message: str, *, expected: str, got: str) -> BrainmetsError:
        return self._refuse(
            MalformedFileError, message, expected=expected, got=got, remedy="convert or export the series again"
        )

    def _refuse(
        self, kind: type[BrainmetsError], message: str, *, expected: str, got: str, remedy: str
    ) -> BrainmetsError:
        return kind(message, expected=expected, got=got, remedy=remedy, file_index=self._file_index)


def _read_qform(header: Nifti1Header) -> NDArray[np.float64] | None:
    """Return the qform of a header that passed all checks; None where it is not told, or cannot be used."""
    if header["qform_code"] <= 0:
        return None
    try:
        qform: NDArray[np.float64] = header.get_qform()
    except (ValueError, ArithmeticError, HeaderDataError):
        return None
    # Written so that a NaN is left out too.
    return qform if np.abs(qform).max() <= MAX_COORDINATE_MM else None


def _measure_apart(qform: NDArray[np.float64], affine_ras: NDArray[np.float64], shape: tuple[int, int, int]) -> float:
    """Return how far apart two transforms put a corner of the volume."""
    slices, rows, columns = shape
    corners = np.array([*itertools.product((0, columns - 1), (0, rows - 1), (0, slices - 1), (1,))])
    return float(np.linalg.norm(corners @ (affine_ras - qform).T, axis=1).max())


def _read_forms(header: Nifti1Header, *, qform_is_used: bool) -> NiftiForms:
    """Return how a header that passed all checks places its voxels."""
    sform_code, qform_code = (int(np.clip(header[name], 0, MAX_CODE)) for name in ("sform_code", "qform_code"))
    columns_mm, rows_mm, slices_mm = np.abs(header["pixdim"][1:4]).tolist()
    if not qform_is_used:
        return NiftiForms(sform_code, 0, (1.0, columns_mm, rows_mm, slices_mm))
    b, c, d, x_mm, y_mm, z_mm = (
        float(header[name]) for name in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    )
    handedness = float(header["pixdim"][0])
    return NiftiForms(
        sform_code, qform_code, (handedness, columns_mm, rows_mm, slices_mm), (b, c, d), (x_mm, y_mm, z_mm)
    )


def _times(sizes: tuple[int, ...] | list[int]) -> str:
    return " x ".join(str(size) for size in sizes)


def _times_mm(lengths: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:g}" for value in lengths) + " mm"
