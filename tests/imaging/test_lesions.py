"""A mask's components are found, ordered and measured."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainmets.imaging.brain_mask import UNKNOWN_BRAIN, BrainMask, pack_brain
from brainmets.imaging.errors import InternalError
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.lesions import (
    INSIDE_FRACTION,
    LesionInstance,
    LesionMask,
    binarize,
    drop_outside_brain,
    find_candidates,
    find_lesions,
    measure_lesions,
)
from brainmets.imaging.midline import Midline, Side
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.imaging.probability_map import ProbabilityMap
from imaging_cases import (
    OBLIQUE,
    SAGITTAL,
    axial_geometry,
    ball_mask,
    box_at,
    make_geometry,
    make_mask,
)

# x = 20 mm, the patient's left beyond it.
MIDLINE = Midline(normal=(1.0, 0.0, 0.0), offset_mm=20.0)


def flat_probability(geometry: Geometry, value: float = 0.75) -> ProbabilityMap:
    """Return one probability everywhere."""
    return ProbabilityMap(np.full(geometry.shape, value, dtype=np.float32), geometry)


@pytest.mark.parametrize("seed", range(20))
def test_a_lesion_of_the_smallest_volume_is_kept_at_every_angle(seed: int) -> None:
    """Twenty voxels of 1 mm3 are 20 mm3, whatever the rounding of their directions."""
    geometry = make_geometry((12, 12, 12), directions=Rotation.random(random_state=seed).as_matrix())
    mask = LesionMask(make_mask((12, 12, 12), box_at((5, 5, 5), (2, 2, 5))).voxels, geometry)
    assert find_lesions(mask, min_volume_mm3=20.0).count == 1
    assert find_lesions(mask, min_volume_mm3=20.1).count == 0


def measure(mask: LesionMask) -> tuple[Lesion, ...]:
    """Find and measure every component."""
    instances = find_lesions(mask, min_volume_mm3=0.0)
    return measure_lesions(instances, flat_probability(mask.geometry), midline=MIDLINE)


def test_the_threshold_itself_is_lesion() -> None:
    """A voxel belongs to the mask from the threshold on."""
    voxels = np.array([0.25, 0.5, 0.75], dtype=np.float32).reshape(1, 1, 3)
    mask = binarize(ProbabilityMap(voxels, axial_geometry((1, 1, 3))), 0.5)
    assert mask.voxels.ravel().tolist() == [False, True, True]


def test_voxels_that_share_a_corner_are_one_lesion() -> None:
    """Neighbourhood is 26."""
    mask = make_mask((4, 4, 4), box_at((0, 0, 0), (1, 1, 1)), box_at((1, 1, 1), (1, 1, 1)))
    assert find_lesions(mask, min_volume_mm3=0.0).count == 1


def test_a_gap_of_one_voxel_parts_two_lesions() -> None:
    """What does not touch is not one lesion."""
    mask = make_mask((4, 4, 4), box_at((0, 0, 0), (1, 1, 1)), box_at((2, 0, 0), (1, 1, 1)))
    assert find_lesions(mask, min_volume_mm3=0.0).count == 2


def test_lesions_are_numbered_by_falling_volume() -> None:
    """The largest lesion is number 1."""
    small, large = box_at((0, 0, 0), (1, 1, 2)), box_at((4, 4, 4), (2, 2, 2))
    instances = find_lesions(make_mask((8, 8, 8), small, large), min_volume_mm3=0.0)
    assert (instances.labels[large] == 1).all()
    assert (instances.labels[small] == 2).all()


def test_lesions_of_one_volume_are_numbered_by_place() -> None:
    """The same study always numbers its lesions the same."""
    first, second = box_at((0, 0, 0), (1, 1, 2)), box_at((4, 4, 4), (1, 1, 2))
    instances = find_lesions(make_mask((8, 8, 8), first, second), min_volume_mm3=0.0)
    assert instances.labels[first].max() == 1
    assert instances.labels[second].max() == 2


def test_lesions_below_the_smallest_volume_are_left_out() -> None:
    """A component of exactly the smallest volume stays, a smaller one goes."""
    geometry = make_geometry((8, 8, 8), spacing_mm=(2.0, 1.0, 1.0))
    voxels = np.zeros(geometry.shape, dtype=np.bool_)
    voxels[0, 0, :3] = True
    voxels[4, 4, :2] = True
    instances = find_lesions(LesionMask(voxels, geometry), min_volume_mm3=6.0)
    assert instances.count == 1
    np.testing.assert_array_equal(instances.mask.voxels.sum(), 3)


def test_a_lesion_is_drawn_from_its_threshold_where_its_peak_is_reached() -> None:
    """Of two equal bumps the one with a certain voxel stays, as large as its threshold draws it."""
    voxels = np.zeros((8, 8, 8), dtype=np.float32)
    voxels[1:3, 1:3, 1:3] = voxels[5:7, 5:7, 5:7] = 0.5
    voxels[1, 1, 1] = 0.9
    probability_map = ProbabilityMap(voxels, axial_geometry(voxels.shape))
    (alone, both, none) = (
        find_candidates(probability_map, OperatingPoint(0.4, 0.0, peak)) for peak in (0.9, 0.3, 0.95)
    )
    assert alone.count == 1
    np.testing.assert_array_equal(np.argwhere(alone.labels)[0], (1, 1, 1))
    assert np.count_nonzero(alone.labels) == 8
    assert (both.count, none.count) == (2, 0)


def test_an_empty_mask_has_no_lesion() -> None:
    """No lesion is a result."""
    mask = make_mask((4, 4, 4))
    assert find_lesions(mask, min_volume_mm3=0.0).count == 0
    assert measure(mask) == ()


def test_volume_counts_voxels() -> None:
    """A lesion's volume is its voxels', whatever their spacing and tilt."""
    geometry = make_geometry((4, 4, 4), spacing_mm=(3.0, 0.5, 0.5), directions=OBLIQUE)
    (lesion,) = measure(LesionMask(np.ones(geometry.shape, dtype=np.bool_), geometry))
    assert lesion.volume_mm3 == pytest.approx(64 * 0.75)


def test_the_centroid_is_in_patient_millimetres() -> None:
    """A ball's centroid is its centre, on any grid."""
    geometry = make_geometry((40, 40, 40), directions=SAGITTAL, origin_mm=(-10.0, 30.0, 5.0))
    centre_mm = geometry.index_to_world(np.array([[21.0, 19.0, 17.0]]))[0]
    (lesion,) = measure(ball_mask(9.0, geometry=geometry, centre_mm=centre_mm))
    assert lesion.centroid_mm == pytest.approx(centre_mm, abs=1e-9)


