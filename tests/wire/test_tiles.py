"""Header, tiles and contract come out as they went in, and what is of another version is refused."""

import numpy as np
import pytest
from google.protobuf import json_format

from brainmets.imaging.brain_mask import UNKNOWN_BRAIN, pack_brain
from brainmets.imaging.errors import InternalError, ModelContractError
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.midline import Midline
from brainmets.imaging.nifti_forms import NiftiForms
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.tile_contract import TileContract
from brainmets.imaging.tiling import crop_tile, plan_tiles
from brainmets.internal.v1 import preprocessing_service_pb2 as messages
from brainmets.wire.tiles import (
    StudyHeader,
    contract_from_proto,
    contract_to_proto,
    header_from_proto,
    header_to_proto,
    tile_from_proto,
    tile_to_proto,
)
from imaging_cases import OBLIQUE, make_geometry, normalized_volume
from result_cases import SERIES

CONTRACT = TileContract(
    sequences=(Sequence.T1C, Sequence.T2F), spacing_mm=1.0, depth=8, halo=2, stride=16, max_size=32, overlap=0.125
)
# Neither size is a multiple of the stride, so that tiles reach beyond the volume.
VOLUME = normalized_volume((21, 30, 45), channels=2)
HEADER = StudyHeader(
    acquired=make_geometry((20, 31, 46), spacing_mm=(1.1, 0.9, 0.7), directions=OBLIQUE, origin_mm=(1.0, 2.0, 3.0)),
    normalized=VOLUME.geometry,
    sequences=VOLUME.sequences,
    findings=(Finding(FindingCode.SEQUENCE_DROPPED, "It was left out.", Sequence.T2W, Severity.SEVERE),),
    grid=plan_tiles(VOLUME.geometry.shape, CONTRACT),
    midline=Midline((0.8, 0.6, 0.0), -3.25),
    t1c_file_index=5,
    series=SERIES,
    brain=pack_brain(VOLUME.voxels[0] > 0.5),
    t1c_forms=NiftiForms(4, 2, (-1.0, 0.7, 0.9, 1.1), (0.1, -0.2, 1 / 3), (-7.5, 2.0, 1e-9)),
)


def sent(header: StudyHeader) -> messages.StudyHeader:
    """Return a header as it arrives."""
    return messages.StudyHeader.FromString(header_to_proto(header).SerializeToString())


def test_a_header_reads_back_exactly() -> None:
    """Grids, midline and tiles are those that were planned with."""
    assert header_from_proto(sent(HEADER)) == HEADER


def test_a_study_without_tiles_has_a_header() -> None:
    """Nothing to decide is no error."""
    nothing = plan_tiles(VOLUME.geometry.shape, CONTRACT, occupied=np.zeros(VOLUME.geometry.shape, dtype=np.bool_))
    header = StudyHeader(
        HEADER.acquired, HEADER.normalized, HEADER.sequences, (), nothing, HEADER.midline, HEADER.t1c_file_index
    )
    assert header_from_proto(sent(header)).grid.boxes == ()


def test_a_header_that_never_told_of_a_brain_says_so() -> None:
    """What was left out is unknown, and not empty."""
    message = sent(HEADER)
    message.ClearField("brain")
    assert header_from_proto(message).brain == UNKNOWN_BRAIN


def test_a_header_without_forms_tells_of_none() -> None:
    """Its T1c is DICOM, or preprocessing is older."""
    message = sent(HEADER)
    message.ClearField("t1c_forms")
    assert header_from_proto(message).t1c_forms is None


def test_forms_that_no_file_can_have_are_refused() -> None:
    """They would break the result's files off."""
    for change in ({"sform_code": 70_000}, {"qform_code": -1}, {"pixdim": [1.0, 1.0]}, {"quaternion": [np.nan] * 3}):
        forms = json_format.MessageToDict(sent(HEADER).t1c_forms, preserving_proto_field_name=True) | change
        message = sent(HEADER)
        message.t1c_forms.CopyFrom(messages.NiftiForms(**forms))
        with pytest.raises(InternalError):
            header_from_proto(message)


@pytest.mark.parametrize("field", ["acquired", "normalized", "tile_shapes", "origins", "midline"])
def test_an_incomplete_header_is_refused(field: str) -> None:
    """A worker does not guess where tiles lie."""
    message = sent(HEADER)
    message.ClearField(field)
    with pytest.raises(InternalError):
        header_from_proto(message)


@pytest.mark.parametrize("row", [-1, VOLUME.geometry.shape[1]])
def test_a_tile_beside_the_volume_is_refused(row: int) -> None:
    """There is nothing to decide there, and nowhere to put what is decided."""
    message = sent(HEADER)
    message.origins[1] = row
    with pytest.raises(InternalError):
        header_from_proto(message)


def test_an_unknown_sequence_is_refused() -> None:
    """Leaving a channel out would shift the others."""
    message = sent(HEADER)
    message.sequences.append(99)
    with pytest.raises(InternalError):
        header_from_proto(message)


@pytest.mark.parametrize("index", range(len(HEADER.grid.boxes)))
def test_a_tile_reads_back_in_half_precision(index: int) -> None:
    """Voxel for voxel."""
    tile = crop_tile(VOLUME, HEADER.grid, index=index)
    received = tile_from_proto(tile_to_proto(tile).tile, HEADER)
    assert received.index == tile.index
    np.testing.assert_array_equal(received.voxels, tile.voxels.astype(np.float16))


def test_only_the_inside_of_a_tile_is_sent() -> None:
    """The wire carries no zeros from beyond the volume."""
    wire_bytes = sum(
        len(tile_to_proto(crop_tile(VOLUME, HEADER.grid, index=index)).tile.voxels)
        for index in range(len(HEADER.grid.boxes))
    )
    shapes = [box.shape for box in HEADER.grid.boxes]
    assert wire_bytes < sum(2 * (depth + 4) * height * width * 2 for depth, height, width in shapes)


def test_a_tile_of_another_size_is_refused() -> None:
    """Half a tile is no tile."""
    message = tile_to_proto(crop_tile(VOLUME, HEADER.grid, index=0)).tile
    message.voxels = message.voxels[:-2]
    with pytest.raises(InternalError):
        tile_from_proto(message, HEADER)


def test_a_tile_that_was_not_planned_is_refused() -> None:
    """Its place is not known."""
    message = tile_to_proto(crop_tile(VOLUME, HEADER.grid, index=0)).tile
    message.index = len(HEADER.grid.boxes)
    with pytest.raises(InternalError):
        tile_from_proto(message, HEADER)


def test_a_contract_reads_back_exactly() -> None:
    """Preprocessing cuts what the model asked for."""
    assert contract_from_proto(contract_to_proto(CONTRACT)) == CONTRACT


@pytest.mark.parametrize("change", [{"depth": 0}, {"stride": 0}, {"spacing_mm": 0.0}])
def test_a_contract_that_no_tile_can_keep_is_refused(change: dict[str, float]) -> None:
    """Before a study is read."""
    message = contract_to_proto(CONTRACT)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ModelContractError):
        contract_from_proto(message)


def test_a_contract_with_an_unknown_sequence_is_refused() -> None:
    """A newer network is not served with fewer channels."""
    message = contract_to_proto(CONTRACT)
    message.sequences.append(99)
    with pytest.raises(ModelContractError):
        contract_from_proto(message)
