"""A study is cropped to its head, and its intensities come to mean the same whatever the scanner's scale."""

import itertools

import numpy as np
import pytest

from brainmets.imaging.errors import EmptyVolumeError
from brainmets.imaging.foreground import block_means, find_foreground
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import CLIP_PERCENTILES, SAMPLE_STEP, NormalizedVolume, clip_ends, normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.volume import Volume, store_by_rows
from brainmets.runtime.brain_weights import load_brain_network
from heads import HALF_AXES_MM, LESION_MM, head_geometry, head_on
from imaging_cases import AXIAL, SAGITTAL, axial_geometry

TWO_MM = (2.0, 2.0, 2.0)


def normalize(*volumes: Volume) -> NormalizedVolume:
    """Normalise volumes as t1c, t1n and so on."""
    return normalize_aligned(Study(dict(zip(Sequence, volumes, strict=False))))


def normalize_aligned(study: Study) -> NormalizedVolume:
    """Normalise a study on voxels of 2 mm."""
    aligned = align_study(study, spacing_mm=2.0)
    return normalize_study(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))


def ball_of_noise(size: int) -> Volume:
    """Return a noisy ball in exact zeros."""
    radius = np.linalg.norm(np.indices((size,) * 3) - (size - 1) / 2, axis=0)
    texture = np.random.default_rng(0).normal(100.0, 10.0, radius.shape)
    return Volume(np.where(radius < size / 2 - 2, texture, 0.0).astype(np.float32), axial_geometry(radius.shape))


def test_the_crop_is_the_head() -> None:
    """The normalised grid ends where the head does, within a voxel on either side."""
    normalized = normalize(head_on(head_geometry(AXIAL, spacing_mm=TWO_MM)))
    extent_mm = 2.0 * (np.array(normalized.geometry.shape) - 1)
    np.testing.assert_allclose(extent_mm, 2.0 * np.array(HALF_AXES_MM)[::-1], atol=4.0)


def test_voxels_keep_their_place() -> None:
    """The lesion is bright where it lay, and its mirror image in the other half is not."""
    normalized = normalize(head_on(head_geometry(SAGITTAL, spacing_mm=TWO_MM)))
    x, y, z = LESION_MM
    lesion, mirrored = np.rint(normalized.geometry.world_to_index(np.array([(x, y, z), (-x, y, z)]))).astype(int)
    assert normalized.voxels[0][tuple(lesion)] == normalized.voxels[0].max()
    assert normalized.voxels[0][tuple(mirrored)] < 1.0


def test_the_head_has_mean_zero_and_deviation_one() -> None:
    """Z-scores are over the head alone, and air is zero."""
    normalized = normalize(head_on(head_geometry(AXIAL, spacing_mm=TWO_MM)))
    inside = normalized.voxels[0][normalized.foreground]
    assert (inside.mean(), inside.std()) == pytest.approx((0.0, 1.0), abs=0.01)
    assert not normalized.voxels[0][~normalized.foreground].any()


@pytest.mark.parametrize("scale", [3.0, 1e20, 1e-26])
def test_the_scanners_scale_does_not_matter(scale: float) -> None:
    """Three times the intensity is the same head, and so is whatever a file holds."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM))
    scaled = Volume(np.float32(scale) * head.voxels, head.geometry)
    np.testing.assert_allclose(normalize(head).voxels, normalize(scaled).voxels, atol=1e-4)


def test_spikes_are_clipped() -> None:
    """A few voxels of a thousandfold intensity do not press the rest together."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM))
    spiked = head.voxels.copy()
    spiked[32, 32, 30:34] = 1e6
    assert normalize(Volume(spiked, head.geometry)).voxels[0].max() < 10.0


def test_channels_are_in_the_networks_order() -> None:
    """Sequences come as the enumeration names them, each normalised on its own."""
    grid = head_geometry(AXIAL, spacing_mm=TWO_MM)
    study = Study({Sequence.T2W: head_on(grid, contrast="t2w"), Sequence.T1C: head_on(grid)})
    normalized = normalize_aligned(study)
    assert normalized.sequences == (Sequence.T1C, Sequence.T2W)
    ventricle = tuple(np.rint(normalized.geometry.world_to_index(np.array([[8.0, 0.0, 0.0]]))[0]).astype(int))
    assert normalized.voxels[0][ventricle] < -1.0
    assert normalized.voxels[1][ventricle] > 1.0


