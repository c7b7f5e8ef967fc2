"""Owns labelled studies as training backgrounds: heads that bring lesions of their own, cached whole on disk."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from brainmets.imaging.bounding_box import find_bounding_box
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.resampling import axial_grid, resample_volume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.volume import Volume
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.backgrounds import SPACING_MM, Background, complete_sequences
from brainmets.training.heads import HALF
from brainmets.training.labelled_studies import LabelledStudy, load_labelled_study

# A change of what is cached makes old caches worthless.
CACHE_VERSION = 1


def load_labelled_backgrounds(
    folders: Iterable[Path], *, labels: tuple[int, ...] | None, cache: Path
) -> tuple[Background, ...]:
    """Return labelled studies as backgrounds; each is read and checked once, and mapped from the cache afterwards.

    A study of a megabyte of files takes a second to read and a millisecond to map, so that training never waits; all
    are checked before it starts.

    Args:
        folders: Studies in the BraTS layout.
        labels: As `load_labelled_study` takes them.
        cache: A folder for what was read; 35 MB a study.

    Raises:
        StudyError: A file cannot be read, holds NaN, or there is no T1c.
        InvalidArgumentError: A label map is missing, lies on another grid or holds unknown labels.
    """
    return tuple(_load(folder, labels=labels, cache=cache) for folder in tqdm(list(folders), unit="study"))


def _load(folder: Path, *, labels: tuple[int, ...] | None, cache: Path) -> Background:
    place = cache / f"{folder.name}-{_find_key(folder, labels)}"
    if not place.is_dir():
        _save(make_labelled_background(load_labelled_study(folder, labels=labels)), place)
    stated = json.loads((place / "background.json").read_text())
    voxels, brain, target = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("voxels", "brain", "target"))
    return Background(
        name=folder.name,
        voxels=voxels,
        brain=brain,
        acquired=tuple(stated["acquired"]),
        enhanced=True,
        stripped=stated["stripped"],
        target=target,
    )


def _find_key(folder: Path, labels: tuple[int, ...] | None) -> str:
    """Return what changes whenever a study's files do."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.nii.gz"))]
    return hashlib.sha256(repr((CACHE_VERSION, labels, files)).encode()).hexdigest()[:16]


def _save(background: Background, place: Path) -> None:
    """Write a background beside its place and move it there in one step."""
    unfinished = place.with_name(f".{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    np.save(unfinished / "voxels.npy", background.voxels.astype(np.float16))
    np.save(unfinished / "brain.npy", background.brain.astype(np.float16))
    np.save(unfinished / "target.npy", background.own_target)
    stated = {"acquired": background.acquired, "stripped": background.stripped}
    (unfinished / "background.json").write_text(json.dumps(stated))
    unfinished.replace(place)


def make_labelled_background(labelled: LabelledStudy) -> Background:
    """Return a labelled study on the axial grid of 1 mm, cropped to its head, with its lesions."""
    grid = axial_grid(labelled.study.t1c.geometry, spacing_mm=SPACING_MM)
    volumes = {sequence: resample_volume(volume, grid) for sequence, volume in labelled.study.volumes.items()}
    reference = Volume(labelled.reference.voxels.astype(np.float32), labelled.reference.geometry)
    target = resample_volume(reference, grid).voxels > HALF
    outline = outline_head(volumes[Sequence.T1C], load_brain_network())
    box = find_bounding_box(outline.head)
    assert box is not None  # noqa: S101 -- a foreground is never empty
    voxels = complete_sequences({sequence: volume.voxels for sequence, volume in volumes.items()}, outline.brain)
    return Background(
        name=labelled.name,
        voxels=np.ascontiguousarray((voxels * outline.head)[:, *box.slices]),
        brain=outline.brain[box.slices].astype(np.float32),
        acquired=tuple(sequence in volumes for sequence in Sequence),
        enhanced=True,
        stripped=not outline.has_skull,
        target=target[box.slices],
    )
