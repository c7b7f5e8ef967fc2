"""Owns coverage: how much of the brain a sequence shows, and what follows where that is little."""

import numpy as np
from numpy.typing import NDArray

from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy

# Below this share of the brain a sequence is left out: its mean and deviation would be those of a rim.
LEAST_SHARE = 0.1
# Below this one the reader is told.
WHOLE_SHARE = 0.9
# One voxel is asked in so many mm on each axis: a head has thousands of those.
STEP_MM = 4.0


def drop_without_brain(aligned: AlignedStudy, brain: NDArray[np.bool_]) -> AlignedStudy:
    """Return a study without the sequences that show next to nothing of the brain, and with what is to be said.

    The T1c always stays: the brain was found in it.

    Args:
        aligned: The study, zero where a sequence was not acquired.
        brain: (D, H, W), the brain's voxels on its grid.
    """
    step = max(1, round(STEP_MM / aligned.geometry.spacing_mm[0]))
    thinned = (slice(None, None, step),) * 3
    asked = brain[thinned]
    volumes = dict(aligned.volumes)
    findings = list(aligned.findings)
    for sequence, volume in aligned.volumes.items():
        shown = int(np.count_nonzero(volume.voxels[thinned][asked]))
        share = shown / max(1, int(np.count_nonzero(asked)))
        if sequence is Sequence.T1C or share >= WHOLE_SHARE:
            continue
        if share < LEAST_SHARE:
            del volumes[sequence]
            message = f"The sequence shows {share:.0%} of the brain and was left out."
            findings.append(Finding(FindingCode.SEQUENCE_DROPPED, message, sequence))
        else:
            message = f"The sequence shows {share:.0%} of the brain; elsewhere the networks saw the others alone."
            findings.append(Finding(FindingCode.CUT_FIELD_OF_VIEW, message, sequence))
    return AlignedStudy(volumes, aligned.acquired, tuple(findings))
