"""Owns how the slices of one series are parted into volumes.

Slices that differ in matrix, spacing or orientation are always apart. The others are parted only where several lie at
one place, by the first attributes that tell these apart, so that no volume is torn by an attribute that merely varies.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmets.formats.dicom_pixels import Frame
from brainmets.formats.dicom_tags import Tag
from brainmets.formats.slice_stack import SAME_PLACE_MM, SliceStack, stack_slices

# Directions that differ by more are other planes: a tenth of a degree is 0.3 mm over a head.
SAME_DIRECTION = 2e-3
# The scanner's room is not larger: 10 m. Beyond, computing with positions would overflow.
MAX_COORDINATE = 1e4
# More volumes than this in one series are a time series, in which no one of them is meant.
MAX_VOLUMES = 12
# What pads a value to an even length (PS3.5 6.2). Other white space may be part of a number in binary.
PADDING = b" \0"
# What tells apart images at one place, the most certain first.
_DISTINCTIONS = (
    (Tag.IMAGE_TYPE, Tag.FRAME_TYPE, Tag.COMPLEX_IMAGE_COMPONENT),
    (Tag.ECHO_NUMBERS,),
    (Tag.ECHO_TIME, Tag.EFFECTIVE_ECHO_TIME),
    (Tag.INVERSION_TIME, Tag.INVERSION_TIMES),
    (Tag.DIFFUSION_B_VALUE,),
    (Tag.TEMPORAL_POSITION_IDENTIFIER, Tag.TEMPORAL_POSITION_INDEX),
    (Tag.CONTRAST_BOLUS_AGENT_ADMINISTERED,),
    (Tag.STACK_ID,),
    (Tag.ACQUISITION_NUMBER,),
    (Tag.TRIGGER_TIME,),
)


@dataclass(frozen=True, slots=True)
class _Plane:
    """Where one slice lies, as far as its header says.

    Attributes:
        frame: The slice.
        position_mm: ImagePositionPatient, LPS.
        orientation: ImageOrientationPatient.
        spacing_mm: PixelSpacing: between rows, between columns.
        matrix: Rows, columns.
    """

    frame: Frame
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    matrix: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class SliceGroup:
    """Slices of one volume, if they make one.

    Attributes:
        frames: At least one, in any order.
        fault: Why they cannot, told before they are looked at as a stack; empty otherwise.
        planes: Where they lie, in their order; empty with a fault.
    """

    frames: tuple[Frame, ...]
    fault: str
    planes: tuple[_Plane, ...]

    def stack(self) -> SliceStack:
        """Return the grid that they make.

        Raises:
            SliceStackError: They make none.
        """
        rows_mm, columns_mm = self.planes[0].spacing_mm
        return stack_slices(
            np.array([plane.position_mm for plane in self.planes]),
            np.mean([plane.orientation for plane in self.planes], axis=0),
            pixel_spacing_mm=(rows_mm, columns_mm),
            matrix=self.planes[0].matrix,
        )


def group_slices(frames: tuple[Frame, ...]) -> tuple[SliceGroup, ...]:
    """Return one series' slices by the volume that they belong to; the order of the files makes no difference to it."""
    sorted_frames = tuple(sorted(frames, key=lambda frame: (frame.header.text(Tag.SOP_INSTANCE_UID), frame.number)))
    planes = tuple(plane for frame in sorted_frames if (plane := _read_plane(frame)))
    if len(planes) < len(frames):
        return (SliceGroup(sorted_frames, "slices without position, orientation, spacing or size", ()),)
    groups = tuple(group for parallel in _group_parallel(planes) for group in _part_repeated(parallel, _DISTINCTIONS))
    if len(groups) > MAX_VOLUMES:
        return (SliceGroup(sorted_frames, f"{len(groups)} volumes or orientations in one series", ()),)
    return tuple(SliceGroup(tuple(plane.frame for plane in group), "", group) for group in groups)