def test_the_bounding_box_holds_the_lesion_on_its_own_grid() -> None:
    """Boxes count in the acquired grid's voxels, half-open."""
    (lesion,) = measure(make_mask((9, 9, 9), box_at((2, 3, 4), (1, 2, 3))))
    assert (lesion.bounding_box.start, lesion.bounding_box.stop) == ((2, 3, 4), (3, 5, 7))


def test_probabilities_are_those_of_the_lesion_alone() -> None:
    """A neighbour's probability does not count, even inside the box."""
    voxels = np.zeros((3, 3, 3), dtype=np.float32)
    voxels[0, 0, 0], voxels[1, 1, 1], voxels[0, 2, 2] = 0.5, 1.0, 0.4
    probability_map = ProbabilityMap(voxels, axial_geometry((3, 3, 3)))
    instances = find_lesions(binarize(probability_map, 0.5), min_volume_mm3=0.0)
    (lesion,) = measure_lesions(instances, probability_map, midline=MIDLINE)
    assert (lesion.mean_probability, lesion.max_probability) == pytest.approx((0.75, 1.0))


@pytest.mark.parametrize(("column", "side"), [(2, Side.RIGHT), (20, Side.MIDLINE), (38, Side.LEFT)])
def test_the_side_is_told_by_the_midline(column: int, side: Side) -> None:
    """A lesion at a positive x may lie on the right: the brain's midline decides."""
    (lesion,) = measure(make_mask((3, 3, 40), box_at((1, 1, column), (1, 1, 1))))
    assert lesion.side is side


