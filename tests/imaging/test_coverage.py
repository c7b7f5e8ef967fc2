"""A sequence that shows little of the brain is told of, or left out."""

import re

import numpy as np
import pytest

from brainmets.imaging.coverage import drop_without_brain
from brainmets.imaging.findings import FindingCode
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.volume import Volume
from heads import HALF_AXES_MM, head_geometry, head_on
from imaging_cases import AXIAL

GRID = head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0))


def slab(share: float) -> Volume:
    """Return a T2w of which the lowest share of the head's height was acquired."""
    voxels = head_on(GRID, contrast="t2w").voxels
    heights_mm = GRID.index_to_world(np.argwhere(np.ones((len(voxels), 1, 1))))[:, 2]
    voxels[heights_mm > HALF_AXES_MM[2] * (2 * share - 1)] = 0.0
    return Volume(voxels, GRID)


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, FindingCode.SEQUENCE_DROPPED),
        (0.1, FindingCode.SEQUENCE_DROPPED),
        (0.5, FindingCode.CUT_FIELD_OF_VIEW),
        (0.75, FindingCode.CUT_FIELD_OF_VIEW),
        (0.95, None),
        (1.0, None),
    ],
)
def test_what_a_sequence_shows_of_the_brain(share: float, told: FindingCode | None) -> None:
    """Of a rim it is left out; of a part it stays, and the reader knows how much that is."""
    aligned = align_study(Study({Sequence.T1C: head_on(GRID), Sequence.T2W: slab(share)}), spacing_mm=2.0)
    shown = drop_without_brain(aligned, aligned.volumes[Sequence.T1C].voxels > 0.0)
    assert (Sequence.T2W in shown.volumes) == (told is not FindingCode.SEQUENCE_DROPPED)
    assert [(finding.code, finding.sequence) for finding in shown.findings] == ([(told, Sequence.T2W)] if told else [])
    if told:
        (stated,) = re.findall(r"shows (\d+)% of the brain", shown.findings[0].message)
        # A slab of a ball holds less than its share of the height, or more above the middle: 0.1 is 0.03, 0.75 is 0.84.
        assert float(stated) == pytest.approx(100 * share**2 * (3 - 2 * share), abs=4.0)


def test_the_t1c_always_stays() -> None:
    """Nothing else says where the brain is."""
    aligned = align_study(Study({Sequence.T1C: head_on(GRID)}), spacing_mm=2.0)
    beside = aligned.volumes[Sequence.T1C].voxels == 0.0
    assert drop_without_brain(aligned, beside).volumes == aligned.volumes
