"""Owns how a NIfTI file says where its voxels lie, so that what is written on its grid says it in the same words."""

import math
from dataclasses import dataclass

# NIfTI's codes of coordinates: 0 says that a form is not told, the highest that it is another template's.
MAX_CODE = 5
SCANNER_CODE = 1


@dataclass(frozen=True, slots=True)
class NiftiForms:
    """The fields of a header that place its voxels, but for the sform's numbers, which a `Geometry` holds.

    Sform and qform may contradict each other, and viewers differ in which they go by.

    Attributes:
        sform_code: What the sform's coordinates are; 0: it is not told.
        qform_code: What the qform's are; 0: it is not told, or cannot be used.
        pixdim: Handedness (1 or -1), and the spacing of columns, rows and slices, mm.
        quaternion: (b, c, d) of the qform's rotation.
        offset_mm: Where the qform puts the first voxel, RAS.

    Raises:
        ValueError: A code is unknown, or a number is not finite.
    """

    sform_code: int
    qform_code: int
    pixdim: tuple[float, float, float, float]
    quaternion: tuple[float, float, float] = (0.0, 0.0, 0.0)
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        known = 0 <= min(self.sform_code, self.qform_code) <= max(self.sform_code, self.qform_code) <= MAX_CODE
        if not (known and all(map(math.isfinite, (*self.pixdim, *self.quaternion, *self.offset_mm)))):
            message = f"forms of codes 0 to {MAX_CODE} and finite numbers are needed"
            raise ValueError(message)
