"""Owns a training study: a head with lesions of known place, normalised by the very code that serves."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import MARGIN_MM, HeadOutline
from brainmets.imaging.mets_metric import CONNECTIVITY_26
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy
from brainmets.imaging.volume import Volume
from brainmets.training.backgrounds import Background
from brainmets.training.deformation import deform_background
from brainmets.training.degradation import degrade, disturb, vary_contrast
from brainmets.training.fields import chance
from brainmets.training.heads import CHANNELS, T1C, Head
from brainmets.training.lesions import LesionPlan, choose_centre, draw_lesion_plans, implant_lesion
from brainmets.training.mimics import paint_mimics
from brainmets.training.skull import SKULL_MARGIN_MM, paint_skull

# Axes (slice, row, column) run along +z, +y, +x of LPS: feet to head, front to back, right to left.
AXIAL_AFFINE = np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
# Every lesion weighs like one of this volume, within bounds: else the large ones alone are learned.
FULL_WEIGHT_MM3 = 3000.0
MOST_WEIGHT = 8.0
# How often a study is a T1c alone, how often it has all sequences when it is not, and each other sequence else. With
# all of them networks find more, and take more for lesions that is none, unless they have seen much of it.
T1C_ALONE = 0.2
MADE_UP_T1C_ALONE = 0.5
COMPLETE = 0.6
KEPT = 0.75
# How much more often a head is drawn whose sequences were all acquired.
COMPLETE_HEAD = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStudy:
    """A study with its truth, cropped to the head.

    Attributes:
        voxels: (4, D, H, W), float16, normalised; all four sequences.
        target: (D, H, W), the voxels that are lesion.
        weight: (D, H, W), float16, what each voxel's error costs: 1 outside of lesions, more in small ones.
        lesion_voxels: For each lesion the (N, 3) indices of its voxels.
        present: Which sequences it has; the others are zero.
    """

    voxels: NDArray[np.float16]
    target: NDArray[np.bool_]
    weight: NDArray[np.float16]
    lesion_voxels: tuple[NDArray[np.int16], ...]
    present: tuple[bool, ...]


def draw_background(backgrounds: tuple[Background, ...], rng: np.random.Generator) -> Background:
    """Return one of the backgrounds; a head counts once however many halves it has, a complete one more."""
    heads: defaultdict[str, list[Background]] = defaultdict(list)
    for background in backgrounds:
        heads[background.name.split("/")[0]].append(background)
    names = sorted(heads)
    shares = np.array([COMPLETE_HEAD if all(heads[name][0].acquired) else 1.0 for name in names])
    parts = heads[names[rng.choice(len(names), p=shares / shares.sum())]]
    return parts[rng.integers(len(parts))]


@dataclass(frozen=True, slots=True)
class StudyRules:
    """What a study is made with; all of it unless an ablation asks what that is worth, or labelled studies validate.

    Attributes:
        mimics: Whether what must not be found is drawn: vessels, dura, sinus, choroid plexus, cavities, oedema alone.
        skulls: Whether half of the stripped heads are given a scalp and a skull.
        more_lesions: Whether half of the heads that bring lesions are given drawn ones besides.
    """

    mimics: bool = True
    skulls: bool = True
    more_lesions: bool = True


EVERYTHING = StudyRules()
# What labelled studies are validated on: nothing drawn into them decides when a training ends.
OWN_LESIONS = StudyRules(mimics=False, more_lesions=False)


def make_study(background: Background, rng: np.random.Generator, rules: StudyRules = EVERYTHING) -> TrainingStudy:
    """Return a study made of a background and drawn lesions."""
    skull = rules.skulls and background.stripped and chance(rng, 0.5)  # whole heads are the normal input
    # Now and then somebody sends a T1 without contrast medium; nothing in it is a metastasis that can be seen.
    enhanced = bool(background.enhanced or chance(rng, 0.93))
    present = _draw_sequences(background, rng)
    head = deform_background(background, rng, margin_mm=SKULL_MARGIN_MM if skull else 0, present=present)
    vary_contrast(head, rng)
    if rules.mimics and (not background.enhanced or chance(rng, 0.6)):  # a real T1c has real mimics
        paint_mimics(head, enhanced=enhanced, rng=rng)
    # Half of the heads that bring lesions get no others: theirs alone are real.
    if enhanced and (background.target is None or (rules.more_lesions and chance(rng, 0.5))):
        implant_lesions(head, draw_lesion_plans(rng), rng=rng)
    if skull:
        paint_skull(head, enhanced=enhanced, rng=rng)
    disturb(head, rng)
    degrade(head, rng)
    return normalize_head(head)


def _draw_sequences(background: Background, rng: np.random.Generator) -> tuple[bool, ...]:
    """Return which sequences a study has: often the T1c alone, and what was made up from T1 less often than real."""
    real = all(background.acquired)
    if chance(rng, T1C_ALONE if real else MADE_UP_T1C_ALONE):
        return tuple(channel == T1C for channel in range(CHANNELS))
    kept = 1.0 if chance(rng, COMPLETE) else KEPT
    drawn = tuple(channel == T1C or chance(rng, kept) for channel in range(CHANNELS))
    if background.target is None:
        return drawn
    # What is made up from its T1 contradicts a lesion that was acquired.
    return tuple(chosen and there for chosen, there in zip(drawn, background.acquired, strict=True))


def implant_lesions(head: Head, plans: tuple[LesionPlan, ...], *, rng: np.random.Generator) -> None:
    """Draw metastases into a head, each where none lies yet."""
    for plan in plans:
        # Small ones like the grey-white junction, large ones fill what there is.
        inside_mm = float(rng.uniform(0.0, 4.0)) + 0.2 * plan.diameter_mm
        centre = choose_centre(head, inside_mm=inside_mm, rng=rng, at_junction=chance(rng, 0.6))
        if centre is not None:
            implant_lesion(head, plan, centre=centre, rng=rng)


def normalize_head(head: Head) -> TrainingStudy:
    """Return a painted head as the networks see it."""
    geometry = Geometry(head.shape, AXIAL_AFFINE)
    volumes = {
        sequence: Volume(np.ascontiguousarray(head.voxels[channel]), geometry)
        for channel, sequence in enumerate(Sequence)
        if head.present[channel]
    }
    foreground = find_foreground(volumes[Sequence.T1C])
    # The brain is known here; the margin is the served one.
    outline = HeadOutline(foreground, foreground & (head.depth_mm > -MARGIN_MM))
    normalized = normalize_study(AlignedStudy(volumes, geometry, ()), outline)
    start = geometry.world_to_index(normalized.geometry.index_to_world(np.zeros((1, 3))))[0].round().astype(int)
    box = tuple(slice(at, at + size) for at, size in zip(start, normalized.geometry.shape, strict=True))
    target = head.target[box] & normalized.foreground
    weight, lesions = _weigh_lesions(target)
    voxels = np.zeros((len(head.present), *target.shape), dtype=np.float16)
    voxels[list(head.present)] = normalized.voxels
    return TrainingStudy(voxels, target, weight, lesions, head.present)


def _weigh_lesions(target: NDArray[np.bool_]) -> tuple[NDArray[np.float16], tuple[NDArray[np.int16], ...]]:
    labels, _ = ndimage.label(target, structure=CONNECTIVITY_26)
    weight = np.ones(target.shape, dtype=np.float16)
    lesions = []
    for label, place in enumerate(ndimage.find_objects(labels), start=1):
        voxels = np.argwhere(labels[place] == label) + [axis.start for axis in place]
        lesions.append(voxels.astype(np.int16))
        weight[tuple(voxels.T)] = np.clip((FULL_WEIGHT_MM3 / len(voxels)) ** 0.5, 1.0, MOST_WEIGHT)
    return weight, tuple(lesions)
