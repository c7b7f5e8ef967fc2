"""Rounding to float16 and back is IEEE 754's, whoever does it."""

import numpy as np

from brainmets.imaging.half_precision import to_half, to_single

# Every float16 but NaN, whose payloads are nobody's promise.
HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)
HALVES = HALVES[~np.isnan(HALVES)]


def bits(values: np.ndarray) -> np.ndarray:
    """Return the bits, which tell -0 from 0."""
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def test_every_half_is_the_same_number_in_single() -> None:
    """Subnormals, infinities and both zeros too."""
    single = np.empty((1, 2, HALVES.size // 2), dtype=np.float32)
    to_single(HALVES.reshape(single.shape), out=single)
    np.testing.assert_array_equal(bits(single), bits(HALVES.astype(np.float32).reshape(single.shape)))


def test_singles_round_to_the_nearest_half_and_ties_to_even() -> None:
    """What lies halfway between two, just below and just above it."""
    finite = np.sort(HALVES[np.isfinite(HALVES)].astype(np.float32))
    halfway = (finite[1:] + finite[:-1]) / np.float32(2)
    singles = np.concatenate(
        [np.nextafter(halfway, np.float32(-np.inf)), halfway, np.nextafter(halfway, np.float32(np.inf))]
    )
    half = to_half(singles.reshape(1, 1, 3, -1))
    np.testing.assert_array_equal(bits(half), bits(singles.astype(np.float16).reshape(half.shape)))


def test_a_view_of_a_volume_is_converted_whole() -> None:
    """A tile is a part of a volume, and its voxels do not follow each other in memory."""
    volume = np.random.default_rng(0).normal(size=(2, 6, 7, 8)).astype(np.float32)
    part = volume[:, 1:4, 2:, :5]
    np.testing.assert_array_equal(to_half(part), part.astype(np.float16))
