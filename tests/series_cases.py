"""Owns series as scanners of four vendors describe them, for the tests of the choice of sequences."""

from typing import Any

from brainmets.imaging.geometry import Geometry
from brainmets.imaging.series import SeriesAttributes
from imaging_cases import SAGITTAL, Shape, make_geometry

ORIGINAL = ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D")


def volume_grid(shape: Shape = (176, 256, 256), spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Geometry:
    """Return a sagittal grid."""
    return make_geometry(shape, spacing_mm=spacing_mm, directions=SAGITTAL)


def slice_grid(slices: int = 25, spacing_mm: float = 6.0) -> Geometry:
    """Return a grid of thick axial slices."""
    return make_geometry((slices, 320, 320), spacing_mm=(spacing_mm, 0.7, 0.7))


def series(number: int | None = None, **attributes: Any) -> SeriesAttributes:  # Any: the fields' own types
    """Return a series of a DICOM study that says nothing of itself but what is given."""
    given = {"file_index": 0, "geometry": volume_grid(), "modality": "MR"} | attributes
    return SeriesAttributes(series_number=number, **given)


def mprage(number: int | None = None, **attributes: Any) -> SeriesAttributes:  # Any: as above
    """Return Siemens' T1-weighted gradient echo with an inversion, of which nobody says anything."""
    times = {"repetition_time_ms": 2200.0, "echo_time_ms": 2.6, "inversion_time_ms": 900.0, "flip_angle_deg": 8.0}
    coded = {"scanning_sequence": ("GR", "IR"), "sequence_variant": ("SK", "SP", "MP"), "image_type": ORIGINAL}
    return series(number, **({"description": "t1_mprage_sag_p2_iso *tfl3d1_16ns"} | times | coded | attributes))


def turbo_spin_echo(number: int | None = None, **attributes: Any) -> SeriesAttributes:  # Any: as above
    """Return a T2-weighted turbo spin echo of thick slices."""
    times = {"repetition_time_ms": 5000.0, "echo_time_ms": 98.0, "flip_angle_deg": 150.0, "geometry": slice_grid()}
    coded = {"scanning_sequence": ("SE",), "sequence_variant": ("SK", "SP", "OSP"), "image_type": ORIGINAL}
    return series(number, **({"description": "t2_tse_tra *tse2d1_18"} | times | coded | attributes))


def flair(number: int | None = None, **attributes: Any) -> SeriesAttributes:  # Any: as above
    """Return a FLAIR of thick slices."""
    times = {"repetition_time_ms": 9000.0, "echo_time_ms": 94.0, "inversion_time_ms": 2500.0, "geometry": slice_grid()}
    coded = {"scanning_sequence": ("SE", "IR"), "sequence_variant": ("SK", "SP", "MP"), "image_type": ORIGINAL}
    return series(number, **({"description": "t2_tirm_tra_dark-fluid *tir2d1_16"} | times | coded | attributes))
