"""A result's message says what the result says."""

import numpy as np
import pytest

from brainmets.imaging.findings import FindingCode
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.midline import Side
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.v1 import result_pb2, study_pb2
from brainmets.wire.findings import finding_from_proto, finding_to_proto
from brainmets.wire.geometry import geometry_from_proto
from brainmets.wire.names import finding_code_from_proto, finding_code_to_proto, operating_point_to_proto, side_to_proto
from brainmets.wire.result import result_to_proto
from imaging_cases import OBLIQUE, box_at, make_geometry, make_mask
from result_cases import make_result

STRAIGHT = make_mask((20, 30, 40), box_at((2, 3, 4), (6, 7, 8)))
RESULT = make_result(LesionMask(STRAIGHT.voxels, make_geometry((20, 30, 40), directions=OBLIQUE)))
MESSAGE = result_to_proto(RESULT)


def test_every_field_is_set() -> None:
    """A field that is forgotten here reaches no client."""
    assert {field.name for field, _ in MESSAGE.ListFields()} == {field.name for field in MESSAGE.DESCRIPTOR.fields}


def test_every_field_of_a_lesion_is_set() -> None:
    """Measures, place and probabilities."""
    lesion = MESSAGE.lesions[0]
    assert {field.name for field, _ in lesion.ListFields()} == {field.name for field in lesion.DESCRIPTOR.fields}


@pytest.mark.parametrize("name", ["label", "volume_mm3", "longest_axial_diameter_mm", "mean_probability"])
def test_a_lesions_numbers_are_its_own(name: str) -> None:
    """No number is rounded or swapped."""
    assert getattr(MESSAGE.lesions[0], name) == getattr(RESULT.lesions[0], name)


def test_a_centroid_is_a_point_in_lps() -> None:
    """x, y and z keep their order."""
    centroid = MESSAGE.lesions[0].centroid
    assert (centroid.x_mm, centroid.y_mm, centroid.z_mm) == RESULT.lesions[0].centroid_mm


def test_the_grid_reads_back_exactly() -> None:
    """A client can place the mask."""
    assert geometry_from_proto(MESSAGE.geometry) == RESULT.geometry


def test_the_angle_of_the_slices_is_told() -> None:
    """Diameters lie in them."""
    assert MESSAGE.slice_angulation_deg == pytest.approx(np.rad2deg(np.arccos(OBLIQUE[2, 0])))


def test_the_statement_and_its_limits_are_told() -> None:
    """What a result may be used for travels with it."""
    assert MESSAGE.statement == RESULT.statement
    assert MESSAGE.intended_use == "Research use only. Not for diagnosis."


@pytest.mark.parametrize("name", OperatingPointName)
def test_operating_points_have_the_contracts_names(name: OperatingPointName) -> None:
    """Every one has its number there, and none is unset."""
    assert result_pb2.OperatingPoint.Name(operating_point_to_proto(name)) == f"OPERATING_POINT_{name.upper()}"


def test_sequences_keep_their_order() -> None:
    """As the networks saw them."""
    assert list(MESSAGE.sequences_used) == [study_pb2.SEQUENCE_T1C, study_pb2.SEQUENCE_T2F]


def test_a_finding_reads_back() -> None:
    """Code, words and sequence."""
    (finding,) = RESULT.findings
    assert finding_from_proto(finding_to_proto(finding)) == finding


@pytest.mark.parametrize("code", FindingCode)
def test_every_finding_code_has_a_number(code: FindingCode) -> None:
    """The names of the contract and of imaging agree."""
    assert finding_code_from_proto(finding_code_to_proto(code)) is code


@pytest.mark.parametrize("side", Side)
def test_every_side_has_a_number(side: Side) -> None:
    """The patient's sides are the contract's."""
    assert result_pb2.Side.Name(side_to_proto(side)) == f"SIDE_{side.name}"
