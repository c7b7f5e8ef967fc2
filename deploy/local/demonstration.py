"""Owns the demonstration study: artificial lesions of known place and size in the ICBM 152 brain template.

`python -m local.demonstration` tells where it is, and makes it when it is not there yet.

The lesions are drawn at random, always the same, inside the brain: solid ones, and rings of enhancing tumour
around a dark core, brighter than white matter as after contrast. The template is the mean of 152 heads without their
skulls, so that the study looks like a T1 after contrast but for its missing vessels.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from scipy import ndimage

from local.carried import TEMPLATE_T1, TEMPLATE_WHITE_MATTER
from local.layout import DEMONSTRATION

STUDY_FILE = "demo-t1c.nii.gz"
MASK_FILE = "truth.nii.gz"
TRUTH_FILE = "truth.json"
SEED = 20
# Largest first, so that the small ones find the room that is left.
DIAMETERS_MM = (25.0, 20.0, 16.0, 13.0, 10.0, 8.0, 6.0)
# From this size on a lesion has a core that does not enhance.
RING_FROM_MM = 15.0
RIM_FRACTION = 0.35
# Between the surfaces of two lesions, and from a lesion's surface to the brain's.
GAP_MM = 12.0
DEPTH_MM = 3.0
# A centre lies in tissue, not in a ventricle or fissure: there the template, smoothed, is brighter than this share
# of white matter.
TISSUE_SCALE_MM = 2.0
TISSUE_LEVEL = 0.7
# Relative to white matter's median: enhancing tumour in published T1 after contrast, and its fluid core.
ENHANCEMENT = 1.45
CORE = 0.45
# An average head is smoother than a scan; relative to white matter.
NOISE = 0.025
# Lesions are no spheres: the surface moves in and out by this fraction of the radius.
ROUGHNESS = 0.08
# The scanner's point spread, mm.
BLUR_MM = 0.5

Volume = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImplantedLesion:
    """One artificial lesion.

    Attributes:
        label: Its value in the mask of truths.
        diameter_mm: Of the sphere of its volume.
        kind: "solid" or "ring".
        index: Its centre's voxel on the axes of the file.
    """

    label: int
    diameter_mm: float
    kind: str
    index: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The study's folder and what is hidden in it."""

    folder: Path
    lesions: tuple[ImplantedLesion, ...]

    @property
    def study(self) -> Path:
        """The file to segment."""
        return self.folder / STUDY_FILE

    @property
    def mask(self) -> Path:
        """The file whose voxels carry their lesion's label."""
        return self.folder / MASK_FILE


def load_demonstration(folder: Path = DEMONSTRATION) -> Demonstration:
    """Return the demonstration study, made when it is not there yet or this module has changed since."""
    truth = folder / TRUTH_FILE
    if not truth.exists() or truth.stat().st_mtime < Path(__file__).stat().st_mtime:
        make_demonstration(folder)
    known = json.loads(truth.read_text())
    lesions = tuple(ImplantedLesion(**{**lesion, "index": tuple(lesion["index"])}) for lesion in known)
    return Demonstration(folder, lesions)


def make_demonstration(folder: Path) -> None:
    """Write the study, its mask of truths, and its list of lesions; the list last, when all is there."""
    folder.mkdir(parents=True, exist_ok=True)
    template = Nifti1Image.from_filename(TEMPLATE_T1)
    anatomy = np.asarray(template.dataobj, dtype=np.float32)  # (x, y, z), 1 mm
    white = np.asarray(Nifti1Image.from_filename(TEMPLATE_WHITE_MATTER).dataobj) > np.iinfo(np.uint8).max // 2
    white_level = float(np.median(anatomy[white]))
    brain = anatomy > 0
    random = np.random.default_rng(SEED)
    lesions = _place_lesions(anatomy, white_level=white_level, random=random)
    labels = np.zeros(anatomy.shape, dtype=np.uint8)
    for lesion in lesions:
        _draw(lesion, anatomy, labels, white_level=white_level, random=random)
    noise = random.normal(scale=NOISE * white_level, size=anatomy.shape).astype(np.float32)
    scan = np.where(brain, np.maximum(anatomy + noise, 1.0), 0.0).astype(np.float32)
    Nifti1Image(scan, template.affine).to_filename(folder / STUDY_FILE)
    Nifti1Image(labels, template.affine).to_filename(folder / MASK_FILE)
    (folder / TRUTH_FILE).write_text(json.dumps([asdict(lesion) for lesion in lesions], indent=1))


