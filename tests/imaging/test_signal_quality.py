"""Noise and ghosts are measured as what was put in."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainmets.imaging.findings import FindingCode, Severity
from brainmets.imaging.foreground import find_foreground
from brainmets.imaging.resampling import resample_volume
from brainmets.imaging.signal_quality import find_signal_faults, measure_ghosts, measure_noise
from brainmets.imaging.volume import Volume
from heads import head_geometry, head_on
from imaging_cases import AXIAL

BRAIN_SIGNAL = 300.0


@pytest.fixture(scope="module")
def still() -> Volume:
    """A head with its skull, in air with a little noise."""
    return head_on(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0), reach_mm=96.0), skull=True, noise=6.0)


def with_noise(volume: Volume, deviation: float) -> Volume:
    """Return a volume with the noise of a magnitude image: Gaussian in either component."""
    real, imaginary = np.random.default_rng(1).normal(0.0, deviation, (2, *volume.voxels.shape))
    return Volume(np.hypot(volume.voxels + real, imaginary).astype(np.float32), volume.geometry)


def moved_between_lines(volume: Volume, *, shift_mm: float, axis: int) -> Volume:
    """Return a volume whose every other block of phase encoding lines was acquired of a shifted head."""
    size = volume.voxels.shape[axis]
    lines = np.fft.fft(volume.voxels, axis=axis)
    elsewhere = np.fft.fft(np.roll(volume.voxels, round(shift_mm / volume.geometry.spacing_mm[axis]), axis), axis=axis)
    late = np.abs(np.fft.fftfreq(size)) * 16 % 2 >= 1  # motion there and back, symmetric in k-space
    late = late.reshape([-1 if other == axis else 1 for other in range(3)])
    return Volume(np.abs(np.fft.ifft(np.where(late, elsewhere, lines), axis=axis)).astype(np.float32), volume.geometry)


def codes(volume: Volume) -> dict[FindingCode, Severity]:
    """Return what is said of a volume."""
    foreground = find_foreground(volume)
    found = find_signal_faults(volume, foreground, grid=volume.geometry, acquired=volume.geometry)
    return {finding.code: finding.severity for finding in found}


@pytest.mark.parametrize("deviation", [5.0, 20.0, 40.0])
def test_noise_is_measured_beneath_a_bias_field(deviation: float) -> None:
    """What is linear in space is no noise; the estimate holds within a tenth."""
    z, y, x = np.ogrid[:24, :120, :120]
    ramp = 500.0 + 2.0 * x + 1.5 * y + z
    noisy = (ramp + np.random.default_rng(0).normal(0.0, deviation, (24, 120, 120))).astype(np.float32)
    assert measure_noise(noisy, np.ones(noisy.shape, dtype=np.bool_)) == pytest.approx(deviation, rel=0.1)


def test_no_noise_is_measured_in_nothing() -> None:
    """A head too small to have an inside tells nothing."""
    voxels = np.ones((8, 8, 8), dtype=np.float32)
    assert measure_noise(voxels, np.zeros(voxels.shape, dtype=np.bool_)) == 0.0
    assert measure_noise(voxels[:1], np.ones((1, 8, 8), dtype=np.bool_)) == 0.0


def test_a_clear_head_has_no_finding(still: Volume) -> None:
    """Signal over noise of fifty, and nobody moved."""
    assert codes(still) == {}


def test_intensities_may_begin_below_zero(still: Volume) -> None:
    """Signal is what stands out of air, whatever number air has."""
    assert codes(Volume(still.voxels - np.float32(1024.0), still.geometry)) == {}


@pytest.mark.parametrize(
    ("noise_fraction", "severity"), [(0.1, None), (0.22, Severity.WARNING), (0.45, Severity.SEVERE)]
)
def test_a_noisy_head_is_said(noise_fraction: float, severity: Severity | None, still: Volume) -> None:
    """A metastasis stands out by half of the signal to all of it."""
    found = codes(with_noise(still, noise_fraction * BRAIN_SIGNAL))
    assert found.get(FindingCode.LOW_SIGNAL) is severity


@pytest.mark.parametrize("axis", [1, 2])
def test_motion_smears_the_head_into_the_air(axis: int, still: Volume) -> None:
    """Along the direction of phase encoding, whichever of the two in the plane that is."""
    assert codes(moved_between_lines(still, shift_mm=3.0, axis=axis)) == {FindingCode.MOTION: Severity.WARNING}


def test_ghosts_grow_with_motion(still: Volume) -> None:
    """The further the head moved, the brighter the air beside it."""
    head = find_foreground(still)
    shifts_mm = (0.0, 1.0, 2.0, 4.0)
    moved = [moved_between_lines(still, shift_mm=shift_mm, axis=1) for shift_mm in shifts_mm]
    ghosts = [measure_ghosts(volume, head, acquired=still.geometry) for volume in moved]
    assert ghosts == sorted(ghosts)
    assert ghosts[0] < 0.2 * ghosts[-1]


def test_shifted_fat_is_no_ghost(still: Volume) -> None:
    """What is bright within a centimetre beside the head is left out."""
    head = find_foreground(still)
    beside = np.roll(head, 4, axis=2) & ~head  # 8 mm to the left
    shifted = Volume(np.where(beside, 400.0, still.voxels).astype(np.float32), still.geometry)
    ghosts = [measure_ghosts(volume, head, acquired=still.geometry) for volume in (still, shifted)]
    assert ghosts[1] == pytest.approx(ghosts[0])


def test_air_that_was_set_to_zero_tells_nothing(still: Volume) -> None:
    """Ghosts that a scanner masked cannot be found, and none are made up."""
    moved = moved_between_lines(still, shift_mm=3.0, axis=1)
    masked = Volume(np.where(find_foreground(still), moved.voxels, 0.0).astype(np.float32), still.geometry)
    assert measure_ghosts(masked, find_foreground(still), acquired=still.geometry) == 0.0


def test_empty_corners_of_a_turned_field_of_view_are_no_dark_air() -> None:
    """Beyond what was acquired there is nothing to compare with."""
    turned = Rotation.from_euler("z", 25.0, degrees=True).as_matrix() @ AXIAL
    acquired = head_geometry(turned, spacing_mm=(2.0, 2.0, 2.0), reach_mm=100.0)
    grid = head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0), reach_mm=132.0)
    aligned = resample_volume(head_on(acquired, skull=True, noise=30.0), grid)
    head = aligned.voxels > 200.0
    assert measure_ghosts(aligned, head, acquired=acquired) < 0.01 * BRAIN_SIGNAL
    # The corners are there: taken for air, they would be the darkest.
    dark = Volume(np.where(aligned.voxels == 0.0, 1.0, aligned.voxels).astype(np.float32), grid)
    assert measure_ghosts(dark, head, acquired=grid) > 0.015 * BRAIN_SIGNAL


@pytest.mark.parametrize("axis", [1, 2])
def test_bands_of_zeros_beside_a_field_of_view_are_no_dark_air(axis: int, still: Volume) -> None:
    """A scanner fills a field of view up that is smaller along phase encoding; nobody moved."""
    noisy = with_noise(still, 15.0).voxels.swapaxes(axis, 2)
    noisy[..., :14] = 0.0
    noisy[..., -14:] = 0.0
    assert codes(Volume(noisy.swapaxes(axis, 2), still.geometry)) == {}


def test_zeros_among_noise_are_air(still: Volume) -> None:
    """Air that is stored in whole numbers is often 0, and more rarely where a ghost lies."""
    head = find_foreground(still)
    shares = np.where(head.any(axis=1, keepdims=True), 0.5, 0.25)
    air = 40.0 * (np.random.default_rng(0).random(head.shape) < shares)
    stored = Volume(np.where(head, still.voxels, air).astype(np.float32), still.geometry)
    assert measure_ghosts(stored, head, acquired=still.geometry) > 5.0


def test_no_signal_is_severe(still: Volume) -> None:
    """A head that is darker than its air has no signal to speak of."""
    negative = Volume(-still.voxels, still.geometry)
    head = find_foreground(still)
    (finding,) = find_signal_faults(negative, head, grid=still.geometry, acquired=still.geometry)
    assert (finding.code, finding.severity) == (FindingCode.LOW_SIGNAL, Severity.SEVERE)
