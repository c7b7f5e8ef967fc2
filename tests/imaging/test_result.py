"""A result says what was found, above which size, by what, and what it cannot say."""

import dataclasses
import math

import pytest
from scipy.spatial.transform import Rotation

from brainmets.imaging.geometry import Box
from brainmets.imaging.lesion import Lesion
from brainmets.imaging.midline import Side
from brainmets.imaging.result import ModelUse, SegmentationResult, equivalent_diameter_mm
from brainmets.imaging.sequence import Sequence
from imaging_cases import AXIAL, axial_geometry, make_geometry

NOTHING_FOUND = SegmentationResult(
    lesions=(),
    geometry=axial_geometry((4, 4, 4)),
    sequences_used=(Sequence.T1C,),
    findings=(),
    models=(ModelUse("nested_unet", "1", "ab" * 32), ModelUse("attention_unet", "1", "cd" * 32)),
    threshold=0.5,
    min_lesion_volume_mm3=14.0,
    target="tumour core",
    input_sha256="ef" * 32,
    software_version="0.1.0",
)
LESION = Lesion(
    label=1,
    volume_mm3=900.0,
    longest_axial_diameter_mm=14.25,
    perpendicular_axial_diameter_mm=9.0,
    longest_diameter_mm=15.0,
    bounding_box=Box((0, 0, 0), (2, 2, 2)),
    centroid_mm=(1.0, 2.0, 3.0),
    mean_probability=0.9,
    max_probability=1.0,
    side=Side.LEFT,
)


def test_no_lesion_is_stated_with_its_limit_and_operating_point() -> None:
    """An empty result names the smallest size, the networks and the threshold, and excludes nothing."""
    assert NOTHING_FOUND.statement == (
        "No lesion: none found above 3.0 mm at this operating point (nested_unet and attention_unet, "
        "probability 0.5 or more); this does not exclude metastases."
    )


def test_lesions_are_stated_with_their_number_and_largest_size() -> None:
    """A result with lesions sums them up, and still excludes no others."""
    found = dataclasses.replace(NOTHING_FOUND, lesions=(LESION, LESION), models=NOTHING_FOUND.models[:1])
    assert found.statement == (
        "2 lesions found above 3.0 mm at this operating point (nested_unet, probability 0.5 or more), "
        "up to 14.2 mm in the axial plane; this does not exclude others."
    )


@pytest.mark.parametrize(("threshold", "peak"), [(0.305, 0.995), (0.5, 0.9), (0.125, 0.9999)])
def test_probabilities_are_stated_as_they_decided(threshold: float, peak: float) -> None:
    """None is rounded to one that would have decided otherwise."""
    result = dataclasses.replace(NOTHING_FOUND, threshold=threshold, min_peak_probability=peak)
    assert f"probability {threshold} or more, {peak} at its peak)" in result.statement


def test_one_lesion_is_stated_in_the_singular() -> None:
    """One lesion is not "1 lesions"."""
    assert dataclasses.replace(NOTHING_FOUND, lesions=(LESION,)).statement.startswith("1 lesion found")


@pytest.mark.parametrize(
    ("angle_deg", "words"), [(4.0, "mm in the axial plane;"), (25.0, "mm in axial slices angled by 25 degrees;")]
)
def test_slices_that_cut_lesions_at_an_angle_are_stated(angle_deg: float, words: str) -> None:
    """Diameters in them are not those of the patient's axial plane; by a few degrees they nearly are."""
    directions = Rotation.from_euler("x", angle_deg, degrees=True).as_matrix() @ AXIAL
    angled = dataclasses.replace(
        NOTHING_FOUND, lesions=(LESION,), geometry=make_geometry((4, 4, 4), directions=directions)
    )
    assert words in angled.statement


def test_nothing_smaller_than_a_voxel_is_promised() -> None:
    """Without a smallest volume, one voxel of the acquired grid is the limit."""
    coarse = make_geometry((4, 4, 4), spacing_mm=(5.0, 1.0, 1.0))
    result = dataclasses.replace(NOTHING_FOUND, geometry=coarse, min_lesion_volume_mm3=0.0)
    assert result.smallest_diameter_mm == equivalent_diameter_mm(5.0)


def test_the_use_is_stated() -> None:
    """Every result carries the notice."""
    assert NOTHING_FOUND.intended_use == "Research use only. Not for diagnosis."


@pytest.mark.parametrize("diameter_mm", [0.0, 3.0, 10.0])
def test_the_equivalent_diameter_is_the_spheres(diameter_mm: float) -> None:
    """A sphere's volume leads back to its diameter."""
    assert equivalent_diameter_mm(math.pi / 6 * diameter_mm**3) == pytest.approx(diameter_mm)
