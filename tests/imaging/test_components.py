"""The components of a mask, beside scipy's labels of its voxels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from brainmets.imaging.components import Components, keep_largest

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
seeds, shares = st.integers(0, 2**32 - 1), st.floats(0.0, 1.0)


@given(shape=shapes, seed=seeds, share=shares)
@pytest.mark.parametrize("diagonal", [False, True])
def test_components_are_those_of_the_voxels(
    shape: tuple[int, int, int], seed: int, share: float, *, diagonal: bool
) -> None:
    """In their order, with their sizes and their boxes, whatever touches at edges and corners alone."""
    framed = np.pad(np.random.default_rng(seed).random(shape) < share, 1)
    labels, count = ndimage.label(framed, structure=ndimage.generate_binary_structure(3, 3 if diagonal else 1))
    components = Components.find(framed, diagonal=diagonal)
    np.testing.assert_array_equal(components.voxel_counts, np.bincount(labels.ravel(), minlength=count + 1)[1:])
    for component, place in enumerate(ndimage.find_objects(labels)):
        box, voxels = components.cut_out(component)
        assert box.slices == place
        np.testing.assert_array_equal(voxels, labels[place] == component + 1)


@given(shape=shapes, seed=seeds, share=shares)
def test_the_largest_component_is_kept(shape: tuple[int, int, int], seed: int, share: float) -> None:
    """By its faces; the first of two as large."""
    voxels = np.random.default_rng(seed).random(shape) < share
    framed = np.pad(voxels, 1)
    keep_largest(framed)
    labels, count = ndimage.label(voxels)
    largest = 1 + np.bincount(labels.ravel(), minlength=2)[1:].argmax()
    np.testing.assert_array_equal(framed, np.pad(labels == largest if count else voxels, 1))