def test_a_sequence_of_a_smaller_field_of_view_is_zero_beyond_it() -> None:
    """What was not acquired is neither bright nor dark."""
    t1c = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM))
    slab = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=40.0), contrast="t2w")
    normalized = normalize(t1c, slab)
    top = normalized.foreground.copy()
    top[: normalized.geometry.shape[0] - 1] = False
    assert not normalized.voxels[1][top].any()
    seen = normalized.voxels[1][normalized.voxels[1] != 0.0]
    assert (seen.mean(), seen.std()) == pytest.approx((0.0, 1.0), abs=0.01)


@pytest.mark.parametrize("noise", [0.0, 15.0])
def test_a_head_with_skull_is_foreground_as_a_whole(noise: float) -> None:
    """Scalp and skull count, air does not, noisy or not."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0), skull=True, noise=noise)
    truth = head_on(head.geometry, skull=True).voxels > 0
    found = find_foreground(head)
    overlap = 2.0 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))
    assert overlap > 0.93


def test_zeros_beside_noisy_air_make_no_head_of_it() -> None:
    """The head in a field of view that was filled up with zeros is found as it is without them."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0), skull=True, noise=15.0)
    filled = np.pad(head.voxels, ((0, 0), (0, 0), (16, 16)))
    found = find_foreground(Volume(filled, axial_geometry(filled.shape)))[..., 16:-16]
    truth = head_on(head.geometry, skull=True).voxels > 0
    overlap = 2.0 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth))
    assert overlap > 0.9


@pytest.mark.parametrize("skull", [False, True])
def test_air_of_zero_leaves_the_head_as_it_is(*, skull: bool) -> None:
    """Each voxel of a masked head is head, however dark."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0), skull=skull)
    np.testing.assert_array_equal(find_foreground(head), head.voxels > 0)


def test_something_bright_beside_a_masked_brain_makes_no_air_of_it() -> None:
    """The brain is the largest part, and stays the head."""
    brain = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0))
    voxels = brain.voxels.copy()
    voxels[..., -8:] = 9000.0
    np.testing.assert_array_equal(find_foreground(Volume(voxels, brain.geometry)), brain.voxels > 0)


def test_what_an_interpolation_left_below_zero_is_no_air() -> None:
    """A mask's zeros are its air, though they are not the lowest value any more."""
    brain = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0))
    voxels = brain.voxels.copy()
    voxels[1, 1, 1] = -1.0
    np.testing.assert_array_equal(find_foreground(Volume(voxels, brain.geometry)), brain.voxels > 0)


