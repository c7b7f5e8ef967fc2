"""Owns NIfTI files, the only place where RAS exists: voxels stay as stored, and the affine maps them to LPS."""

from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from brainmets.formats.gzip_stream import MAGIC, MAX_EXPANSION, GzipStream, GzipStreamError, write_gzip
from brainmets.formats.nifti_header import LONGEST_HEADER_BYTES, NiftiHeader, read_header
from brainmets.imaging.errors import (
    BrainmetsError,
    EmptyVolumeError,
    InternalError,
    InvalidIntensityError,
    MalformedFileError,
)
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.nifti_forms import SCANNER_CODE, NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes
from brainmets.imaging.volume import Volume, VoxelMemory, new_voxels

DESCRIPTION = b"brainmets. Research use only. Not for diagnosis."
# A written header, and the four zero bytes that say that no extension follows.
_OFFSET_BYTES = 352
# Both are their own inverse: RAS to LPS, and (column, row, slice) to (slice, row, column).
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSED = [2, 1, 0, 3]


def read_nifti_attributes(
    content: bytes | memoryview, *, file_index: int, stated: Sequence | None = None
) -> SeriesAttributes:
    """Read what a file says of its series, from its checked header alone.

    Args:
        content: The whole file.
        file_index: The client's number of the file, named in errors.
        stated: What the request says it is.

    Raises:
        StudyError: The header cannot be read or used; the kind says why (see `read_header`).
        MalformedFileError: The file is broken off within it.
    """
    try:
        beginning = GzipStream(content).read(LONGEST_HEADER_BYTES) if content[:2] == MAGIC else content
    except GzipStreamError as error:
        raise _malformed("a whole gzip stream", got=str(error), file_index=file_index) from error
    header = read_header(bytes(beginning[:LONGEST_HEADER_BYTES]), file_index=file_index)
    return SeriesAttributes(
        file_index, _geometry(header), stated=stated, forms_apart_mm=header.forms_apart_mm, nifti_forms=header.forms
    )


def read_nifti(content: bytes | memoryview, *, file_index: int, memory: VoxelMemory = new_voxels) -> Volume:
    """Read a volume from a NIfTI-1 or NIfTI-2 file, compressed or not, whatever plane it is stored in.

    The axes keep their stored order, slowest first, so that a mask can be written back voxel for voxel. No more
    memory is taken than the checked header allows.

    Args:
        content: The whole file.
        file_index: The client's number of the file, named in errors.
        memory: Where the voxels are put.

    Raises:
        StudyError: The file cannot be read or used; the kind says why (see `read_header` for the header's).
        MalformedFileError: The file is broken off, damaged, or longer than its header says.
        InvalidIntensityError: A voxel is NaN or infinite.
        EmptyVolumeError: All voxels are equal.
    """
    stored, header = _read_stored(content, file_index)
    ends = stored.min(), stored.max()
    _check_shown(ends, file_index=file_index)
    _check_intensities(ends, header, file_index=file_index)
    return _scale(stored, header, memory=memory)


def read_label_map(content: bytes | memoryview, *, file_index: int) -> Volume:
    """Read a label map or a mask: as `read_nifti`, but one value everywhere means that there is nothing, or all is.

    Raises:
        StudyError: As `read_nifti`, but for an empty volume.
    """
    stored, header = _read_stored(content, file_index)
    _check_intensities((stored.min(), stored.max()), header, file_index=file_index)
    return _scale(stored, header, memory=new_voxels)


def _read_stored(
    content: bytes | memoryview, file_index: int
) -> tuple[NDArray[Any], NiftiHeader]:  # Any: as in NiftiHeader
    read = _inflate if content[:2] == MAGIC else _open
    try:
        header, inflated = read(content, file_index)
    except GzipStreamError as error:
        raise _malformed("a whole gzip stream", got=str(error), file_index=file_index) from error
    return np.frombuffer(inflated, header.stored_type, header.voxel_count, header.offset_bytes), header


def _geometry(header: NiftiHeader) -> Geometry:
    return Geometry(header.shape, _FLIP @ header.affine_ras[:, _REVERSED])


def _open(content: bytes | memoryview, file_index: int) -> tuple[NiftiHeader, bytes | memoryview]:
    header = read_header(bytes(content[:LONGEST_HEADER_BYTES]), file_index=file_index)
    if len(content) != header.file_bytes:
        raise _malformed(f"{header.file_bytes} bytes", got=f"{len(content)} bytes", file_index=file_index)
    return header, content