def test_measurements_come_in_order_of_labels() -> None:
    """Lesion n of the table is label n of the map."""
    lesions = measure(make_mask((8, 8, 8), box_at((0, 0, 0), (1, 1, 2)), box_at((4, 4, 4), (2, 2, 2))))
    assert [lesion.label for lesion in lesions] == [1, 2]
    assert [lesion.volume_mm3 for lesion in lesions] == pytest.approx([8.0, 2.0])


def test_masks_of_another_shape_are_refused() -> None:
    """A mask fits its grid, and a lesion's the lesion's box."""
    with pytest.raises(InternalError):
        LesionMask(np.zeros((2, 2, 2), dtype=np.bool_), axial_geometry((2, 2, 3)))
    with pytest.raises(InternalError):
        LesionInstance(Box((0, 0, 0), (2, 2, 3)), make_mask((2, 2, 2)))


GRID = axial_geometry((40, 40, 40))


def brain_below(column: int) -> BrainMask:
    """Return a brain that fills all columns below one."""
    brain = np.zeros(GRID.shape, dtype=np.bool_)
    brain[:, :, :column] = True
    return pack_brain(brain)


def test_a_candidate_outside_the_brain_is_dropped_and_the_rest_numbered_anew() -> None:
    """The largest of three lies in the scalp; the others keep their order."""
    scalp, large, small = box_at((0, 0, 30), (6, 6, 6)), box_at((20, 0, 4), (4, 4, 4)), box_at((30, 0, 4), (3, 3, 3))
    candidates = find_lesions(make_mask(GRID.shape, scalp, large, small), min_volume_mm3=0.0)
    kept = drop_outside_brain(candidates, brain_below(20), GRID)
    assert kept.count == 2
    assert not kept.labels[scalp].any()
    assert (kept.labels[large] == 1).all()
    assert (kept.labels[small] == 2).all()


@pytest.mark.parametrize(("inside", "is_kept"), [(0, False), (1, False), (3, True), (10, True)])
def test_a_lesion_at_the_brains_surface_stays(inside: int, *, is_kept: bool) -> None:
    """So many of ten columns lie in the brain; two are enough, as for a metastasis of the dura."""
    assert is_kept == (inside / 10 >= INSIDE_FRACTION)
    candidates = find_lesions(make_mask(GRID.shape, box_at((10, 10, 20 - inside), (10, 10, 10))), min_volume_mm3=0.0)
    assert drop_outside_brain(candidates, brain_below(20), GRID).count == is_kept


def test_what_lies_beyond_the_brains_grid_is_outside() -> None:
    """The networks' grid may be smaller than the acquired one."""
    acquired = make_geometry((40, 40, 60), origin_mm=(-10.0, 0.0, 0.0))
    mask = LesionMask(np.zeros(acquired.shape, dtype=np.bool_), acquired)
    mask.voxels[5:8, 5:8, 2:6] = True
    mask.voxels[5:8, 5:8, 20:24] = True
    kept = drop_outside_brain(find_lesions(mask, min_volume_mm3=0.0), brain_below(40), GRID)
    assert kept.count == 1
    assert kept.labels[6, 6, 22] == 1


def test_an_oblique_lesion_is_judged_where_it_lies_in_the_patient() -> None:
    """Grids that lean and have other voxels change nothing."""
    acquired = make_geometry((12, 40, 40), spacing_mm=(4.0, 1.0, 1.0), directions=OBLIQUE, origin_mm=(0.0, 0.0, 0.0))
    inside_mm, outside_mm = np.array([10.0, 20.0, 20.0]), np.array([32.0, 20.0, 20.0])
    both = [ball_mask(9.0, geometry=acquired, centre_mm=centre_mm).voxels for centre_mm in (inside_mm, outside_mm)]
    assert all(ball.any() for ball in both)
    candidates = find_lesions(LesionMask(both[0] | both[1], acquired), min_volume_mm3=0.0)
    kept = drop_outside_brain(candidates, brain_below(20), GRID)
    np.testing.assert_array_equal(kept.mask.voxels, both[0])


def test_where_nothing_is_known_of_the_brain_nothing_is_dropped() -> None:
    """Candidates of an unknown brain are all lesions."""
    candidates = find_lesions(make_mask(GRID.shape, box_at((0, 0, 30), (6, 6, 6))), min_volume_mm3=0.0)
    assert drop_outside_brain(candidates, UNKNOWN_BRAIN, GRID).count == 1
