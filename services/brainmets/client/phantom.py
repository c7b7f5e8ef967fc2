"""Owns the phantom: a drawn head with one known lesion, made anew from a number, without anything of a person.

Plain Python, because the client carries no array library; a quarter of a second for 326 thousand voxels.
"""

from __future__ import annotations

import math
import random
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from brainmets.client.study_files import StudyFile

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACING_MM = 2.0
# A small brain without a skull, which is what the networks learned most from; its half axes along LPS.
HALF_AXES_MM = (52.0, 64.0, 48.0)
# Air around it, as a factor of the half axes.
REACH = 1.25
# Brain, ventricles, and a lesion after contrast; noise is a standard deviation.
BRAIN, VENTRICLE, LESION, NOISE = 600.0, 240.0, 1100.0, 8.0
# Folds, as a fraction of the brain, with wave lengths along LPS, mm.
FOLDS = 0.02
FOLD_WAVES_MM = (7.0, 9.0, 8.0)
# More than a hundredth of the brain, so that most of it stays above the percentile that normalisation clips to.
LESION_DIAMETER_MM = 26.0
# From the middle, LPS; on the left. On the right it is the mirror image.
LESION_MM = (26.0, 16.0, 10.0)
# NIfTI-1: sizes, places of the fields that are set, and codes.
_HEADER_BYTES, _VOXELS_AT = 348, 352
_INT16, _MILLIMETRES, _SCANNER = 4, 2, 1


@dataclass(frozen=True)
class Phantom:
    """A head of which everything is known.

    Attributes:
        seed: Draws the noise, so that no two are the same bytes, and with it the side: even ones are left.
    """

    seed: int

    @property
    def side(self) -> str:
        """The patient's side that the lesion lies on."""
        return "right" if self.seed % 2 else "left"

    @property
    def centroid_mm(self) -> tuple[float, float, float]:
        """The lesion's middle, LPS mm."""
        x_mm, y_mm, z_mm = LESION_MM
        return (-x_mm if self.side == "right" else x_mm, y_mm, z_mm)

    @property
    def volume_mm3(self) -> float:
        """The lesion's volume, mm³."""
        return math.pi / 6 * LESION_DIAMETER_MM**3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the axes of the file."""
        columns, rows, slices = (len(axis) for axis in self._axes_mm)
        return (columns, rows, slices)

    @property
    def affine_ras(self) -> tuple[tuple[float, ...], ...]:
        """The first three rows of the matrix from voxel indices to RAS mm."""
        (x_mm, *_), (y_mm, *_), (z_mm, *_) = self._axes_mm
        # The axes rise towards LPS.
        return ((-SPACING_MM, 0, 0, -x_mm), (0, -SPACING_MM, 0, -y_mm), (0, 0, SPACING_MM, z_mm))

    def study(self) -> tuple[StudyFile, ...]:
        """Return the phantom as a study to send: one T1c."""
        voxels = [round(voxel) for voxel in self._voxels()]
        content = self._header() + struct.pack(f"<{len(voxels)}h", *voxels)
        return (StudyFile(Path("phantom.nii"), "t1c", content=content),)

    @cached_property
    def _axes_mm(self) -> tuple[tuple[float, ...], ...]:
        """The places of the voxels along each axis, LPS mm."""
        counts = (int(2 * REACH * half_mm / SPACING_MM) + 1 for half_mm in HALF_AXES_MM)
        return tuple(tuple(SPACING_MM * (index - (count - 1) / 2) for index in range(count)) for count in counts)

    def _voxels(self) -> Iterator[float]:
        """Yield intensities in the order of the file: columns, rows, slices."""
        noise = random.Random(self.seed)  # noqa: S311 -- draws noise, guards nothing
        columns_mm, rows_mm, slices_mm = self._axes_mm
        half_x_mm, half_y_mm, half_z_mm = HALF_AXES_MM
        for z_mm in slices_mm:
            for y_mm in rows_mm:
                across = (y_mm / half_y_mm) ** 2 + (z_mm / half_z_mm) ** 2
                for x_mm in columns_mm:
                    inside = (x_mm / half_x_mm) ** 2 + across < 1.0
                    yield max(1.0, noise.gauss(self._tissue(x_mm, y_mm, z_mm), NOISE)) if inside else 0.0

    def _tissue(self, x_mm: float, y_mm: float, z_mm: float) -> float:
        """Return the intensity at a place in the brain, without noise."""
        if math.dist((x_mm, y_mm, z_mm), self.centroid_mm) < LESION_DIAMETER_MM / 2:
            return LESION
        if ((abs(x_mm) - 8.0) / 6.0) ** 2 + (y_mm / 20.0) ** 2 + (z_mm / 10.0) ** 2 < 1.0:
            return VENTRICLE
        waves = (place_mm / wave_mm for place_mm, wave_mm in zip((x_mm, y_mm, z_mm), FOLD_WAVES_MM, strict=True))
        return BRAIN * (1.0 + FOLDS * math.prod(math.sin(wave) for wave in waves))

    def _header(self) -> bytes:
        """Return a NIfTI-1 header, with the flag that no extension follows."""
        header = bytearray(_VOXELS_AT)
        struct.pack_into("<i", header, 0, _HEADER_BYTES)
        struct.pack_into("<8h", header, 40, 3, *self.shape, 1, 1, 1, 1)
        struct.pack_into("<2h", header, 70, _INT16, 16)
        struct.pack_into("<8f", header, 76, 1, *3 * [SPACING_MM], *4 * [0])
        struct.pack_into("<2f", header, 108, _VOXELS_AT, 1)
        struct.pack_into("<B", header, 123, _MILLIMETRES)
        struct.pack_into("<2h", header, 252, 0, _SCANNER)
        struct.pack_into("<12f", header, 280, *(number for row in self.affine_ras for number in row))
        header[344:348] = b"n+1\0"
        return bytes(header)
