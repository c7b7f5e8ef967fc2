"""A study is decided on what lies in its brain, and says how much it left out."""

import numpy as np

from brainmets.gateway.decision import DecidedStudy, decide
from brainmets.gateway.model_contract import DecisionOptions, plan_segmentation
from brainmets.imaging.brain_mask import UNKNOWN_BRAIN, BrainMask, pack_brain
from brainmets.imaging.geometry import Box
from brainmets.imaging.midline import Midline
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tiling import TileGrid
from brainmets.wire.tiles import StudyHeader
from fakes import make_contract
from imaging_cases import axial_geometry, box_at

ACQUIRED = axial_geometry((40, 40, 40))
# The networks saw a part of it, whose left half is brain.
SEEN = Box((4, 4, 4), (36, 36, 36))
IN_BRAIN, IN_SCALP = box_at((10, 10, 8), (6, 6, 6)), box_at((20, 20, 28), (5, 5, 5))


def decide_with(brain: BrainMask, options: DecisionOptions = DecisionOptions()) -> DecidedStudy:  # noqa: B008 -- frozen
    """Decide a study of two candidates."""
    voxels = np.zeros(ACQUIRED.shape, dtype=np.float32)
    voxels[IN_BRAIN] = voxels[IN_SCALP] = 0.9
    header = StudyHeader(
        acquired=ACQUIRED,
        normalized=ACQUIRED.crop(SEEN),
        sequences=(Sequence.T1C,),
        findings=(),
        grid=TileGrid(SEEN.shape, 2, (Box((0, 0, 0), (8, 32, 32)),)),
        midline=Midline((1.0, 0.0, 0.0), 20.0),
        t1c_file_index=0,
        brain=brain,
    )
    plan = plan_segmentation(options, (make_contract("nested_unet"),))
    return decide(ProbabilityMap(voxels, ACQUIRED), header, plan=plan, input_sha256="cd" * 32)


def half_brain() -> BrainMask:
    """Return the brain in the columns below 20 of the acquired grid."""
    brain = np.zeros(SEEN.shape, dtype=np.bool_)
    brain[:, :, :16] = True
    return pack_brain(brain)


def test_a_candidate_in_the_scalp_is_counted_and_no_lesion() -> None:
    """Neither the table nor the mask has it."""
    decided = decide_with(half_brain())
    assert decided.result.candidates_outside_brain == 1
    (lesion,) = decided.result.lesions
    assert lesion.volume_mm3 == 6**3
    assert decided.instances.labels[IN_BRAIN].all()
    assert not decided.instances.labels[IN_SCALP].any()


def test_without_a_brain_both_are_lesions() -> None:
    """What is not known leaves nothing out."""
    result = decide_with(UNKNOWN_BRAIN).result
    assert result.candidates_outside_brain == 0
    assert len(result.lesions) == 2


def test_a_peak_that_nothing_reaches_leaves_no_lesion() -> None:
    """Although both candidates are above the threshold; the result says what was asked."""
    certain = decide_with(UNKNOWN_BRAIN, DecisionOptions(min_peak_probability=0.89))
    doubtful = decide_with(UNKNOWN_BRAIN, DecisionOptions(min_peak_probability=0.91))
    assert (len(certain.result.lesions), len(doubtful.result.lesions)) == (2, 0)
    assert doubtful.result.min_peak_probability == 0.91
