"""A study's sequences come to lie on the T1c's axial grid, or are left out with a word about it."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainmets.imaging.errors import InternalError, MissingT1cError, SequencesDoNotOverlapError
from brainmets.imaging.findings import FindingCode
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.registration import fits_best_in_place, register_rigidly
from brainmets.imaging.resampling import resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy, Study, align_study
from brainmets.imaging.volume import Volume
from heads import head_geometry, head_on
from imaging_cases import AXIAL, SAGITTAL, axial_geometry, make_geometry

# Half of the darkest tissue: interpolation blurs the head's edge.
HEAD = 60.0


@pytest.fixture(scope="module")
def t1c() -> Volume:
    """A head, axial, 2 mm: registration needs the shape and not the detail."""
    return head_on(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0)))


@pytest.fixture(scope="module")
def t2w() -> Volume:
    """The same head in another contrast and plane."""
    return head_on(head_geometry(SAGITTAL, spacing_mm=(2.0, 2.0, 2.0)), contrast="t2w")


def moved(
    volume: Volume, *, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), turn_deg: float = 0.0, axis: str = "z"
) -> Volume:
    """Return a volume whose header lies about where it was acquired."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler(axis, turn_deg, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return Volume(volume.voxels, Geometry(volume.geometry.shape, motion @ volume.geometry.affine))


