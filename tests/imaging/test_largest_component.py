"""The largest part of a mask, beside scipy's labels of its voxels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from brainmets.imaging.largest_component import keep_largest

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))


@given(shape=shapes, seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 1.0))
def test_the_largest_part_is_that_of_the_voxels(shape: tuple[int, int, int], seed: int, share: float) -> None:
    """Also where parts touch at edges and corners alone, and the first of two as large stays."""
    voxels = np.random.default_rng(seed).random(shape) < share
    framed = np.pad(voxels, 1)
    keep_largest(framed)
    labels, count = ndimage.label(voxels)
    largest = 1 + np.bincount(labels.ravel(), minlength=2)[1:].argmax()
    np.testing.assert_array_equal(framed, np.pad(labels == largest if count else voxels, 1))