def _read_plane(frame: Frame) -> _Plane | None:
    header = frame.header
    position_mm, orientation = (
        header.decimals(Tag.IMAGE_POSITION_PATIENT),
        header.decimals(Tag.IMAGE_ORIENTATION_PATIENT),
    )
    spacing_mm = header.decimals(Tag.PIXEL_SPACING)
    rows, columns = header.unsigned(Tag.ROWS), header.unsigned(Tag.COLUMNS)
    if (len(position_mm), len(orientation), len(spacing_mm)) != (3, 6, 2) or not (rows and columns):
        return None
    if max(map(abs, (*position_mm, *orientation, *spacing_mm))) > MAX_COORDINATE:
        return None
    return _Plane(frame, position_mm, orientation, spacing_mm, (rows, columns))


def _group_parallel(planes: tuple[_Plane, ...]) -> Iterator[tuple[_Plane, ...]]:
    """Yield the slices of one matrix, spacing and orientation each."""
    directions: list[NDArray[np.float64]] = []
    numbers: dict[tuple[float, ...], int] = {}
    groups: dict[Hashable, list[_Plane]] = {}
    for plane in planes:
        number = numbers.get(plane.orientation)
        if number is None:
            number = numbers[plane.orientation] = _number_direction(np.array(plane.orientation), directions)
        spacing_mm = tuple(round(spacing, 4) for spacing in plane.spacing_mm)
        groups.setdefault((number, plane.matrix, spacing_mm), []).append(plane)
    yield from map(tuple, groups.values())


def _number_direction(direction: NDArray[np.float64], known: list[NDArray[np.float64]]) -> int:
    """Return the number of the known direction next to one, which is made known if there is none."""
    for number, other in enumerate(known):
        if np.abs(direction - other).max() <= SAME_DIRECTION:
            return number
    # Beyond the most that are told apart, all are one: the series is no use any more.
    if len(known) <= MAX_VOLUMES:
        known.append(direction)
    return len(known) - 1


def _part_repeated(
    planes: tuple[_Plane, ...], distinctions: tuple[tuple[Tag, ...], ...]
) -> Iterator[tuple[_Plane, ...]]:
    """Yield parallel slices, parted by what tells those apart that lie at one place."""
    places = _number_places(planes)
    repeats = max(Counter(places).values())
    for rank, tags in enumerate(distinctions):
        if repeats == 1:
            break
        parts: dict[tuple[bytes, ...], list[int]] = {}
        for index, plane in enumerate(planes):
            values = plane.frame.header.values
            parts.setdefault(tuple(values.get(tag, b"").rstrip(PADDING) for tag in tags), []).append(index)
        held = [{places[index] for index in part} for part in parts.values()]
        # An attribute with more values than there are images at a place counts slices, or time.
        if 1 < len(parts) <= repeats and _are_volumes(held, count=max(places) + 1):
            for value in sorted(parts):
                part = tuple(planes[index] for index in parts[value])
                yield from _part_repeated(part, distinctions[rank + 1 :])
            return
    yield planes


def _number_places(planes: tuple[_Plane, ...]) -> list[int]:
    """Return at which of their places along the normal, counted from 0, each of parallel slices lies."""
    row, column = np.array(planes[0].orientation).reshape(2, 3)
    along_mm = np.array([plane.position_mm for plane in planes]) @ np.cross(row, column)
    order = np.argsort(along_mm, kind="stable")
    places = np.zeros(len(planes), dtype=np.intp)
    places[order[1:]] = np.cumsum(np.diff(along_mm[order]) > SAME_PLACE_MM)
    return places.tolist()


def _are_volumes(parts: list[set[int]], *, count: int) -> bool:
    """False for the interleaved halves of one volume, which a slice that was sent twice must not tear.

    One of the parts holds all places, or all of them hold neighbouring ones.
    """
    return any(len(part) == count for part in parts) or all(max(part) - min(part) < len(part) for part in parts)
