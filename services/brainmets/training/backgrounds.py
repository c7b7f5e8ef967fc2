"""Owns the real heads that lesions are implanted into: which are used, what of them, and how they are read."""

from collections.abc import Mapping
from collections.abc import Sequence as Sequences
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.errors import InvalidArgumentError, InvalidIntensityError
from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.resampling import axial_grid, resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from brainmets.training.fields import Floats
from brainmets.training.head_preparation import BRAIN_NAME, HEAD_NAME
from brainmets.training.heads import CHANNELS, T1C, T1N, T2F, T2W

SPACING_MM = 1.0
# Medians of CSF, grey and white matter in T1 brain units, and what they are in T2w and FLAIR: textbook contrasts.
T1_LEVELS = (0.0, 0.35, 0.8, 1.1, 1.6)
T2W_LEVELS = (3.0, 2.7, 1.2, 0.8, 0.7)
T2F_LEVELS = (0.25, 0.4, 1.15, 0.9, 0.85)
# In T1 without contrast medium nothing of the brain is brighter than this.
UNENHANCED_CEILING = 1.4


class Part(Enum):
    """What of a head is free of disease."""

    WHOLE = auto()
    RIGHT_HALF = auto()
    LEFT_HALF = auto()


@dataclass(frozen=True, slots=True)
class Source:
    """A head on disk.

    Attributes:
        folder: Its folder below a data directory.
        files: Its sequences' files in that folder. A T1 without contrast medium is named as t1n alone.
        parts: What of it is used; never what is diseased.
        brain_file: A volume that is zero outside the brain; none when the head was stripped of its skull.
    """

    folder: str
    files: Mapping[Sequence, str]
    parts: tuple[Part, ...] = tuple(Part)
    brain_file: str | None = None


_GLI = "BraTS-GLI-00001-000"
TRAINING_SOURCES = (
    Source("contrast_normal_mr_gd", {Sequence.T1C: "MR_Gd.nii.gz"}),
    Source("mni152", {Sequence.T1N: "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"}),
    Source(
        "glioma_brats_gli_00001",
        {sequence: f"{_GLI}-{sequence}.nii.gz" for sequence in Sequence},
        parts=(Part.RIGHT_HALF,),
    ),
    Source("colin27", {Sequence.T1N: "ch2.nii.gz"}, brain_file="ch2bet.nii.gz"),
    # Down to the neck: its halves would say nothing new and cost much.
    Source("studyforrest", {Sequence.T1N: HEAD_NAME}, parts=(Part.WHOLE,), brain_file=BRAIN_NAME),
)


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A head that lesions are implanted into, axial, 1 mm, cropped.

    Attributes:
        name: Its source's folder.
        voxels: (4, D, H, W), float32 in brain units, those that were not acquired made up from T1.
        brain: (D, H, W), 1 in the brain, else 0.
        acquired: Which sequences are real.
        enhanced: Whether its T1c is real.
        stripped: Whether it has no skull.
        target: (D, H, W), the lesions that it brings; none in a head free of metastases.
    """

    name: str
    voxels: Floats
    brain: Floats
    acquired: tuple[bool, ...]
    enhanced: bool
    stripped: bool
    target: NDArray[np.bool_] | None = None

    @property
    def own_target(self) -> NDArray[np.bool_]:
        """The lesions (D, H, W) that it brings; none anywhere in a head free of metastases."""
        return np.zeros(self.brain.shape, dtype=np.bool_) if self.target is None else self.target


def load_backgrounds(directories: Sequences[Path]) -> tuple[Background, ...]:
    """Return every training head that one of the directories holds; halves count as heads of their own.

    Raises:
        InvalidArgumentError: They hold none.
    """
    backgrounds: list[Background] = []
    for source in TRAINING_SOURCES:
        for directory in directories:
            if (directory / source.folder).is_dir():
                backgrounds += _load_source(directory / source.folder, source)
                break
    if not backgrounds:
        raise InvalidArgumentError(
            "There is nothing to train on",
            expected="a folder named " + ", ".join(source.folder for source in TRAINING_SOURCES),
            got=f"{len(directories)} directories without any",
            remedy="name the directory that holds them",
        )
    return tuple(backgrounds)


def _load_source(folder: Path, source: Source) -> list[Background]:
    volumes = {sequence: load_axial(folder / name) for sequence, name in source.files.items()}
    first = next(iter(volumes.values()))
    brain = find_foreground(first) if source.brain_file is None else load_axial(folder / source.brain_file).voxels > 0.0
    voxels = complete_sequences({sequence: volume.voxels for sequence, volume in volumes.items()}, brain)
    if source.brain_file is None:
        voxels *= brain
    head = find_foreground(first)
    box = find_bounding_box(head | brain)
    assert box is not None  # noqa: S101 -- a foreground is never empty
    whole = Background(
        name=source.folder,
        voxels=np.ascontiguousarray(voxels[:, *box.slices]),
        brain=brain[box.slices].astype(np.float32),
        acquired=tuple(sequence in volumes for sequence in Sequence),
        enhanced=Sequence.T1C in volumes,
        stripped=source.brain_file is None,
    )
    return [_take_part(whole, part) for part in source.parts]


def _take_part(whole: Background, part: Part) -> Background:
    # Columns run from the patient's right to the left.
    return whole if part is Part.WHOLE else mirror_half(whole, from_left=part is Part.LEFT_HALF)


def load_axial(path: Path) -> Volume:
    """Return a NIfTI file's volume on its axial grid of 1 mm.

    Raises:
        StudyError: The file cannot be read.
    """
    volume = read_nifti(path.read_bytes(), file_index=0)
    return resample_volume(volume, axial_grid(volume.geometry, spacing_mm=SPACING_MM))


def _measure_level(sequence: Sequence, inside: Floats) -> float:
    """Return a brain's median intensity, its unit."""
    level = float(np.median(inside))
    if level <= 0.0:
        raise InvalidIntensityError(
            f"The brain of the {sequence} has no intensity to measure others by",
            expected="intensities as a scanner gives them, the brain's median above 0",
            got=f"a median of {level:g}",
            remedy="take the images before they were normalised",
        )
    return level