def _inflate(content: bytes | memoryview, file_index: int) -> tuple[NiftiHeader, bytes]:
    header = read_header(GzipStream(content).read(LONGEST_HEADER_BYTES), file_index=file_index)
    if header.file_bytes > MAX_EXPANSION * len(content):
        raise _malformed(
            f"{header.file_bytes} bytes", got="fewer than its compressed bytes can hold", file_index=file_index
        )
    # From its beginning again, so that header and voxels need not be joined, which copies the volume. One byte more
    # finds what is too long, and lets the stream check its own digest.
    inflated = GzipStream(content).read(header.file_bytes + 1)
    if len(inflated) != header.file_bytes:
        got = f"{len(inflated)} bytes" if len(inflated) < header.file_bytes else "more"
        raise _malformed(f"{header.file_bytes} bytes", got=got, file_index=file_index)
    return header, inflated


def _check_shown(ends: tuple[Any, Any], *, file_index: int) -> None:  # Any: of the stored type
    # Told before another array of the volume's size is made. NaN and infinity are told by what follows.
    lowest, highest = ends
    if lowest == highest and np.isfinite(lowest):
        raise EmptyVolumeError(
            "The volume is empty",
            expected="a head",
            got=f"{lowest:g} in every voxel",
            remedy="export the series again",
            file_index=file_index,
        )


def _check_intensities(
    ends: tuple[Any, Any], header: NiftiHeader, *, file_index: int
) -> None:  # Any: of the stored type
    # Ends that are finite in float32 after scaling mean that everything between them is.
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.array(ends).astype(np.float32) * np.float32(header.slope)
        scaled += np.float32(header.intercept)
    if not np.isfinite(scaled).all():
        raise InvalidIntensityError(
            "A voxel's intensity is not usable",
            expected="finite intensities that float32 can hold",
            got="NaN, infinity or a number too large",
            remedy="replace these voxels, and export the series again",
            file_index=file_index,
        )


def _scale(stored: NDArray[Any], header: NiftiHeader, *, memory: VoxelMemory) -> Volume:  # Any: as in NiftiHeader
    voxels = memory(header.shape)
    out = voxels.reshape(-1)
    np.copyto(out, stored, casting="unsafe")
    if header.slope != 1.0:
        out *= np.float32(header.slope)
    if header.intercept:
        out += np.float32(header.intercept)
    return Volume(voxels, _geometry(header))


def write_nifti(
    voxels: NDArray[np.uint8] | NDArray[np.int16] | NDArray[np.float32],
    geometry: Geometry,
    *,
    slope: float = 1.0,
    forms: NiftiForms | None = None,
) -> bytes:
    """Write a volume as a compressed NIfTI-1 file with the shape and affine of the file its grid was read from.

    Args:
        voxels: (D, H, W), on the grid.
        geometry: The grid.
        slope: What a stored value is to be multiplied by when it is read.
        forms: How the file says where its voxels lie whose grid it is; None where that is no NIfTI.

    Raises:
        InternalError: The voxels do not fit the grid.
    """
    if voxels.shape != geometry.shape:
        raise InternalError(
            "Voxels do not fit the grid they are to be written on",
            expected=str(geometry.shape),
            got=str(voxels.shape),
            remedy="report it as a defect of brainmets",
        )
    header = _written_header(voxels.dtype, geometry, slope=slope, forms=forms)
    content = np.zeros(_OFFSET_BYTES + voxels.nbytes, dtype=np.uint8)
    content[: len(header.binaryblock)] = np.frombuffer(header.binaryblock, dtype=np.uint8)
    # NIfTI's first axis is its fastest; in C order it is our last.
    content[_OFFSET_BYTES:].view(voxels.dtype.newbyteorder("<")).reshape(voxels.shape)[...] = voxels
    return write_gzip(content.data)


def _written_header(
    stored_type: np.dtype[Any], geometry: Geometry, *, slope: float, forms: NiftiForms | None
) -> Nifti1Header:  # Any: one of three
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(stored_type)
    header.set_data_shape(geometry.shape[::-1])
    affine_ras = _FLIP @ geometry.affine[:, _REVERSED]
    # Both, because viewers differ in which they read; a qform cannot hold shears, and one without would contradict.
    header.set_qform(affine_ras, code=0 if geometry.is_sheared else SCANNER_CODE)
    header.set_sform(affine_ras, code=SCANNER_CODE)
    if forms is not None:
        _set_forms(header, forms)
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, 0.0)
    header["vox_offset"] = _OFFSET_BYTES
    header["descrip"] = DESCRIPTION
    return header


def _set_forms(header: Nifti1Header, forms: NiftiForms) -> None:
    header["sform_code"], header["qform_code"] = forms.sform_code, forms.qform_code
    header["pixdim"][:4] = forms.pixdim
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = forms.quaternion
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = forms.offset_mm


def _malformed(expected: str, *, got: str, file_index: int) -> BrainmetsError:
    return MalformedFileError(
        "The file is not whole",
        expected=expected,
        got=got,
        remedy="send the file again, or export it again if it is broken",
        file_index=file_index,
    )
