"""Prepared studies on their way from preprocessing to a worker: contract, header and tiles, both ways."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from brainmets.imaging.brain_mask import UNKNOWN_BRAIN, BrainMask
from brainmets.imaging.errors import BrainmetsError, InternalError, ModelContractError
from brainmets.imaging.findings import Finding
from brainmets.imaging.geometry import Box, Geometry
from brainmets.imaging.half_precision import to_half
from brainmets.imaging.midline import Midline
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesUse
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import Tile, TileGrid, cropped_shape
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.v1 import study_pb2
from brainmets.wire.brain import brain_mask_from_proto, brain_mask_to_proto
from brainmets.wire.findings import finding_from_proto, finding_to_proto
from brainmets.wire.geometry import geometry_from_proto, geometry_to_proto
from brainmets.wire.names import sequence_from_proto, sequence_to_proto
from brainmets.wire.nifti_forms import forms_from_proto, forms_to_proto
from brainmets.wire.series import series_use_from_proto, series_use_to_proto

# Half the bytes of float32. Normalised intensities are of the order of 1, so that it costs them 0.05 %.
WIRE_TYPE = np.dtype("<f2")
# The largest head that is read, 512³ voxels; a tile is a small part of one.
MAX_TILE_VOXELS = 512**3
_AXES = 3


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """What is known of a prepared study beside its tiles.

    Attributes:
        acquired: Grid of the T1c as it was acquired.
        normalized: Grid of the normalised, cropped volume.
        sequences: Sequences present: the channels of every tile, in order.
        findings: What a reader should know about the input.
        grid: Where the tiles lie in the normalised volume.
        midline: The brain's midsagittal plane.
        t1c_file_index: The client's number of the file that the T1c was read from.
        series: Every series that was sent, and what became of it.
        brain: Where the brain is on the normalised grid.
        t1c_forms: How the T1c's file says where its voxels lie; None where that is no NIfTI.
    """

    acquired: Geometry
    normalized: Geometry
    sequences: tuple[Sequence, ...]
    findings: tuple[Finding, ...]
    grid: TileGrid
    midline: Midline
    t1c_file_index: int
    series: tuple[SeriesUse, ...] = ()
    brain: BrainMask = UNKNOWN_BRAIN
    t1c_forms: NiftiForms | None = None


def header_to_proto(header: StudyHeader) -> messages.StudyHeader:
    """Write a header."""
    return messages.StudyHeader(
        acquired=geometry_to_proto(header.acquired),
        normalized=geometry_to_proto(header.normalized),
        sequences=[sequence_to_proto(sequence) for sequence in header.sequences],
        findings=[finding_to_proto(finding) for finding in header.findings],
        tile_shapes=[length for box in header.grid.boxes for length in box.shape],
        halo=header.grid.halo,
        origins=[place for box in header.grid.boxes for place in box.start],
        midline=(*header.midline.normal, header.midline.offset_mm),
        t1c_file_index=header.t1c_file_index,
        series=[series_use_to_proto(use) for use in header.series],
        brain=brain_mask_to_proto(header.brain),
        t1c_forms=forms_to_proto(header.t1c_forms),
    )


def header_from_proto(message: messages.StudyHeader) -> StudyHeader:
    """Read a header.

    Raises:
        InternalError: It is incomplete, or of a newer version.
    """
    try:
        normalized = geometry_from_proto(message.normalized)
        a, b, c, offset_mm = message.midline
        return StudyHeader(
            acquired=geometry_from_proto(message.acquired),
            normalized=normalized,
            sequences=_sequences_from_proto(message.sequences),
            findings=tuple(finding_from_proto(finding) for finding in message.findings),
            grid=_grid_from_proto(message, normalized),
            midline=Midline((a, b, c), offset_mm),
            t1c_file_index=message.t1c_file_index,
            series=tuple(series_use_from_proto(use) for use in message.series),
            brain=brain_mask_from_proto(message.brain),
            t1c_forms=forms_from_proto(message.t1c_forms) if message.HasField("t1c_forms") else None,
        )
    except (ValueError, KeyError) as error:
        raise _other_version("a complete header", got="another") from error


def _grid_from_proto(message: messages.StudyHeader, normalized: Geometry) -> TileGrid:
    boxes = tuple(
        Box((d, h, w), (d + depth, h + height, w + width))
        for (d, h, w), (depth, height, width) in zip(
            _triples(message.origins), _triples(message.tile_shapes), strict=True
        )
    )
    if not all(_fits(box, normalized.shape, halo=message.halo) for box in boxes):
        text = f"tiles of no voxel, beside the volume, or of more than {MAX_TILE_VOXELS}"
        raise ValueError(text)
    return TileGrid(volume_shape=normalized.shape, halo=message.halo, boxes=boxes)


def _triples(numbers: Iterable[int]) -> list[tuple[int, int, int]]:
    axes = [iter(numbers)] * _AXES
    return list(zip(*axes, strict=True))


def _fits(box: Box, volume: tuple[int, int, int], *, halo: int) -> bool:
    """Tell whether a tile begins inside the volume, has voxels, and not more than can be held."""
    depth, height, width = box.shape
    begins_inside = all(0 <= first < limit for first, limit in zip(box.start, volume, strict=True))
    return begins_inside and min(box.shape) > 0 and (depth + 2 * halo) * height * width <= MAX_TILE_VOXELS


def _sequences_from_proto(numbers: Iterable[study_pb2.Sequence.ValueType]) -> tuple[Sequence, ...]:
    """Read channels.

    Raises:
        ValueError: One of them is not stated, or of a newer version; without it the others would be misplaced.
    """
    sequences = []
    for number in numbers:
        sequence = sequence_from_proto(number)
        if sequence is None:
            message = f"sequence {number} is not known"
            raise ValueError(message)
        sequences.append(sequence)
    return tuple(sequences)


def tile_to_proto(tile: Tile) -> messages.PrepareStudyResponse:
    """Write a tile, in float16, into the response that carries it."""
    # In place: a message that is handed to another one's constructor is serialised and parsed, for 17 ms a tile.
    response = messages.PrepareStudyResponse()
    response.tile.index = tile.index
    response.tile.voxels = to_half(tile.voxels).astype(WIRE_TYPE, copy=False).tobytes()
    return response


def tile_from_proto(message: messages.PreparedTile, header: StudyHeader) -> Tile:
    """Read a tile of a study.

    Raises:
        InternalError: The study has no such tile, or a tile of this index has another size.
    """
    if message.index >= len(header.grid.boxes):
        raise _other_version(f"an index below {len(header.grid.boxes)}", got=str(message.index))
    shape = (len(header.sequences), *cropped_shape(header.grid, index=message.index))
    # Every look at a message's bytes copies them.
    voxels = message.voxels
    if len(voxels) != math.prod(shape) * WIRE_TYPE.itemsize:
        raise _other_version(f"voxels {shape}", got=f"{len(voxels)} bytes")
    return Tile(message.index, np.frombuffer(voxels, dtype=WIRE_TYPE).reshape(shape))


def contract_to_proto(contract: TileContract) -> messages.TileContract:
    """Write how a network wants its tiles."""
    return messages.TileContract(
        sequences=[sequence_to_proto(sequence) for sequence in contract.sequences],
        spacing_mm=contract.spacing_mm,
        depth=contract.depth,
        halo=contract.halo,
        stride=contract.stride,
        max_size=contract.max_size,
        overlap_fraction=contract.overlap,
    )


def contract_from_proto(message: messages.TileContract) -> TileContract:
    """Read how a network wants its tiles.

    Raises:
        ModelContractError: No tile can keep it, or it names a sequence of a newer version.
    """
    try:
        sequences = _sequences_from_proto(message.sequences)
    except ValueError as error:
        raise ModelContractError(
            "The contract's sequences cannot be read",
            expected="T1C, T1N, T2W or T2F",
            got="another",
            remedy="run the same version of gateway and preprocessing",
        ) from error
    return TileContract(
        sequences=sequences,
        spacing_mm=message.spacing_mm,
        depth=message.depth,
        halo=message.halo,
        stride=message.stride,
        max_size=message.max_size,
        overlap=message.overlap_fraction,
    )


def _other_version(expected: str, *, got: str) -> BrainmetsError:
    return InternalError(
        "What preprocessing sent cannot be read",
        expected=expected,
        got=got,
        remedy="run the same version of gateway and preprocessing",
    )