def complete_sequences(volumes: Mapping[Sequence, Floats], brain: NDArray[np.bool_]) -> Floats:
    """Return all four sequences (4, D, H, W) in brain units, those that are missing made up from T1."""
    scaled = {
        sequence: np.maximum(voxels / _measure_level(sequence, voxels[brain]), 0.0).astype(np.float32)
        for sequence, voxels in volumes.items()
    }
    t1 = scaled[Sequence.T1N] if Sequence.T1N in scaled else scaled[Sequence.T1C]
    unenhanced = np.minimum(t1, UNENHANCED_CEILING) if Sequence.T1N not in scaled else t1
    voxels = np.zeros((CHANNELS, *brain.shape), dtype=np.float32)
    voxels[T1C] = scaled.get(Sequence.T1C, t1)
    voxels[T1N] = unenhanced
    voxels[T2W] = scaled.get(Sequence.T2W, _imitate(unenhanced, brain, levels=T2W_LEVELS))
    voxels[T2F] = scaled.get(Sequence.T2F, _imitate(unenhanced, brain, levels=T2F_LEVELS))
    return voxels


def _imitate(t1: Floats, brain: NDArray[np.bool_], *, levels: tuple[float, ...]) -> Floats:
    """Return another contrast: the tissues' own inside the brain, T1's outside, where dark is bone and not CSF."""
    return np.where(brain, np.interp(t1, T1_LEVELS, levels), 0.7 * t1).astype(np.float32)


def mirror_half(background: Background, *, from_left: bool, middle: int | None = None) -> Background:
    """Return the head made of one of its halves and that half's mirror image.

    Args:
        background: The head.
        from_left: Whether its left half is taken.
        middle: The column that a mirror stands on; where its outline is most symmetrical when left out.
    """
    middle = find_middle(background.brain) if middle is None else middle
    if from_left:
        return _mirrored(background, half=slice(middle, None), flipped_first=True, suffix="left")
    return _mirrored(background, half=slice(None, middle), flipped_first=False, suffix="right")


def _mirrored(background: Background, *, half: slice, flipped_first: bool, suffix: str) -> Background:
    def join(voxels: Floats) -> Floats:
        part = voxels[..., half]
        pair = (part[..., ::-1], part) if flipped_first else (part, part[..., ::-1])
        return np.concatenate(pair, axis=-1)

    return Background(
        name=f"{background.name}/{suffix}",
        voxels=join(background.voxels),
        brain=join(background.brain),
        acquired=background.acquired,
        enhanced=background.enhanced,
        stripped=background.stripped,
    )


def find_middle(brain: Floats) -> int:
    """Return the column about which a brain's outline (D, H, W) is most nearly its own mirror image."""
    guess = int(np.flatnonzero(brain.any(axis=(0, 1))).mean())

    def mismatch(middle: int) -> float:
        reach = min(middle, brain.shape[2] - middle)
        left, right = brain[..., middle - reach : middle], brain[..., middle : middle + reach][..., ::-1]
        return float(np.abs(left - right).mean())

    return min(range(guess - 6, guess + 7), key=mismatch)
