"""Owns labelled studies: real ones in the BraTS folder layout, and synthetic ones in a head kept out of training."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.nifti import read_label_map, read_nifti
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import BrainmetsError, InvalidArgumentError
from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.resampling import axial_grid, resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study
from brainmets.imaging.volume import Volume
from brainmets.training.backgrounds import SPACING_MM, Background, complete_sequences, find_middle, mirror_half
from brainmets.training.deformation import deform_background
from brainmets.training.degradation import degrade, disturb, vary_contrast
from brainmets.training.lesions import draw_lesion_plans
from brainmets.training.skull import SKULL_MARGIN_MM, paint_skull
from brainmets.training.studies import AXIAL_AFFINE, implant_lesions

# Endings of the sequences' file names in the BraTS releases, before ".nii.gz".
ENDINGS = {
    Sequence.T1C: ("t1c", "t1ce"),
    Sequence.T1N: ("t1n", "t1"),
    Sequence.T2W: ("t2w", "t2"),
    Sequence.T2F: ("t2f", "flair"),
}
# Labels of the tumour core in the BraTS releases, necrosis and enhancing tumour: until 2021, whose files end with
# "_seg", and since, where 4 is the cavity of a resection.
CORE_LABELS_UNTIL_2021 = (1, 4)
CORE_LABELS = (1, 3)
ENDING_UNTIL_2021 = "_seg.nii.gz"
# A tumour's border is blurred over some columns of 1 mm beyond what is outlined.
TUMOUR_MARGIN_COLUMNS = 3
# Less of a head than this on one side is none any more.
MIN_HALF_FRACTION = 0.3
# Oedema is 2. Anything else in a label map is not understood.
KNOWN_LABELS = (0, 1, 2, 3, 4)


@dataclass(frozen=True, slots=True, eq=False)
class StudyTruth:
    """What is known of a study, without its images: of many studies, those would fill the memory.

    Attributes:
        name: As the labelled study's.
        reference: Likewise.
        kind: Likewise.
    """

    name: str
    reference: LesionMask
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class LabelledStudy:
    """A study with its reference on the grid of the T1c.

    Attributes:
        name: What it is called in a report.
        study: Its sequences as acquired.
        reference: Its lesions.
        kind: How it came about; studies of different kinds have different faults.
    """

    name: str
    study: Study
    reference: LesionMask
    kind: str = "real"

    @property
    def truth(self) -> StudyTruth:
        """What is known of it."""
        return StudyTruth(self.name, self.reference, self.kind)


def load_labelled_study(
    folder: Path, *, reference: Path | None = None, labels: tuple[int, ...] | None = None
) -> LabelledStudy:
    """Read a study's folder.

    Args:
        folder: It holds files named `*-t1c.nii.gz` and so on, of any subset that has a T1c.
        reference: The label map; `*seg.nii.gz` in the folder when left out.
        labels: Its values that are tumour core, none of which means a study without lesions. Left out, they are those
            of the BraTS release whose name the file has.

    Raises:
        StudyError: A file cannot be read, or there is no T1c.
        InvalidArgumentError: There is no label map, it lies on another grid than the T1c, or holds unknown labels.
    """
    try:
        return _read_study(folder, reference, labels)
    except BrainmetsError as error:
        # Of hundreds, which one it was.
        raise type(error)(
            f"Study {folder.name}: {error.message}", expected=error.expected, got=error.got, remedy=error.remedy
        ) from error


def _read_study(folder: Path, reference: Path | None, labels: tuple[int, ...] | None) -> LabelledStudy:
    volumes = {
        sequence: read_nifti(path.read_bytes(), file_index=index)
        for index, (sequence, path) in enumerate(_find_sequences(folder))
    }
    study = Study(volumes)
    label_path = reference or next(iter(sorted(folder.glob("*seg.nii.gz"))), None)
    if label_path is None:
        raise InvalidArgumentError(
            "The study has no reference",
            expected="a label map *seg.nii.gz in the folder",
            got="none",
            remedy="name it with --reference",
        )
    label_map = read_label_map(label_path.read_bytes(), file_index=len(volumes))
    if not label_map.geometry.matches(study.t1c.geometry):
        raise InvalidArgumentError(
            "The reference lies on another grid than the T1c",
            expected=f"{study.t1c.geometry.shape} and the T1c's affine",
            got=f"{label_map.geometry.shape}",
            remedy="resample the label map onto the T1c's grid",
        )
    if not np.isin(label_map.voxels, KNOWN_LABELS).all():
        unknown = np.setdiff1d(label_map.voxels, KNOWN_LABELS)
        raise InvalidArgumentError(
            "The reference holds labels that are not known",
            expected=f"whole numbers of {KNOWN_LABELS}",
            got=", ".join(f"{value:g}" for value in unknown[:5]),
            remedy="map the labels to those of BraTS first",
        )
    if labels is None:
        labels = CORE_LABELS_UNTIL_2021 if label_path.name.endswith(ENDING_UNTIL_2021) else CORE_LABELS
    core = np.isin(label_map.voxels, labels)
    return LabelledStudy(folder.name, study, LesionMask(core, study.t1c.geometry))


def _find_sequences(folder: Path) -> Iterator[tuple[Sequence, Path]]:
    for sequence, endings in ENDINGS.items():
        for path in sorted(folder.glob("*.nii.gz")):
            if path.name.removesuffix(".nii.gz").lower().replace("_", "-").rsplit("-", 1)[-1] in endings:
                yield sequence, path
                break


def make_synthetic_studies(
    held_out: LabelledStudy, *, count: int, seed: int, as_acquired: bool = False
) -> Iterator[LabelledStudy]:
    """Yield studies of implanted lesions in the half of a held-out head that is free of tumour.

    Every second one has a simulated skull. The anatomy was never trained on; the generator of the lesions was.

    Args:
        held_out: Whose anatomy is used, bent anew for each study.
        count: Number of studies.
        seed: Draws them.
        as_acquired: Whether the head's own contrast, noise and sharpness are left as they are. Else they vary as in
            training: thick slices, motion, ringing, coils, blur and noise, in which small lesions may drown.
    """
    background = healthy_half(held_out)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        skull = index % 2 == 1
        present = (True,) * len(Sequence) if index % 4 < 2 else (True, False, False, False)  # noqa: PLR2004 -- half
        margin_mm = SKULL_MARGIN_MM if skull else 0
        head = deform_background(background, rng, margin_mm=margin_mm, present=present)
        if not as_acquired:
            vary_contrast(head, rng)
        implant_lesions(head, draw_lesion_plans(rng), rng=rng)
        if skull:
            paint_skull(head, enhanced=True, rng=rng)
        if not as_acquired:
            disturb(head, rng)
            degrade(head, rng)
        geometry = Geometry(head.shape, AXIAL_AFFINE)
        volumes = {
            sequence: Volume(np.ascontiguousarray(head.voxels[channel]), geometry)
            for channel, sequence in enumerate(Sequence)
            if present[channel]
        }
        kind = "synthetic-as-acquired" if as_acquired else "synthetic"
        name = f"{held_out.name}/{kind}-{index}{'-skull' if skull else ''}"
        yield LabelledStudy(name, Study(volumes), LesionMask(head.target, geometry), kind)


def healthy_half(held_out: LabelledStudy) -> Background:
    """Return the head made of the half of a held-out head that is free of tumour, and its mirror image.

    The mirror stands in the middle of the head, or beside a tumour that reaches beyond: what is left of one would be a
    lesion that no reference knows.

    Raises:
        InvalidArgumentError: Both halves hold tumour, so that too little would be left of either.
    """
    grid = axial_grid(held_out.study.t1c.geometry, spacing_mm=SPACING_MM)
    volumes = {sequence: resample_volume(volume, grid) for sequence, volume in held_out.study.volumes.items()}
    core = resample_volume(
        Volume(held_out.reference.voxels.astype(np.float32), held_out.reference.geometry), grid
    ).voxels
    brain = find_foreground(volumes[Sequence.T1C])
    box = find_bounding_box(brain)
    assert box is not None  # noqa: S101 -- a foreground is never empty
    voxels = complete_sequences({sequence: volume.voxels for sequence, volume in volumes.items()}, brain) * brain
    whole = Background(
        name=held_out.name,
        voxels=np.ascontiguousarray(voxels[:, *box.slices]),
        brain=brain[box.slices].astype(np.float32),
        acquired=tuple(sequence in volumes for sequence in Sequence),
        enhanced=True,
        stripped=True,
    )
    from_left, middle = _place_mirror(find_middle(whole.brain), core[box.slices] > 0.0)
    return mirror_half(whole, from_left=from_left, middle=middle)


def _place_mirror(middle: int, core: NDArray[np.bool_]) -> tuple[bool, int]:
    """Return which half of a head (D, H, W) is clear of its tumour's core, the left one or not, and where it ends."""
    columns = np.flatnonzero(core.any(axis=(0, 1)))
    if not len(columns):
        return True, middle
    width = core.shape[2]
    right = min(middle, int(columns[0]) - TUMOUR_MARGIN_COLUMNS)
    left = max(middle, int(columns[-1]) + 1 + TUMOUR_MARGIN_COLUMNS)
    if max(right, width - left) < width * MIN_HALF_FRACTION:
        raise InvalidArgumentError(
            "The held-out head has tumour in both halves",
            expected=f"a side with {MIN_HALF_FRACTION:.0%} of the head's width free of it",
            got=f"{max(right, width - left) / width:.0%}",
            remedy="hold out a head with tumour on one side",
        )
    return (True, left) if width - left > right else (False, right)
