"""The picture shows each lesion where it is, in radiological convention, whatever grid the lesions lie on."""

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial.transform import Rotation

from brainmets.formats.overlay import (
    LESION_COLORS,
    MARGIN,
    PAPER,
    SMALL_SIZE,
    TEXT_SIZE,
    WARNING,
    render_overlay,
)
from brainmets.formats.overlay_slices import MAX_SLICES, WANTED_SLICES, choose_slices
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.lesions import LesionMask, find_lesions
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from imaging_cases import AXIAL, CORONAL, OBLIQUE, SAGITTAL, ball_mask, make_geometry
from result_cases import make_result

# As preprocessing makes it: index and LPS coordinates rise together.
HEAD_GRID = make_geometry((60, 80, 70), origin_mm=(-35.0, -40.0, -30.0))

# Correlation of words with their like; another digit leaves 0.95.
SAME_WORDS = 0.999


def head(grid: Geometry = HEAD_GRID) -> Volume:
    """Return grey noise on the network's grid, or another one."""
    return Volume(np.random.default_rng(0).normal(1.0, 0.1, grid.shape).astype(np.float32), grid)


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


def shows(pixels: NDArray[np.int16], words: str, *, size: int) -> bool:
    """Return whether a picture shows words, brighter than what is behind them."""
    font = ImageFont.load_default(size)
    _, _, width, height = (round(edge) for edge in font.getbbox(words))
    expected = Image.new("L", (width, height))
    ImageDraw.Draw(expected).text((0, 0), words, 255, font)
    # What is black all over is like nothing; a little noise keeps it from being like anything.
    grey = pixels.mean(axis=2).astype(np.float32) + np.random.default_rng(0).random(pixels.shape[:2], dtype=np.float32)
    found = cv2.matchTemplate(grey, np.asarray(expected, dtype=np.float32), cv2.TM_CCOEFF_NORMED)
    return bool(found.max() > SAME_WORDS)


def angled_grid(angle_deg: float) -> Geometry:
    """Return the grid of a head whose slices lean, the middle of its middle voxel at (0, 0, 0)."""
    directions = Rotation.from_euler("x", angle_deg, degrees=True).as_matrix() @ AXIAL
    origin_mm = directions @ np.array([-30.0, -40.0, -35.0])
    return make_geometry((61, 81, 71), directions=directions, origin_mm=tuple(origin_mm.tolist()))


def angled_picture(mask: LesionMask) -> NDArray[np.int16]:
    """Return the picture of a head on a mask's grid."""
    t1c = head(mask.geometry)
    # So that nothing lies behind the words there.
    t1c.voxels[:, 70:, :35] = 0.0
    png = render_overlay(t1c, find_lesions(mask, min_volume_mm3=0.0), make_result(mask))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int16)


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


def test_no_lesion_is_left_out_for_one_that_is_shown_better() -> None:
    """Twelve large ones do not keep a slice from being taken that shows hundreds of small ones."""
    voxels = np.zeros(HEAD_GRID.shape, dtype=np.bool_)
    for large in range(12):
        voxels[4 * large, 10 : 10 + 20, 10:20] = True
    voxels[55, 2:78:4, 2:68:4] = True
    chosen = slices_of(LesionMask(voxels, HEAD_GRID))
    assert 55 in chosen
    assert len(chosen) == MAX_SLICES


def test_slices_come_from_foot_to_head() -> None:
    """As a reader scrolls."""
    shown = slices_of(ball((0.0, 0.0, 0.0), diameter_mm=40.0))
    assert list(shown) == sorted(set(shown))


def test_no_lesion_is_a_tour_of_the_head() -> None:
    """A reader sees what was looked at."""
    assert len(slices_of(empty())) == WANTED_SLICES


@pytest.mark.parametrize("angle_deg", [0.0, 12.0, -25.0])
@pytest.mark.parametrize("index", [(30, 40, 35), (35, 65, 40), (22, 10, 30)])
def test_a_slice_lies_where_the_lesion_in_it_does(angle_deg: float, index: tuple[int, int, int]) -> None:
    """Its z is that of the table, also where the slices are angled and rise by centimetres within the head."""
    grid = angled_grid(angle_deg)
    centre_mm = grid.index_to_world(np.array([index]))[0]
    pixels = angled_picture(ball_mask(4.5, geometry=grid, centre_mm=centre_mm))
    assert shows(pixels, f"z {round(centre_mm[2])} mm", size=SMALL_SIZE)
    assert not shows(pixels, f"z {round(centre_mm[2] + 10.0)} mm", size=SMALL_SIZE)


@pytest.mark.parametrize("angle_deg", [0.0, 12.0, -25.0])
def test_a_slice_without_lesions_lies_where_its_middle_does(angle_deg: float) -> None:
    """The first one of a tour lies a fifth of the head from its lower end."""
    grid = angled_grid(angle_deg)
    pixels = angled_picture(LesionMask(np.zeros(grid.shape, dtype=np.bool_), grid))
    assert shows(pixels, f"z {round(-18.0 * np.cos(np.deg2rad(angle_deg)))} mm", size=SMALL_SIZE)


@pytest.mark.parametrize(("angle_deg", "is_said"), [(0.0, False), (0.9, False), (-25.0, True), (12.0, True)])
def test_angled_slices_are_said_to_be(angle_deg: float, *, is_said: bool) -> None:
    """Once, below the slices."""
    grid = angled_grid(angle_deg)
    pixels = angled_picture(LesionMask(np.zeros(grid.shape, dtype=np.bool_), grid))
    assert shows(pixels, f"Slices angled by {abs(angle_deg):.0f}°", size=SMALL_SIZE) == is_said


@pytest.mark.parametrize(("lesions", "outlined"), [(5, 5), (20, MAX_SLICES)])
def test_lesions_that_are_not_outlined_are_told_of(lesions: int, outlined: int) -> None:
    """A reader does not take twelve slices for all of them."""
    voxels = np.zeros(HEAD_GRID.shape, dtype=np.bool_)
    voxels[1 : 3 * lesions : 3, 30:32, 30:32] = True
    said = shows(
        picture(LesionMask(voxels, HEAD_GRID)), f"{outlined} of {lesions} lesions are outlined here", size=TEXT_SIZE
    )
    assert said == (outlined < lesions)


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
