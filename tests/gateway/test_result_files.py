"""What the result's files hold."""

import gzip
import json

import nibabel
import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from brainmets.gateway.decision import DecidedStudy
from brainmets.gateway.jobs import ArtifactKind
from brainmets.gateway.outputs import FILE_NAMES
from brainmets.gateway.result_files import result_writers, write_probability, write_report
from brainmets.imaging.lesions import find_lesions
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.volume import Volume
from brainmets.v1 import result_pb2
from brainmets.wire.result import result_to_proto
from imaging_cases import box_at, make_mask
from result_cases import decided_lesions, make_result

MASK = make_mask((20, 30, 40), box_at((2, 3, 4), (6, 7, 8)), box_at((12, 20, 30), (2, 3, 4)))
EMPTY = make_mask((20, 30, 40))


def probability_of(values: NDArray[np.float32]) -> ProbabilityMap:
    """Return values as a map."""
    return ProbabilityMap(values, MASK.geometry)


def read_back(content: bytes) -> NDArray[np.float64]:
    """Return a file's values (D, H, W), as another program reads them."""
    voxels: NDArray[np.float64] = nibabel.Nifti1Image.from_bytes(gzip.decompress(content)).get_fdata().T
    return voxels


def test_every_kind_has_a_writer_and_a_name() -> None:
    """No artefact is promised that nobody writes."""
    decided = DecidedStudy(
        probability_of(MASK.voxels.astype(np.float32)), find_lesions(MASK, min_volume_mm3=0.0), make_result(MASK)
    )
    writers = result_writers(decided, Volume(np.zeros(MASK.geometry.shape, dtype=np.float32), MASK.geometry))
    assert set(writers) == set(ArtifactKind) == set(FILE_NAMES)
    assert all(writer() for writer in writers.values())


def test_probabilities_are_kept_to_a_step() -> None:
    """A step is one 255th."""
    values = np.random.default_rng(0).random(MASK.geometry.shape, dtype=np.float32)
    np.testing.assert_allclose(read_back(write_probability(probability_of(values))), values, atol=0.5 / 255 + 1e-6)


def test_a_half_stays_on_its_side() -> None:
    """The file thresholded at one half is the mask."""
    values = np.full(MASK.geometry.shape, 0.4999, dtype=np.float32)
    values[MASK.voxels] = 0.5
    np.testing.assert_array_equal(read_back(write_probability(probability_of(values))) >= 0.5, MASK.voxels)


def test_rounding_errors_do_not_wrap_around() -> None:
    """A probability a hair above one is one."""
    values = np.zeros(MASK.geometry.shape, dtype=np.float32)
    values[0, 0, 0], values[0, 0, 1] = 1.000005, -0.000005
    read = read_back(write_probability(probability_of(values)))
    assert read[0, 0, 1] == 0.0
    assert 1.0 - 1e-6 <= read[0, 0, 0] <= 1.0


def test_the_report_is_the_messages_json() -> None:
    """A program that has the protos reads it back."""
    result = make_result(MASK)
    assert json_format.Parse(write_report(result), result_pb2.SegmentationResult()) == result_to_proto(result)


def test_a_report_without_lesions_says_so() -> None:
    """An empty list, and the words that it excludes nothing."""
    report = json.loads(write_report(make_result(EMPTY)))
    assert report["lesions"] == []
    assert "does not exclude" in report["statement"]
    assert report["intendedUse"] == "Research use only. Not for diagnosis."


def test_lesions_are_those_of_the_mask() -> None:
    """Cases of these tests are as they seem."""
    assert [lesion.volume_mm3 for lesion in decided_lesions(MASK)] == [6 * 7 * 8, 2 * 3 * 4]
