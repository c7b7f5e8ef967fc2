"""Owns the lesion table: one row a lesion, for spreadsheets and statistics programs."""

import csv
import io

from brainmets.imaging.lesion import Lesion
from brainmets.imaging.result import INTENDED_USE

# Units stand in the names. A comment line before the header would be taken for data by most programs, so that what
# the table may be used for is a column of its own.
COLUMNS = (
    "lesion",
    "side",
    "volume_mm3",
    "longest_axial_diameter_mm",
    "perpendicular_axial_diameter_mm",
    "longest_diameter_mm",
    "centroid_left_mm",
    "centroid_posterior_mm",
    "centroid_superior_mm",
    "mean_probability",
    "max_probability",
    "first_slice",
    "first_row",
    "first_column",
    "last_slice",
    "last_row",
    "last_column",
    "intended_use",
)


def write_lesion_table(lesions: tuple[Lesion, ...]) -> bytes:
    """Write lesions as comma-separated values, UTF-8; the header alone when there are none.

    Centroids are LPS millimetres. Voxel indices count from 0 on the acquired grid, first and last inclusive.

    References:
        RFC 4180, Common Format and MIME Type for CSV Files.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    rows.writerows(_row(lesion) for lesion in lesions)
    return text.getvalue().encode()


def _row(lesion: Lesion) -> tuple[object, ...]:
    return (
        lesion.label,
        lesion.side,
        f"{lesion.volume_mm3:.1f}",
        f"{lesion.longest_axial_diameter_mm:.2f}",
        f"{lesion.perpendicular_axial_diameter_mm:.2f}",
        f"{lesion.longest_diameter_mm:.2f}",
        *(f"{coordinate_mm:.2f}" for coordinate_mm in lesion.centroid_mm),
        f"{lesion.mean_probability:.4f}",
        f"{lesion.max_probability:.4f}",
        *lesion.bounding_box.start,
        *(stop - 1 for stop in lesion.bounding_box.stop),
        INTENDED_USE,
    )
