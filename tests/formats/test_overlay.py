"""The picture shows each lesion where it is, in radiological convention, whatever grid the lesions lie on."""

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmets.formats.overlay import LESION_COLORS, MARGIN, PAPER, TEXT_SIZE, WARNING, render_overlay
from brainmets.formats.overlay_slices import MAX_SLICES, WANTED_SLICES, choose_slices
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.lesions import LesionMask, find_lesions
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from imaging_cases import AXIAL, CORONAL, OBLIQUE, SAGITTAL, ball_mask, make_geometry
from result_cases import make_result

# As preprocessing makes it: index and LPS coordinates rise together.
HEAD_GRID = make_geometry((60, 80, 70), origin_mm=(-35.0, -40.0, -30.0))


def head() -> Volume:
    """Return grey noise on the network's grid."""
    voxels = np.random.default_rng(0).normal(1.0, 0.1, HEAD_GRID.shape).astype(np.float32)
    return Volume(voxels, HEAD_GRID)


def ball(
    centre_mm: tuple[float, float, float], *, directions: NDArray[np.float64] = AXIAL, diameter_mm: float = 12.0
) -> LesionMask:
    """Return a ball on a grid of its own around the head."""
    corner_mm = directions @ np.array([-45.0, -45.0, -45.0])
    geometry = make_geometry((91, 91, 91), directions=directions, origin_mm=tuple(corner_mm.tolist()))
    return ball_mask(diameter_mm, geometry=geometry, centre_mm=np.array(centre_mm))


def picture(mask: LesionMask) -> NDArray[np.int16]:
    """Return the picture's pixels (H, W, 3)."""
    png = render_overlay(head(), find_lesions(mask, min_volume_mm3=0.0), make_result(mask))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def pixels_of(mask: LesionMask, finding: Finding) -> NDArray[np.int16]:
    """Return the picture of a result with one finding."""
    result = replace(make_result(mask), findings=(finding,))
    png = render_overlay(head(), find_lesions(mask, min_volume_mm3=0.0), result)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


def warned(pixels: NDArray[np.int16]) -> int:
    """Return how many pixels have the colour of what is said of the input."""
    return int(np.count_nonzero(np.abs(pixels - np.array(WARNING)).max(axis=2) < 40))


def colored(pixels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return which pixels have the first lesion's colour."""
    return np.abs(pixels - np.array(LESION_COLORS[0])).max(axis=2) < 40


def slices_of(mask: LesionMask) -> tuple[int, ...]:
    """Return the slices that are shown."""
    return choose_slices(find_lesions(mask, min_volume_mm3=0.0), HEAD_GRID)


def empty() -> LesionMask:
    """Return no lesion."""
    return LesionMask(np.zeros(HEAD_GRID.shape, dtype=np.bool_), HEAD_GRID)


def test_the_patients_left_is_on_the_right() -> None:
    """A lesion that moves to the left moves to the right of each slice, by twice its way over the panel's."""
    left, right = colored(picture(ball((20.0, 0.0, 0.0)))), colored(picture(ball((-20.0, 0.0, 0.0))))
    moved = np.argwhere(left)[:, 1].mean() - np.argwhere(right)[:, 1].mean()
    assert moved > 40


def test_the_front_is_on_top() -> None:
    """A lesion further back is drawn further down."""
    back, front = colored(picture(ball((0.0, 20.0, 0.0)))), colored(picture(ball((0.0, -20.0, 0.0))))
    assert np.argwhere(back)[:, 0].mean() - np.argwhere(front)[:, 0].mean() > 40


@pytest.mark.parametrize("directions", [SAGITTAL, CORONAL, OBLIQUE])
def test_a_lesion_is_drawn_where_it_lies(directions: NDArray[np.float64]) -> None:
    """The plane of the lesion's own grid makes no difference but for its voxels' corners."""
    here = np.argwhere(colored(picture(ball((10.0, -15.0, 5.0)))))
    there = np.argwhere(colored(picture(ball((10.0, -15.0, 5.0), directions=directions))))
    np.testing.assert_allclose(here.mean(axis=0), there.mean(axis=0), atol=4.0)


def test_a_lesion_is_shown_where_it_is_largest() -> None:
    """The slice through its centre is among those that are shown."""
    assert min(abs(index - 35) for index in slices_of(ball((0.0, 0.0, 5.0)))) <= 1


def test_every_lesion_is_shown_while_there_is_room() -> None:
    """Each of two lesions far apart has a slice."""
    both = ball((0.0, 0.0, -18.0)).voxels | ball((0.0, 0.0, 18.0)).voxels
    shown = slices_of(LesionMask(both, ball((0.0, 0.0, 0.0)).geometry))
    assert min(abs(index - 12) for index in shown) <= 1
    assert min(abs(index - 48) for index in shown) <= 1


def test_the_number_of_slices_is_bounded() -> None:
    """Sixty lesions do not make sixty panels."""
    voxels = np.zeros(HEAD_GRID.shape, dtype=np.bool_)
    voxels[::2, 10, 10] = True
    assert len(slices_of(LesionMask(voxels, HEAD_GRID))) == MAX_SLICES


def test_slices_come_from_foot_to_head() -> None:
    """As a reader scrolls."""
    shown = slices_of(ball((0.0, 0.0, 0.0), diameter_mm=40.0))
    assert list(shown) == sorted(set(shown))


def test_no_lesion_is_a_tour_of_the_head() -> None:
    """A reader sees what was looked at."""
    assert len(slices_of(empty())) == WANTED_SLICES


@pytest.mark.parametrize("mask", [ball((0.0, 0.0, 0.0)), empty()], ids=["lesion", "none"])
def test_what_was_not_looked_at_is_not_shown(mask: LesionMask) -> None:
    """A neck that no tile covers is black, and neither drawn nor toured."""
    neck = ((40, 0), (12, 5), (9, 3))
    origin_mm = tuple(HEAD_GRID.index_to_world(np.array([[-40, -12, -9]]))[0].tolist())
    voxels = np.pad(head().voxels, neck)
    with_neck = Volume(voxels, make_geometry(voxels.shape, origin_mm=origin_mm))
    instances, result = find_lesions(mask, min_volume_mm3=0.0), make_result(mask)
    assert render_overlay(with_neck, instances, result) == render_overlay(head(), instances, result)


def test_what_is_said_of_the_input_is_not_cut_off() -> None:
    """A long finding is broken into lines, none of which reaches the margin, and names its sequence."""
    words = "The sequence did not lie where its header says and was moved by 12.3 mm and 4.5 degrees onto the T1c. " * 2
    finding = Finding(FindingCode.SEQUENCE_REGISTERED, words, Sequence.T2F)
    short, long, named = (
        pixels_of(empty(), replace(finding, message=message, sequence=sequence))
        for message, sequence in ((words[:40], None), (words, None), (words[:40], Sequence.T2F))
    )
    assert len(long) >= len(short) + 2 * TEXT_SIZE
    assert (long[:, -MARGIN:] == PAPER).all(axis=2)[: len(long) - len(short) + 2 * TEXT_SIZE].all()
    assert warned(named) > warned(short)


def test_no_lesion_draws_no_outline() -> None:
    """Nothing is marked in a head without findings."""
    assert not colored(picture(empty())).any()


def test_an_empty_head_is_no_error() -> None:
    """A picture is drawn of whatever there is."""
    blank = Volume(np.zeros(HEAD_GRID.shape, dtype=np.float32), HEAD_GRID)
    assert render_overlay(blank, find_lesions(empty(), min_volume_mm3=0.0), make_result(empty())).startswith(b"\x89PNG")
