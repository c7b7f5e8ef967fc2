"""Owns found against true: what a segmentation made of the lesions that were hidden in the demonstration study."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from local.demonstration import Demonstration, ImplantedLesion
from local.errors import StackError

# As the service counts lesions: voxels that touch by a corner belong together.
_CONNECTIVITY = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class LesionOutcome:
    """What became of one hidden lesion.

    Attributes:
        true_mm3: Its volume.
        found_mm3: Volume of the found lesions that touch it; 0 when it was missed.
        dice: Agreement of both, in [0, 1].
    """

    lesion: ImplantedLesion
    true_mm3: float
    found_mm3: float
    dice: float

    @property
    def was_found(self) -> bool:
        """Whether any of it was found."""
        return self.found_mm3 > 0

    @property
    def found_diameter_mm(self) -> float:
        """Diameter of a sphere of the found volume."""
        return float((6 * self.found_mm3 / np.pi) ** (1 / 3))


@dataclass(frozen=True, slots=True)
class Comparison:
    """All hidden lesions' outcomes, and the volumes of what was found where none is, mm³."""

    outcomes: tuple[LesionOutcome, ...]
    false_positives_mm3: tuple[float, ...]


def print_comparison(demonstration: Demonstration, mask: Path) -> None:
    """Compare a mask with the demonstration's truth and print that."""
    comparison = compare(demonstration, mask)
    console = Console()
    console.print(comparison_table(comparison))
    console.print(false_positive_words(comparison))


def compare(demonstration: Demonstration, mask: Path) -> Comparison:
    """Return how a mask file compares with the truth.

    Raises:
        StackError: The mask lies on another grid than the study.
    """
    truth_image = Nifti1Image.from_filename(demonstration.mask)
    found_image = Nifti1Image.from_filename(mask)
    if found_image.shape != truth_image.shape or not np.allclose(found_image.affine, truth_image.affine, atol=1e-3):
        raise StackError(f"{mask} does not lie on the demonstration study's grid.")
    truth = np.asarray(truth_image.dataobj)
    found, count = ndimage.label(np.asarray(found_image.dataobj) > 0, structure=_CONNECTIVITY)
    voxel_mm3 = abs(float(np.linalg.det(truth_image.affine[:3, :3])))
    sizes_mm3 = np.bincount(found.ravel(), minlength=count + 1) * voxel_mm3
    outcomes = tuple(_outcome(lesion, truth == lesion.label, found, voxel_mm3) for lesion in demonstration.lesions)
    false = set(range(1, count + 1)) - set(np.unique(found[truth > 0]).tolist())
    return Comparison(outcomes, tuple(float(sizes_mm3[label]) for label in sorted(false)))


def _outcome(
    lesion: ImplantedLesion, true: NDArray[np.bool_], found: NDArray[np.integer], voxel_mm3: float
) -> LesionOutcome:
    touching = np.isin(found, np.setdiff1d(np.unique(found[true]), [0]))
    true_voxels, found_voxels = int(true.sum()), int(touching.sum())
    dice = 2 * int((true & touching).sum()) / (true_voxels + found_voxels)
    return LesionOutcome(lesion, true_voxels * voxel_mm3, found_voxels * voxel_mm3, dice)


def comparison_table(comparison: Comparison) -> Table:
    """Lay a comparison out, largest lesion first."""
    table = Table(title="Hidden lesions of the demonstration study, found against true", title_justify="left")
    for heading in ("#", "Kind", "Diameter mm", "Found", "Found Ø mm", "True mL", "Found mL", "Dice"):
        table.add_column(heading, justify="left" if heading in {"Kind", "Found"} else "right")
    for outcome in comparison.outcomes:
        lesion = outcome.lesion
        row = (str(lesion.label), lesion.kind, f"{lesion.diameter_mm:.0f}")
        if outcome.was_found:
            found = ("yes", f"{outcome.found_diameter_mm:.1f}")
            volumes = (f"{outcome.true_mm3 / 1000:.2f}", f"{outcome.found_mm3 / 1000:.2f}", f"{outcome.dice:.2f}")
            table.add_row(*row, *found, *volumes)
        else:
            table.add_row(*row, "no", "", f"{outcome.true_mm3 / 1000:.2f}", "", "")
    return table


def false_positive_words(comparison: Comparison) -> str:
    """Tell in a sentence what was found where nothing is hidden."""
    volumes = comparison.false_positives_mm3
    if not volumes:
        return "Nothing was found where no lesion is hidden."
    sizes = ", ".join(f"{volume_mm3 / 1000:.2f}" for volume_mm3 in sorted(volumes, reverse=True))
    return f"Found where no lesion is hidden: {len(volumes)} ({sizes} mL)."
