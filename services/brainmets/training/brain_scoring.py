"""Owns the score of brain masks on whole heads: how well they fit, what they drop, and whether a lesion is lost.

The brain's outline is compared on voxels of 2 mm with one that has the served margin as well.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.brain_mask import BrainMask
from brainmets.imaging.brain_network import BrainNetwork
from brainmets.imaging.evaluation import dice
from brainmets.imaging.foreground import block_means, find_foreground
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import MARGIN_MM, HeadOutline, outline_head
from brainmets.imaging.lesions import InstanceMap, LesionMask, drop_outside_brain, find_lesions
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.resampling import axial_grid, resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy, Study, align_study
from brainmets.imaging.surface_distance import hausdorff_95_mm
from brainmets.imaging.volume import Volume
from brainmets.training.backgrounds import SPACING_MM, complete_sequences
from brainmets.training.brain_heads import SOURCE_MM, BrainHead, Kind, close_gaps, grow, refine_outline
from brainmets.training.degradation import degrade, vary_contrast
from brainmets.training.fields import chance
from brainmets.training.head_preparation import BRAIN_NAME
from brainmets.training.heads import CHANNELS, HALF, T1C, Head
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.scoring import Scorer
from brainmets.training.skull import SKULL_MARGIN_MM, paint_skull
from brainmets.training.studies import AXIAL_AFFINE


@dataclass(frozen=True, slots=True, eq=False)
class WholeHead:
    """A head with its skull.

    Attributes:
        labelled: The study, with its lesions, if it has any.
        brain: (d, h, w), the brain on voxels of 2 mm of the aligned T1c; empty where nobody outlined it.
    """

    labelled: LabelledStudy
    brain: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskScore:
    """How well a brain was found.

    Attributes:
        head: The head's name.
        brain_ml: Volume of what was found, with its margin.
        dice: Agreement with the true brain and its margin; NaN where nobody outlined it, as for the next two.
        surface_95_mm: Distance of both surfaces, 95th percentile.
        missed_fraction: Share of the true brain, without a margin, that was not found.
        seconds: Time that it took, the head's own outline included.
    """

    head: str
    brain_ml: float
    dice: float
    surface_95_mm: float
    missed_fraction: float
    seconds: float


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """What networks found in a head.

    Attributes:
        lesions: Lesions of the reference.
        found: Those that a candidate touches.
        false_candidates: Candidates that touch none.
        outside: Candidates outside of the true brain and its margin; 0 where nobody outlined it.
        seconds: Time that inference took, the outline included.
    """

    lesions: int
    found: int
    false_candidates: int
    outside: int
    seconds: float


def load_whole_head(path: Path, brain: Path | None) -> WholeHead:
    """Read a T1c without lesions, and its brain if somebody outlined it.

    Raises:
        StudyError: A file cannot be read.
    """
    volume = read_nifti(path.read_bytes(), file_index=0)
    nothing = LesionMask(np.zeros(volume.geometry.shape, dtype=np.bool_), volume.geometry)
    labelled = LabelledStudy(path.parent.name, Study({Sequence.T1C: volume}), nothing)
    if brain is None:
        return WholeHead(labelled, np.zeros((0, 0, 0), dtype=np.bool_))
    grid = axial_grid(volume.geometry, spacing_mm=SPACING_MM)
    voxels, outlined = (
        resample_volume(each, grid).voxels for each in (volume, read_nifti(brain.read_bytes(), file_index=1))
    )
    share = block_means((outlined > 0.0).astype(np.float32), [2, 2, 2])
    head = BrainHead(Kind.REAL, block_means(voxels, [2, 2, 2]), close_gaps(share > HALF).astype(np.float32))
    # An outline that another head's was registered for is mended as it is for training.
    return WholeHead(labelled, (refine_outline(head) if brain.name == BRAIN_NAME else head).brain > HALF)


def simulate_skulls(stripped: LabelledStudy, *, count: int, seed: int) -> Iterator[WholeHead]:
    """Yield a stripped study with its own lesions in skulls, contrasts and scanners that are drawn."""
    grid = axial_grid(stripped.study.t1c.geometry, spacing_mm=SPACING_MM)
    volumes = {sequence: resample_volume(volume, grid).voxels for sequence, volume in stripped.study.volumes.items()}
    lesions = Volume(stripped.reference.voxels.astype(np.float32), stripped.reference.geometry)
    brain = find_foreground(Volume(volumes[Sequence.T1C], grid))
    box = find_bounding_box(brain)
    assert box is not None  # noqa: S101 -- a foreground is never empty
    margin = ((SKULL_MARGIN_MM, SKULL_MARGIN_MM),) * 3
    reference = np.pad(resample_volume(lesions, grid).voxels[box.slices] > HALF, margin)
    voxels = np.pad((complete_sequences(volumes, brain) * brain)[:, *box.slices], ((0, 0), *margin))
    inside = np.pad(brain[box.slices].astype(np.float32), margin)
    truth = close_gaps(block_means(inside, [2, 2, 2]) > HALF)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        present = tuple(channel == T1C or index % 2 == 0 for channel in range(CHANNELS))
        head = Head(voxels.copy(), inside, present)
        vary_contrast(head, rng)
        paint_skull(head, enhanced=chance(rng, 0.8), rng=rng)
        degrade(head, rng)
        geometry = Geometry(head.shape, AXIAL_AFFINE)
        painted = {
            sequence: Volume(np.ascontiguousarray(head.voxels[channel]), geometry)
            for channel, sequence in enumerate(Sequence)
            if present[channel]
        }
        name = f"{stripped.name}/skull-{index}"
        yield WholeHead(LabelledStudy(name, Study(painted), LesionMask(reference, geometry)), truth)


def score_mask(whole: WholeHead, network: BrainNetwork) -> MaskScore:
    """Return how well the brain of a head is found."""
    t1c = _align(whole.labelled).volumes[Sequence.T1C]
    outline_head(t1c, network)  # the first call of a process reads libraries
    start_s = time.perf_counter()
    outline = outline_head(t1c, network)
    seconds = time.perf_counter() - start_s
    brain_ml = float(np.count_nonzero(outline.brain)) * t1c.geometry.voxel_volume_mm3 / 1000.0
    if not whole.brain.size:
        return MaskScore(whole.labelled.name, brain_ml, *(float("nan"),) * 3, seconds)
    found, head = (block_means(each.astype(np.float32), [2, 2, 2]) > HALF for each in (outline.brain, outline.head))
    affine = AXIAL_AFFINE @ np.diag([SOURCE_MM, SOURCE_MM, SOURCE_MM, 1.0])
    geometry = Geometry(whole.brain.shape, affine)
    masks = LesionMask(grow(whole.brain, MARGIN_MM) & head, geometry), LesionMask(found, geometry)
    missed = np.count_nonzero(whole.brain & ~found) / np.count_nonzero(whole.brain)
    return MaskScore(whole.labelled.name, brain_ml, dice(*masks), hausdorff_95_mm(*masks), float(missed), seconds)


def score_candidates(
    whole: WholeHead, network: BrainNetwork | None, scorer: Scorer, point: OperatingPoint
) -> CandidateScore:
    """Return what is found in a head with a brain mask, or in all of it when there is no network for that."""
    aligned = _align(whole.labelled)
    t1c = aligned.volumes[Sequence.T1C]
    head = find_foreground(t1c)
    start_s = time.perf_counter()
    outline = HeadOutline(head, head) if network is None else outline_head(t1c, network)
    inferred = scorer.infer_in(aligned, outline)
    lesions = inferred.decide(list(inferred.probability_maps)[-1], point)
    seconds = time.perf_counter() - start_s
    true = find_lesions(whole.labelled.reference, min_volume_mm3=0.0)
    hit = true.labels[lesions.labels > 0]
    touching = lesions.labels[true.labels > 0]
    return CandidateScore(
        lesions=true.count,
        found=len(set(hit[hit > 0].tolist())),
        false_candidates=lesions.count - len(set(touching[touching > 0].tolist())),
        outside=_count_outside(lesions, whole, aligned),
        seconds=seconds,
    )


def _align(labelled: LabelledStudy) -> AlignedStudy:
    return align_study(labelled.study, spacing_mm=SPACING_MM)


def _count_outside(lesions: InstanceMap, whole: WholeHead, aligned: AlignedStudy) -> int:
    if not whole.brain.size:
        return 0
    # Its voxels of 2 mm are every second one of the aligned grid.
    told = BrainMask(round(SOURCE_MM / SPACING_MM), np.packbits(grow(whole.brain, MARGIN_MM)).tobytes())
    return lesions.count - drop_outside_brain(lesions, told, aligned.geometry).count
