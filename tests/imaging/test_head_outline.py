"""A stripped head is all brain; a head with skull is brain only inside of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.brain import find_midline
from brainmets.imaging.brain_network import BrainNetwork
from brainmets.imaging.errors import EmptyVolumeError
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import MARGIN_MM, HeadOutline, outline_head
from brainmets.imaging.resampling import axial_grid, resample_volume
from brainmets.imaging.volume import Volume
from brainmets.runtime.brain_weights import load_brain_network
from heads import HALF_AXES_MM, head_geometry, head_on
from imaging_cases import AXIAL, axial_geometry

DATA = Path(__file__).parents[3] / "shared" / "data"
TWO_MM = (2.0, 2.0, 2.0)


@dataclass(frozen=True, slots=True)
class Stubborn(BrainNetwork):
    """A network that says the same of every voxel."""

    share: float = 0.0

    def infer(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the share everywhere."""
        return np.full_like(coarse, self.share)


def phantom(*, skull: bool, noise: float = 0.0) -> Volume:
    """Return the phantom on an axial grid of 2 mm, with air around it."""
    return head_on(head_geometry(AXIAL, spacing_mm=TWO_MM, reach_mm=80.0), skull=skull, noise=noise)


def radius_in(geometry: Geometry) -> NDArray[np.float64]:
    """Return where each voxel lies in the phantom's brain (D, H, W): 1 is its surface."""
    points = geometry.index_to_world(np.argwhere(np.ones(geometry.shape, dtype=np.bool_)))
    return np.linalg.norm(points / HALF_AXES_MM, axis=1).reshape(geometry.shape)


def read_axial(name: str) -> Volume:
    """Return a real volume on its axial grid of 1 mm."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data")
    volume = read_nifti(path.read_bytes(), file_index=0)
    return resample_volume(volume, axial_grid(volume.geometry, spacing_mm=1.0))


def test_a_stripped_head_is_all_brain() -> None:
    """Nothing of it may be left out, and its normalisation is over all of it."""
    outline = outline_head(phantom(skull=False), load_brain_network())
    np.testing.assert_array_equal(outline.brain, outline.head)


@pytest.mark.parametrize("noise", [0.0, 15.0])
def test_the_brain_ends_at_the_skull(noise: float) -> None:
    """All of the phantom's brain is found, and of its scalp nothing beyond the margin; noisy air or none."""
    volume = phantom(skull=True, noise=noise)
    outline = outline_head(volume, load_brain_network())
    radius = radius_in(volume.geometry)
    assert outline.brain[radius < 0.97].mean() > 0.99
    # A coarse voxel more than the margin; the shortest half axis turns millimetres into the least radius.
    beyond = radius > 1.0 + (MARGIN_MM + 4.0) / min(HALF_AXES_MM)
    assert np.count_nonzero(outline.brain & beyond) < 0.01 * np.count_nonzero(outline.brain)


def test_the_brain_is_part_of_the_head() -> None:
    """Air is neither."""
    outline = outline_head(phantom(skull=True, noise=15.0), load_brain_network())
    assert not (outline.brain & ~outline.head).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_no_brain_is_told_from_the_rest_nothing_is_left_out(share: float) -> None:
    """A network that finds no brain, or nothing else, leaves the whole head."""
    outline = outline_head(phantom(skull=True), Stubborn(b"", share))
    np.testing.assert_array_equal(outline.brain, outline.head)


def test_nothing_has_no_outline() -> None:
    """A constant volume is refused."""
    volume = Volume(np.zeros((8, 8, 8), dtype=np.float32), axial_geometry((8, 8, 8)))
    with pytest.raises(EmptyVolumeError):
        outline_head(volume, load_brain_network())


@pytest.fixture(scope="module")
def thick() -> tuple[Volume, HeadOutline]:
    """Return a real head after contrast medium in slices of 6.5 mm, which was never trained on."""
    volume = read_axial("head_thick_slices_brain2/brain2_image.nii.gz")
    return volume, outline_head(volume, load_brain_network())


def test_a_real_brain_has_a_real_brains_volume(thick: tuple[Volume, HeadOutline]) -> None:
    """Between 1.2 and 2.1 litres with CSF and margin, of a head of more than 3."""
    _, outline = thick
    assert 1.2e6 < np.count_nonzero(outline.brain) < 2.1e6
    assert np.count_nonzero(outline.head) > 3e6


def test_the_scalp_of_a_real_head_is_no_brain(thick: tuple[Volume, HeadOutline]) -> None:
    """Fat is the brightest of a head: hardly any of its brightest fiftieth is brain."""
    volume, outline = thick
    bright = volume.voxels > np.percentile(volume.voxels[outline.head], 98.0)
    assert np.count_nonzero(bright & outline.brain) < 0.1 * np.count_nonzero(bright)


def test_the_midline_of_the_brain_halves_it(thick: tuple[Volume, HeadOutline]) -> None:
    """As much brain lies to the left of it as to the right, within a thirtieth."""
    volume, outline = thick
    midline = find_midline(outline.brain, volume.geometry)
    points_mm = volume.geometry.index_to_world(np.argwhere(outline.brain[::2, ::2, ::2]) * 2)
    assert np.mean(points_mm @ midline.normal > midline.offset_mm) == pytest.approx(0.5, abs=0.033)


@pytest.mark.parametrize(
    "name",
    [
        "metastasis_bratsmet_00110/BraTS-MET-00110-000-t1c.nii.gz",
        "glioma_brats2021_00006/BraTS2021_00006_t1ce.nii.gz",
        "contrast_normal_mr_gd/MR_Gd.nii.gz",
        "mni152/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    ],
)
def test_a_real_stripped_head_is_all_brain(name: str) -> None:
    """So that what was measured on stripped heads holds as it did before there was a brain mask."""
    outline = outline_head(read_axial(name), load_brain_network())
    np.testing.assert_array_equal(outline.brain, outline.head)


def test_a_lesion_that_is_taken_for_an_orbit_stays_brain() -> None:
    """What the network leaves out on one side is brain when it is brain on the other."""
    volume = phantom(skull=True)
    radius = radius_in(volume.geometry)

    @dataclass(frozen=True, slots=True)
    class OneSided(BrainNetwork):
        def infer(self, coarse: NDArray[np.float32]) -> NDArray[np.float32]:
            """Return the brain without a ball in the front of the patient's left half."""
            grid = np.indices(coarse.shape).T - (np.array(coarse.shape) - 1) / 2
            whole = np.linalg.norm(grid * 4.0 / HALF_AXES_MM[::-1], axis=-1) < 1.0
            bite = np.linalg.norm(grid * 4.0 - (0.0, -30.0, 25.0), axis=-1) < 18.0
            shares: NDArray[np.float32] = (whole & ~bite).T.astype(np.float32)
            return shares

    brain = outline_head(volume, OneSided(b"")).brain
    assert brain[radius < 0.9].mean() > 0.99