def test_a_dark_ventricle_is_no_hole() -> None:
    """The foreground is filled, so that a cyst of exact zeros is inside."""
    head = head_on(head_geometry(AXIAL, spacing_mm=TWO_MM))
    holed = head.voxels.copy()
    holed[28:34, 28:34, 28:34] = 0.0
    assert find_foreground(Volume(holed, head.geometry))[28:34, 28:34, 28:34].all()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_head_fills_its_volume_however_that_is_stored(order: tuple[int, int, int]) -> None:
    """A cropped head is found in a view of any order of axes."""
    ball = ball_of_noise(40).voxels[2:-2, 2:-2, 2:-2]
    stored = np.ascontiguousarray(ball.transpose(order)).transpose(np.argsort(order))
    np.testing.assert_array_equal(find_foreground(Volume(stored, axial_geometry(ball.shape))), ball > 0)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("backwards", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_voxels_that_are_stored_by_rows_are_the_same(order: tuple[int, int, int], backwards: tuple[int, ...]) -> None:
    """Whatever axis memory counted first, and in either sense."""
    voxels = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    seen = np.flip(voxels.transpose(order), backwards)
    stored = store_by_rows(seen)
    assert stored.flags.c_contiguous
    np.testing.assert_array_equal(stored, seen)


def test_a_block_beyond_the_end_is_filled_with_the_last_voxels() -> None:
    """Of a ramp of five, blocks of four have the first four's mean and the last one."""
    ramp = np.arange(5, dtype=np.float32)
    for axis in range(3):
        factors = [4 if each == axis else 1 for each in range(3)]
        line = ramp.reshape([-1 if each == axis else 1 for each in range(3)])
        assert block_means(line, factors).ravel().tolist() == [1.5, 4.0]


def test_parts_that_meet_in_another_slice_are_one_head() -> None:
    """Two pillars on one base are larger together than a block beside them that is larger than either."""
    pillars = np.zeros((32, 32, 40), dtype=np.float32)
    pillars[4:, 4:12, 4:8] = pillars[4:, 4:12, 16:20] = pillars[4:8, 4:12, 4:20] = 100.0
    voxels = pillars.copy()
    voxels[4:28, 20:28, 28:36] = 100.0
    voxels[8:12, 20:28, 30:34] = 90.0  # more than one value
    found = find_foreground(Volume(voxels, axial_geometry(voxels.shape)))
    np.testing.assert_array_equal(found, pillars > 0)


@pytest.mark.parametrize("columns", [slice(20, 28), slice(0, 8)])
def test_parts_that_share_no_face_are_two(columns: slice) -> None:
    """A block at the head's edge is beside it, on either side."""
    head = np.zeros((32, 32, 32), dtype=np.float32)
    head[4:20, 4:20, 8:20] = 100.0
    voxels = head.copy()
    voxels[4:20, 20:28, columns] = 90.0
    found = find_foreground(Volume(voxels, axial_geometry(voxels.shape)))
    np.testing.assert_array_equal(found, head > 0)


def test_the_air_beside_a_long_head_is_air_in_all_of_its_slices() -> None:
    """However many there are: more rows than 16 bits count."""
    radius = np.linalg.norm(np.indices((200, 24)) - np.array([99.5, 11.5])[:, None, None], axis=0)
    disc = np.where(radius < 10.0, 100.0, 0.0).astype(np.float32)
    disc[2:-2, 11:13] = 90.0
    voxels = np.repeat(disc[np.newaxis], 400, axis=0)
    found = find_foreground(Volume(voxels, axial_geometry(voxels.shape)))
    np.testing.assert_array_equal(found, voxels > 0)


def test_a_spot_beside_the_head_is_not_foreground() -> None:
    """The largest component is the head; a marker in the air is not."""
    volume = ball_of_noise(40)
    volume.voxels[1:3, 1:3, 1:3] = 500.0
    assert not find_foreground(volume)[1:3, 1:3, 1:3].any()


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_one_value_everywhere_is_no_head(value: float) -> None:
    """A constant volume is refused."""
    with pytest.raises(EmptyVolumeError):
        find_foreground(Volume(np.full((8, 8, 8), value, dtype=np.float32), axial_geometry((8, 8, 8))))


def test_a_head_of_one_intensity_is_refused() -> None:
    """A mask sent in place of a series shows nothing that could be found."""
    ball = ball_of_noise(40)
    mask = Volume((ball.voxels > 0).astype(np.float32), ball.geometry)
    aligned = align_study(Study({Sequence.T1C: mask}), spacing_mm=1.0)
    with pytest.raises(EmptyVolumeError, match="t1c"):
        normalize_study(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))


@pytest.mark.parametrize("count", [1, 2, 150, 70_001])
@pytest.mark.parametrize("levels", [1, 3, 4000])
@pytest.mark.parametrize("rising", [False, True])
def test_clipping_ends_are_the_percentiles(count: int, levels: int, *, rising: bool) -> None:
    """Looked for among the outermost values, they are what looking among all finds, ties and short inputs included."""
    values = np.random.default_rng(count + levels).integers(0, levels, count).astype(np.float32)
    values = np.sort(values) if rising else values
    np.testing.assert_array_equal(clip_ends(values), np.percentile(values, CLIP_PERCENTILES).astype(np.float32))


def test_a_sample_that_misleads_does_not_mislead() -> None:
    """Spikes that a regular sample meets more often than there are any are not taken for the outermost values."""
    values = np.random.default_rng(0).random(100 * SAMPLE_STEP, dtype=np.float32)
    values[: 3 * SAMPLE_STEP : SAMPLE_STEP] = -9.0
    values[-3 * SAMPLE_STEP :: SAMPLE_STEP] = 9.0
    np.testing.assert_array_equal(clip_ends(values), np.percentile(values, CLIP_PERCENTILES).astype(np.float32))