def _place_lesions(anatomy: Volume, *, white_level: float, random: np.random.Generator) -> tuple[ImplantedLesion, ...]:
    """Return lesions whose centres lie in tissue, deep enough, and apart from each other."""
    depth_mm = ndimage.distance_transform_edt(anatomy > 0)
    tissue = ndimage.gaussian_filter(anatomy, TISSUE_SCALE_MM) > TISSUE_LEVEL * white_level
    lesions: list[ImplantedLesion] = []
    for label, diameter_mm in enumerate(DIAMETERS_MM, start=1):
        room = np.argwhere(tissue & (depth_mm > diameter_mm / 2 * (1 + 2 * ROUGHNESS) + DEPTH_MM))
        for other in lesions:
            apart_mm = (diameter_mm + other.diameter_mm) / 2 + GAP_MM
            room = room[np.linalg.norm(room - other.index, axis=1) > apart_mm]
        x, y, z = (int(axis) for axis in random.choice(room))
        kind = "ring" if diameter_mm >= RING_FROM_MM else "solid"
        lesions.append(ImplantedLesion(label, diameter_mm, kind, (x, y, z)))
    return tuple(lesions)


def _draw(
    lesion: ImplantedLesion,
    anatomy: Volume,
    labels: NDArray[np.uint8],
    *,
    white_level: float,
    random: np.random.Generator,
) -> None:
    """Draw a lesion into the anatomy and the labels."""
    reach = int(lesion.diameter_mm)
    box = tuple(slice(centre - reach, centre + reach + 1) for centre in lesion.index)
    inside_mm = _depth_below_surface(lesion.diameter_mm, reach=reach, random=random)
    rim_mm = RIM_FRACTION * lesion.diameter_mm / 2 if lesion.kind == "ring" else np.inf
    # Partial volume: a voxel on a border belongs to both sides by the part of it that lies there.
    tumour = np.clip(inside_mm + 0.5, 0.0, 1.0)
    core = np.clip(inside_mm - rim_mm + 0.5, 0.0, 1.0)
    content = white_level * (ENHANCEMENT * (1.0 - core) + CORE * core)
    around = anatomy[box]
    drawn = around * (1.0 - tumour) + content * tumour
    touched = ndimage.binary_dilation(tumour > 0, iterations=2)
    around[touched] = ndimage.gaussian_filter(drawn, BLUR_MM)[touched]
    labels[box][inside_mm >= 0] = lesion.label


def _depth_below_surface(diameter_mm: float, *, reach: int, random: np.random.Generator) -> Volume:
    """Return each voxel's depth below the surface of a rough sphere in a cube's middle, negative outside, mm."""
    axes = np.meshgrid(*3 * [np.arange(-reach, reach + 1)], indexing="ij", sparse=True)
    distance_mm = np.sqrt(sum(axis**2 for axis in axes))
    noise = random.normal(size=distance_mm.shape)
    unevenness = ndimage.gaussian_filter(noise, diameter_mm / 4)
    uneven_mm = distance_mm + unevenness * (ROUGHNESS * diameter_mm / 2 / unevenness.std())
    # The surface lies where it encloses the volume of the sphere.
    voxels = round(np.pi / 6 * diameter_mm**3)
    depth_mm: Volume = (np.partition(uneven_mm.ravel(), voxels)[voxels] - uneven_mm).astype(np.float32)
    return depth_mm


if __name__ == "__main__":
    print(load_demonstration().study)
