"""Owns the picture of a result: axial slices of the T1c with every lesion outlined and numbered.

Slices are shown in radiological convention, as if from the patient's feet: the patient's left is on the right.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import affine_transform

from brainmets.formats.overlay_slices import choose_slices
from brainmets.formats.png import write_png
from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.lesions import InstanceMap
from brainmets.imaging.result import INTENDED_USE, SegmentationResult
from brainmets.imaging.volume import Volume

Color = tuple[int, int, int]
Line = tuple[str, Color, int]
"""A line of text: words, colour, and size in pixels."""

CONVENTION = "T1c, axial, radiological convention: the patient's left is on the right."
PAPER: Color = (17, 19, 23)
INK: Color = (232, 234, 237)
FAINT: Color = (150, 156, 166)
WARNING: Color = (255, 196, 87)
# Told apart on grey, also by people with red-green blindness (Okabe and Ito 2008, brightened).
LESION_COLORS: tuple[Color, ...] = ((255, 176, 32), (86, 200, 255), (60, 230, 170), (255, 120, 200), (245, 235, 80))
# Screen pixels for a millimetre, by the most slices shown at that size.
PIXELS_PER_MM = ((2, 3.0), (6, 2.25), (12, 1.8))
MAX_COLUMNS = 4
MIN_WIDTH = 760
# Black around the head, so that marks do not lie on it.
FRAME_MM = 9.0
# Width of a lesion's line below the picture, pixels.
LISTED_WIDTH = 330
MARGIN = 14
SCALE_BAR_MM = 20.0
# Darkest and brightest tissue shown, percentiles of the head.
WINDOW_PERCENTILES = (1.0, 99.7)
# They are taken from every second voxel on each axis, an eighth of the head.
WINDOW_STEP = 2
# Lesions listed below the picture; all of them stand in the table.
MAX_LISTED = 12
LINE_WIDTH = 2
HALF = 0.5
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 24, 15, 13
# Mean width of a character of the built-in font, as a fraction of its size.
CHARACTER_WIDTH = 0.5
# Slices that lean by less count as straight: over a head it is 2 mm.
MIN_ANGULATION_DEG = 1.0
# From line to line, as a fraction of the size.
LINE_SPACING = 1.45


def render_overlay(t1c: Volume, instances: InstanceMap, result: SegmentationResult) -> bytes:
    """Draw a result as PNG.

    Args:
        t1c: The T1c on an axial grid, rows towards the back and columns towards the left, zero beside the head.
        instances: The lesions, on any grid.
        result: Their measurements.
    """
    # Tiles cover the brain: beside and below it the T1c may be black.
    shown = find_bounding_box(t1c.voxels != 0.0)
    t1c = t1c if shown is None else t1c.crop(shown)
    views = list(_views(t1c, choose_slices(instances, t1c.geometry)))
    lesions = [_place(lesion, instances, views[0].grid) for lesion in result.lesions]
    outlines = [_outline_lesions(view, lesions) for view in views]
    panels = [_draw_panel(view, drawn) for view, drawn in zip(views, outlines, strict=True)]
    # As few rows as there can be, all of about one length.
    rows = -(-len(panels) // MAX_COLUMNS)
    columns = -(-len(panels) // rows)
    width = max(MIN_WIDTH, columns * (panels[0].width + MARGIN) + MARGIN)
    outlined = len({outline.lesion.label for drawn in outlines for outline in drawn})
    head, foot = _draw_head(result, width, outlined=outlined), _draw_foot(result, width)
    height = head.height + rows * (panels[0].height + MARGIN) + foot.height
    sheet = np.empty((height, width, 3), dtype=np.uint8)
    # A row at a time: `np.full` of three bytes for every pixel takes fifty times as long.
    sheet[:] = np.full((width, 3), PAPER, dtype=np.uint8)
    _paste(sheet, head, top=0, left=0)
    left = (width - columns * (panels[0].width + MARGIN) + MARGIN) // 2
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        top = head.height + row * (panel.height + MARGIN)
        _paste(sheet, panel, top=top, left=left + column * (panel.width + MARGIN))
    _paste(sheet, foot, top=height - foot.height, left=0)
    return write_png(sheet)


def _paste(sheet: NDArray[np.uint8], picture: Image.Image, *, top: int, left: int) -> None:
    sheet[top : top + picture.height, left : left + picture.width] = np.asarray(picture)


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One slice on the screen.

    Attributes:
        grey: (H, W), the slice's voxels as brightness.
        grid: The volume's axial grid, with the frame around it.
        index: Which of its slices.
        scale: Pixels of the screen for a voxel.
    """

    grey: NDArray[np.uint8]
    grid: Geometry
    index: int
    scale: float

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The slice at the screen's resolution, (H, W)."""
        size = (round(self.grey.shape[1] * self.scale), round(self.grey.shape[0] * self.scale))
        return np.asarray(cv2.resize(self.grey, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _views(t1c: Volume, slices: tuple[int, ...]) -> Iterator[_View]:
    per_mm = next(pixels for most, pixels in PIXELS_PER_MM if len(slices) <= most)
    depth, height, width = t1c.geometry.shape
    frame = round(FRAME_MM / t1c.geometry.spacing_mm[1])
    grid = t1c.geometry.crop(Box((0, -frame, -frame), (depth, height + frame, width + frame)))
    coarse = t1c.voxels[::WINDOW_STEP, ::WINDOW_STEP, ::WINDOW_STEP]
    inside = coarse[coarse != 0.0]
    low, high = np.percentile(inside, WINDOW_PERCENTILES).tolist() if inside.size else (0.0, 1.0)
    contrast = 255.0 / max(high - low, float(np.finfo(np.float32).tiny))
    for index in slices:
        plane = t1c.voxels[index]
        # Zero is no intensity of the head's but the place beside it, which is black.
        grey = np.where(plane != 0.0, ((plane - low) * contrast).clip(0.0, 255.0), 0.0).astype(np.uint8)
        yield _View(np.pad(grey, frame), grid, index, per_mm * grid.spacing_mm[1])


@dataclass(frozen=True, slots=True, eq=False)
class _PlacedLesion:
    """One lesion where it lies among the slices.

    Attributes:
        lesion: What is measured of it.
        inside: (D, H, W), 1 in the lesion and 0 beside it, with a voxel around it, over which it fades.
        to_inside: (4, 4), from an index of the views' grid to one of `inside`.
        first: The lowest index (3,) of the views' grid that `inside` reaches.
        last: The highest.
    """

    lesion: Lesion
    inside: NDArray[np.float32]
    to_inside: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]


def _place(lesion: Lesion, instances: InstanceMap, grid: Geometry) -> _PlacedLesion:
    (d, h, w), (d_end, h_end, w_end) = lesion.bounding_box.start, lesion.bounding_box.stop
    around = instances.geometry.crop(Box((d - 1, h - 1, w - 1), (d_end + 1, h_end + 1, w_end + 1)))
    inside = np.pad(instances.lesions[lesion.label - 1].mask.voxels, 1).astype(np.float32)
    places = grid.world_to_index(around.corners_mm())
    return _PlacedLesion(lesion, inside, around.inverse_affine @ grid.affine, places.min(axis=0), places.max(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """A lesion in a slice.

    Attributes:
        lesion: What is measured of it.
        lines: Its outlines, each (N, 1, 2) of pixels (x, y).
        inside: Pixels (N, 2) within them, as (row, column).
    """

    lesion: Lesion
    lines: list[NDArray[np.int32]]
    inside: NDArray[np.intp]


def _draw_panel(view: _View, outlines: list[_Outline]) -> Image.Image:
    picture = np.asarray(cv2.cvtColor(view.pixels, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    numbers: list[tuple[Lesion, tuple[int, int]]] = []
    for outline in outlines:
        cv2.polylines(picture, outline.lines, True, _color(outline.lesion), LINE_WIDTH, cv2.LINE_AA)
        points = np.concatenate(outline.lines)[:, 0]
        # Beside the corner that lies furthest to the upper right.
        x, y = points[(points[:, 0] - points[:, 1]).argmax()].tolist()
        numbers.append((outline.lesion, (x, y)))
    panel = Image.fromarray(picture)
    pen = ImageDraw.Draw(panel)
    for lesion, (x, y) in numbers:
        place = (min(x + 4, panel.width - 18), max(y - 2, TEXT_SIZE))
        pen.text(
            place,
            str(lesion.label),
            _color(lesion),
            _font(TEXT_SIZE),
            anchor="ls",
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
    _draw_marks(pen, view, size=panel.size, height_mm=_height_mm(view, outlines))
    return panel


def _outline_lesions(view: _View, lesions: list[_PlacedLesion]) -> list[_Outline]:
    """Return the lesions that a slice cuts."""
    near = (placed for placed in lesions if placed.first[0] <= view.index <= placed.last[0])
    return [outline for outline in (_outline(view, placed) for placed in near) if outline.lines]


def _outline(view: _View, placed: _PlacedLesion) -> _Outline:
    top, left = (np.floor((placed.first[1:] + HALF) * view.scale).astype(int) - 1).tolist()
    bottom, right = (np.ceil((placed.last[1:] + HALF) * view.scale).astype(int) + 1).tolist()
    to_inside = placed.to_inside @ _to_voxels(view, top=top, left=left)
    size = (1, bottom + 1 - top, right + 1 - left)
    mask = (affine_transform(placed.inside, to_inside, output_shape=size, order=1)[0] >= HALF).astype(np.uint8)
    lines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    inside = np.argwhere(mask) + np.array((top, left))
    return _Outline(placed.lesion, [np.asarray(line, dtype=np.int32) for line in lines], inside)


def _height_mm(view: _View, outlines: list[_Outline]) -> float:
    """Return the mean z of what is outlined in a slice, which may be angled; of its middle where nothing is."""
    row, column = (np.array(view.grid.shape[1:]) - 1) / 2
    if outlines:
        row, column = (np.concatenate([each.inside for each in outlines]).mean(axis=0) + HALF) / view.scale - HALF
    return float(view.grid.index_to_world(np.array([[view.index, row, column]]))[0, 2])


def _to_voxels(view: _View, *, top: int, left: int) -> NDArray[np.float64]:
    """Return the matrix (4, 4) from pixels (0, row, column) below and right of a corner to the view's voxels.

    Both are squares, and the first ones share their outer corner.
    """
    step = 1.0 / view.scale
    matrix = np.diag([1.0, step, step, 1.0])
    matrix[:3, 3] = view.index, (top + HALF) * step - HALF, (left + HALF) * step - HALF
    return matrix


def _draw_marks(pen: ImageDraw.ImageDraw, view: _View, *, size: tuple[int, int], height_mm: float) -> None:
    width, height = size
    font = _font(SMALL_SIZE)
    for letter, place, anchor in (
        ("R", (5, height // 2), "lm"),
        ("L", (width - 5, height // 2), "rm"),
        ("A", (width // 2, 4), "ma"),
        ("P", (width // 2, height - 4), "md"),
    ):
        pen.text(place, letter, FAINT, font, anchor=anchor)
    pen.text((6, height - 5), f"z {round(height_mm)} mm", FAINT, font, anchor="ld")
    bar = round(SCALE_BAR_MM / view.grid.spacing_mm[1] * view.scale)
    pen.line((width - 6 - bar, height - 7, width - 6, height - 7), INK, 2)
    pen.text((width - 6 - bar // 2, height - 10), f"{SCALE_BAR_MM:.0f} mm", FAINT, font, anchor="md")


def _draw_head(result: SegmentationResult, width: int, *, outlined: int) -> Image.Image:
    count = len(result.lesions)
    title = "No lesion found" if count == 0 else "1 lesion found" if count == 1 else f"{count} lesions found"
    lines: list[Line] = [
        (title, INK, TITLE_SIZE),
        *((line, FAINT, TEXT_SIZE) for line in _wrap(result.statement, width)),
    ]
    if outlined < count:
        lines.append((f"{outlined} of {count} lesions are outlined here; the table has all", WARNING, TEXT_SIZE))
    for finding in result.findings:
        about = f"{finding.sequence}: " if finding.sequence else ""
        lines += [(line, WARNING, TEXT_SIZE) for line in _wrap(about + finding.message, width)]
    return _draw_lines(lines, width)


def _draw_foot(result: SegmentationResult, width: int) -> Image.Image:
    listed = result.lesions[:MAX_LISTED]
    lines: list[Line] = []
    if len(result.lesions) > len(listed):
        lines.append((f"and {len(result.lesions) - len(listed)} more in the lesion table", FAINT, TEXT_SIZE))
    sequences = ", ".join(result.sequences_used)
    angulation_deg = result.geometry.angulation_deg
    angled = f" Slices angled by {angulation_deg:.0f}°: z is that of what is outlined."
    origin = f"brainmets {result.software_version}, sequences {sequences}. {CONVENTION}"
    origin += angled if angulation_deg > MIN_ANGULATION_DEG else ""
    lines += [(line, FAINT, SMALL_SIZE) for line in _wrap(origin, width)]
    text = _draw_lines([*lines, (INTENDED_USE, WARNING, TEXT_SIZE)], width)
    columns = width // LISTED_WIDTH
    per_column = -(-len(listed) // columns)
    line_height = round(LINE_SPACING * TEXT_SIZE)
    foot = Image.new("RGB", (width, per_column * line_height + text.height), PAPER)
    pen = ImageDraw.Draw(foot)
    for number, lesion in enumerate(listed):
        column, row = divmod(number, per_column)
        place = (MARGIN + column * LISTED_WIDTH, row * line_height)
        pen.text(place, _describe(lesion), _color(lesion), _font(TEXT_SIZE))
    foot.paste(text, (0, per_column * line_height))
    return foot


def _describe(lesion: Lesion) -> str:
    axial_mm = f"{lesion.longest_axial_diameter_mm:.1f} x {lesion.perpendicular_axial_diameter_mm:.1f} mm axial"
    return f"{lesion.label}   {lesion.side}, {axial_mm}, {lesion.volume_mm3 / 1000:.2f} mL"


def _draw_lines(lines: list[Line], width: int) -> Image.Image:
    heights = [round(LINE_SPACING * size) for _, _, size in lines]
    block = Image.new("RGB", (width, sum(heights) + 2 * MARGIN), PAPER)
    pen = ImageDraw.Draw(block)
    top = MARGIN
    for (text, color, size), height in zip(lines, heights, strict=True):
        pen.text((MARGIN, top), text, color, _font(size))
        top += height
    return block


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, int((width - 2 * MARGIN) / (CHARACTER_WIDTH * TEXT_SIZE)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow's own, so that a picture looks the same in every image.
    return ImageFont.load_default(size)


def _color(lesion: Lesion) -> Color:
    return LESION_COLORS[(lesion.label - 1) % len(LESION_COLORS)]
