"""The brain network sees a head, and not the scale of its intensities nor the size of its field of view."""

import numpy as np
import pytest

from brainmets.imaging.brain_network import MOST, BrainNetwork, scale_coarse
from brainmets.runtime.brain_weights import load_brain_network


@pytest.fixture(scope="module")
def network() -> BrainNetwork:
    """Return the shipped network."""
    return load_brain_network()


def ball(shape: tuple[int, int, int]) -> np.ndarray:
    """Return a ball of 1 with a radius of 9 voxels in the middle of a noisy air."""
    distance = np.linalg.norm(np.indices(shape).T - (np.array(shape) - 1) / 2, axis=-1).T
    noise = np.random.default_rng(0).uniform(0.0, 0.05, shape)
    return ((distance < 9.0) + noise).astype(np.float32)


def test_neither_scale_nor_offset_matters() -> None:
    """A rescaled and shifted head is the same to the network."""
    head = ball((24, 24, 24))
    np.testing.assert_allclose(scale_coarse(-40.0 + 7.0 * head), scale_coarse(head), atol=1e-5)


def test_bright_tissue_is_one_whatever_the_air_around_it() -> None:
    """Twice the field of view leaves the head's intensities what they were."""
    near, far = (scale_coarse(ball((size,) * 3)) for size in (22, 44))
    assert near[11, 11, 11] == pytest.approx(far[22, 22, 22], abs=0.05)
    assert near[11, 11, 11] == pytest.approx(1.0, abs=0.05)


def test_spikes_end() -> None:
    """One voxel of a thousandfold intensity is no brighter than fat."""
    head = ball((24, 24, 24))
    head[12, 12, 12] = 1000.0
    assert scale_coarse(head).max() == MOST


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_one_value_everywhere_has_a_scale(value: float) -> None:
    """Nothing is divided by nothing."""
    assert np.isfinite(scale_coarse(np.full((8, 8, 8), value, dtype=np.float32))).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 16, 24), (17, 31, 26)])
def test_a_share_is_told_for_every_voxel(network: BrainNetwork, shape: tuple[int, int, int]) -> None:
    """Whether or not the poolings divide the grid."""
    shares = network.infer(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert shares.shape == shape
    assert 0.0 <= shares.min() <= shares.max() <= 1.0


def test_the_same_head_has_the_same_brain(network: BrainNetwork) -> None:
    """Two calls agree to the bit."""
    head = ball((24, 28, 20))
    np.testing.assert_array_equal(network.infer(head), network.infer(head))