def lower_half(volume: Volume) -> Volume:
    """Return what a series that ends in the middle of the head shows of an axial volume."""
    d, h, w = volume.geometry.shape
    return volume.crop(Box((0, 0, 0), (d // 2, h, w)))


def overlap_with(t1c: Volume, volume: Volume) -> float:
    """Return the Dice coefficient of two heads on one grid."""
    ours, theirs = t1c.voxels > HEAD, volume.voxels > HEAD
    return 2.0 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))


def test_sequences_that_lie_where_they_say_are_only_resampled(t1c: Volume, t2w: Volume) -> None:
    """A sagittal T2w comes to lie on the axial T1c without a finding."""
    aligned = align_study(Study({Sequence.T1C: t1c, Sequence.T2W: t2w}), spacing_mm=2.0)
    assert aligned.findings == ()
    assert overlap_with(aligned.volumes[Sequence.T1C], aligned.volumes[Sequence.T2W]) > 0.99


def test_a_sequence_that_moved_is_registered_and_said_so(t1c: Volume, t2w: Volume) -> None:
    """A patient who turned between two sequences is turned back."""
    wrong = moved(t2w, shift_mm=(9.0, -6.0, 5.0), turn_deg=8.0)
    aligned = align_study(Study({Sequence.T1C: t1c, Sequence.T2W: wrong}), spacing_mm=2.0)
    (finding,) = aligned.findings
    assert (finding.code, finding.sequence) == (FindingCode.SEQUENCE_REGISTERED, Sequence.T2W)
    assert overlap_with(aligned.volumes[Sequence.T1C], aligned.volumes[Sequence.T2W]) > 0.97


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("turn_deg", [-14.0, 8.0])
def test_a_head_that_turned_does_not_lie_where_it_says(t1c: Volume, t2w: Volume, axis: str, turn_deg: float) -> None:
    """No shift makes up for a turn, which is looked for on its own."""
    turned = resample_volume(moved(t2w, turn_deg=turn_deg, axis=axis), t1c.geometry)
    assert not fits_best_in_place(t1c, turned)


def test_part_of_a_head_lies_where_it_says(t1c: Volume) -> None:
    """Voxels that were not acquired are no intensities: half a pale head is believed, if it did not move."""
    pale = Volume(np.where(t1c.voxels > 0, np.float32(500.0), np.float32(0.0)), t1c.geometry)
    half = lower_half(pale)
    assert fits_best_in_place(t1c, resample_volume(half, t1c.geometry))
    assert not fits_best_in_place(t1c, resample_volume(moved(half, shift_mm=(0.0, 0.0, 6.0)), t1c.geometry))


def test_a_volume_too_thin_to_be_shifted_lies_where_it_says(t1c: Volume) -> None:
    """Where coarse voxels leave no room for a shift, the header stands unopposed."""
    d, h, w = t1c.geometry.shape
    thin = t1c.crop(Box((d // 2, 0, 0), (d // 2 + 3, h, w)))
    assert fits_best_in_place(thin, thin)


def test_too_little_of_a_head_tells_nothing() -> None:
    """Less than 2 cm is believed, whatever is in it; more of what resembles nothing is not."""
    random = np.random.default_rng(0)
    noise = [random.random((48, 80, 80), np.float32) for _ in range(2)]
    for slices, believed in ((16, True), (48, False)):
        fixed, part = (Volume(voxels, make_geometry(voxels.shape)) for voxels in (noise[0], noise[1].copy()))
        part.voxels[slices:] = 0.0
        assert fits_best_in_place(fixed, part) is believed


def test_a_registration_finds_the_motion(t1c: Volume, t2w: Volume) -> None:
    """What was moved by a known motion is moved back by it, within a voxel at the head's centre."""
    found = register_rigidly(moved(t2w, shift_mm=(7.0, 4.0, -5.0), turn_deg=6.0), onto=t1c)
    assert found.angle_deg == pytest.approx(6.0, abs=2.0)
    np.testing.assert_allclose(found.matrix[:3, :3] @ (7.0, 4.0, -5.0) + found.matrix[:3, 3], 0.0, atol=2.0)


def test_a_registration_is_repeatable_to_the_bit(t1c: Volume, t2w: Volume) -> None:
    """One study has one result, however threads take turns."""
    wrong = moved(t2w, shift_mm=(7.0, 4.0, -5.0), turn_deg=6.0)
    found = {register_rigidly(wrong, onto=t1c).matrix.tobytes() for _ in range(6)}
    assert len(found) == 1


def test_a_sequence_of_something_else_is_dropped(t1c: Volume, t2w: Volume) -> None:
    """What cannot be brought onto the T1c is left out, and the study goes on without it."""
    elsewhere = Volume(
        np.random.default_rng(0).random(t2w.voxels.shape, dtype=np.float32),
        moved(t2w, shift_mm=(80.0, 0.0, 0.0)).geometry,
    )
    aligned = align_study(Study({Sequence.T1C: t1c, Sequence.T2W: elsewhere}), spacing_mm=2.0)
    assert list(aligned.volumes) == [Sequence.T1C]
    assert [finding.code for finding in aligned.findings] == [FindingCode.SEQUENCE_DROPPED]


def test_sequences_side_by_side_are_refused(t1c: Volume, t2w: Volume) -> None:
    """Volumes that share no place are not one study."""
    with pytest.raises(SequencesDoNotOverlapError, match="t2w"):
        align_study(Study({Sequence.T1C: t1c, Sequence.T2W: moved(t2w, shift_mm=(500.0, 0, 0))}), spacing_mm=2.0)


def test_a_study_without_t1c_is_refused(t2w: Volume) -> None:
    """The error says what there is."""
    with pytest.raises(MissingT1cError, match="t2w"):
        Study({Sequence.T2W: t2w})


def test_the_acquired_grid_is_kept(t1c: Volume) -> None:
    """The result can go back to where it came from."""
    assert align_study(Study({Sequence.T1C: t1c}), spacing_mm=1.0).acquired == t1c.geometry


def test_an_aligned_study_has_one_grid(t1c: Volume) -> None:
    """Volumes on different grids are never stacked."""
    other = Volume(np.zeros((2, 2, 2), dtype=np.float32), axial_geometry((2, 2, 2)))
    aligned = AlignedStudy({Sequence.T1C: t1c}, t1c.geometry, ())
    with pytest.raises(InternalError):
        dataclasses.replace(aligned, volumes={Sequence.T1C: t1c, Sequence.T2W: other})
