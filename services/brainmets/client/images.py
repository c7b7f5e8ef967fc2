"""Images in memory: what NumPy, nibabel and SimpleITK hold, as files to send; and results, as what they hold.

None of these libraries is needed by the client; each is used where the caller has it.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmets.client.errors import MissingLibraryError, StudyPathError
from brainmets.client.names import SEQUENCES
from brainmets.client.study_files import StudyFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

# Not compressed: the line to the service is seldom slower than gzip.
_SUFFIX = ".nii"
# NumPy's types that NIfTI lacks, and those that hold the same numbers.
_SAME_NUMBERS = {"bool": "uint8", "float16": "float32"}


def files_of_images(images: Mapping[str, Any]) -> tuple[StudyFile, ...]:
    """Return images as a study's files.

    Args:
        images: By sequence, `t1c` among them. Each is a nibabel NIfTI image, a SimpleITK image, or a pair of a NumPy
            array (I, J, K) and its affine (4, 4) from indices to RAS millimetres, as nibabel has them.

    Raises:
        StudyPathError: A sequence is unknown, or an image is none of these or no NIfTI file holds it.
        MissingLibraryError: Arrays need nibabel to be written, as images need their own library.
    """
    unknown = [sequence for sequence in images if sequence not in SEQUENCES]
    if unknown or "t1c" not in images:
        raise StudyPathError(
            f"expected images by sequence, t1c and any of {', '.join(SEQUENCES[1:])}; got {', '.join(images) or 'none'}"
        )
    return tuple(
        StudyFile(Path(f"{sequence}{_SUFFIX}"), sequence, content=_encode(sequence, images[sequence]))
        for sequence in SEQUENCES
        if sequence in images
    )


def _encode(sequence: str, image: Any) -> bytes:  # Any: an image of a library that may be absent
    # Others look alike: ITK's and VTK's images have a spacing, and FreeSurfer's are written as bytes that are no NIfTI.
    if hasattr(image, "GetSpacing") and isinstance(image, load_library("SimpleITK").Image):
        return _encode_simpleitk(image)
    if isinstance(image, tuple) and len(image) == 2:  # noqa: PLR2004 -- array, affine
        return _encode_pair(sequence, *image)
    if hasattr(image, "affine") and isinstance(image, load_library("nibabel").Nifti1Image):
        content: bytes = image.to_bytes()
        return content
    raise StudyPathError(
        f"expected {sequence} as a nibabel NIfTI image, a SimpleITK image or a pair (array, affine), "
        f"got {type(image).__name__}; load or convert it, as nibabel.load and nibabel.Nifti1Image.from_image do"
    )


def _encode_pair(sequence: str, voxels: Any, affine: Any) -> bytes:  # Any: as above
    nibabel, numpy = load_library("nibabel"), load_library("numpy")
    try:
        voxels = numpy.asarray(voxels)
        voxels = voxels.astype(_SAME_NUMBERS.get(voxels.dtype.name, voxels.dtype), copy=False)
        # The type is named, for nibabel writes whole numbers of 64 bits, which the service reads, only when told to.
        content: bytes = nibabel.Nifti1Image(voxels, numpy.asarray(affine, float), dtype=voxels.dtype).to_bytes()
    except (TypeError, ValueError, nibabel.spatialimages.HeaderDataError) as error:
        raise StudyPathError(
            f"expected {sequence} as an array of numbers (I, J, K) and an affine (4, 4), got others: {error}"
        ) from error
    return content


def _encode_simpleitk(image: Any) -> bytes:  # Any: as above
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{_SUFFIX}"
        load_library("SimpleITK").WriteImage(image, str(path))
        return path.read_bytes()


def decode_nibabel(content: bytes) -> Any:  # Any: as above
    """Return the bytes of a .nii.gz file as a nibabel image, its voxels read.

    Raises:
        MissingLibraryError: nibabel is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = _write(content, folder)
        image = load_library("nibabel").load(path)
        # The file goes with the folder: what is lazy must be read before.
        return type(image)(image.dataobj[...], image.affine, image.header)


def decode_simpleitk(content: bytes) -> Any:  # Any: as above
    """Return the bytes of a .nii.gz file as a SimpleITK image.

    Raises:
        MissingLibraryError: SimpleITK is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        return load_library("SimpleITK").ReadImage(str(_write(content, folder)))


def _write(content: bytes, folder: str) -> Path:
    path = Path(folder) / f"image{_SUFFIX}.gz"
    path.write_bytes(content)
    return path


def load_library(name: str) -> ModuleType:
    """Return a library that the client can do without.

    Raises:
        MissingLibraryError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(name) from error
