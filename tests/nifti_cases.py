"""Owns small NIfTI files with known voxels, and files with one fault each."""

import gzip
from collections.abc import Callable

import nibabel
import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

SHAPE = (6, 5, 4)  # columns, rows, slices
HEADER_BYTES = 348


def count_voxels(shape: tuple[int, ...] = SHAPE, dtype: type[np.generic] = np.int16) -> NDArray[np.generic]:
    """Return voxels in NIfTI's order (column, row, slice), each with a value of its own."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nifti_file(
    voxels: NDArray[np.generic] | None = None,
    affine_ras: NDArray[np.float64] | None = None,
    *,
    version: int = 1,
) -> bytes:
    """Return an uncompressed file, 1 mm at the origin unless told otherwise."""
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(count_voxels() if voxels is None else voxels, np.eye(4) if affine_ras is None else affine_ras)
    content: bytes = image.to_bytes()
    return content


def edited(change: Callable[[Nifti1Header], None], content: bytes | None = None) -> bytes:
    """Return a file whose header was changed, sound or not, and nothing else."""
    whole = content or nifti_file()
    header = Nifti1Header(whole[:HEADER_BYTES], check=False)
    change(header)
    changed: bytes = header.binaryblock
    return changed + whole[HEADER_BYTES:]


def with_fields(**fields: object) -> bytes:
    """Return a file whose header's fields were set, as raw as they are."""

    def change(header: Nifti1Header) -> None:
        for name, value in fields.items():
            header[name] = value

    return edited(change)


def with_entry(field: str, position: int, value: float) -> bytes:
    """Return a file with one number of a header's list changed."""

    def change(header: Nifti1Header) -> None:
        header[field][position] = value

    return edited(change)


def compressed(content: bytes) -> bytes:
    """Return the bytes as a gzip stream."""
    return gzip.compress(content, 1)
