"""Owns what the image itself says of contrast medium: whether vessels stand out in the T1c or in the T1 before it."""

import numpy as np

from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence

# Vessels and the choroid plexus take up medium in every head, and are more than this share of a brain.
VESSEL_PERCENT = 0.5
# Deviations by which they stand out from one T1 to the other: 5.7 to 6.4 in three studies, where the other end of the
# difference is 1.6 to 2.5.
MIN_DIFFERENCE = 3.0
# So many times as far as the other end: 0.3 to 0.4 in these studies, and 2.5 to 3.6 with their T1s exchanged.
MIN_RATIO = 1.5
# Every so many voxels along each axis: as many as tell, in a millisecond or two.
_STEP = 3


def find_exchanged_contrast(normalized: NormalizedVolume) -> tuple[Finding, ...]:
    """Return a finding where vessels stand out in the T1n and not in the T1c; none without a T1n."""
    channels = dict(zip(normalized.sequences, normalized.voxels, strict=True))
    if Sequence.T1N not in channels:
        return ()
    coarse = (slice(None, None, _STEP),) * 3
    t1c, t1n, brain = channels[Sequence.T1C][coarse], channels[Sequence.T1N][coarse], normalized.brain[coarse]
    # What was not acquired is 0.
    difference = (t1c - t1n)[brain & (t1n != 0.0)]
    if not difference.size:
        return ()
    darker, brighter = np.abs(np.percentile(difference, (VESSEL_PERCENT, 100.0 - VESSEL_PERCENT)))
    if darker < max(MIN_DIFFERENCE, MIN_RATIO * brighter):
        return ()
    message = (
        "Vessels stand out in the T1n and not in the T1c: the two may have been exchanged, and most metastases do not "
        "show without contrast medium."
    )
    return (Finding(FindingCode.CONTRAST_NOT_ESTABLISHED, message, Sequence.T1C),)
