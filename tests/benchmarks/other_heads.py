"""Owns other heads: the bench's study with voxels of other sizes, each sent for the first time and once more.

Voxels of 1 mm need no interpolation, and a study that is sent again meets networks that have seen tiles of its shapes.
What scanners send has neither.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import psutil
from stopwatch import seconds_of

from brainmets.client import Client, find_study_files
from load import NETWORKS, MemoryWatch, cpu_seconds, uncached_options

HEADS = 8
# A voxel's edges are multiplied by something between these, each by its own.
SMALLEST, LARGEST = 0.9, 1.1
SEED = 0


def measure_other_heads(study: Path, address: str, supervisor: psutil.Process) -> dict[str, object]:
    """Return medians of the whole path with both networks, and what the stack's processes take for it."""
    options = uncached_options()
    durations_s: list[tuple[float, float]] = []
    spent_s = 0.0
    with tempfile.TemporaryDirectory() as folder, Client(address) as client, MemoryWatch(supervisor) as watch:

        def segment(head: Path) -> float:
            return seconds_of(lambda: client.segment(head, next(options)))

        # Whoever stood idle before does not count.
        segment(study)
        for head in _write_heads(study, Path(folder)):
            before_s = _services_cpu_s(supervisor)
            durations_s.append((segment(head), segment(head)))
            spent_s += _services_cpu_s(supervisor) - before_s
    first_s, again_s = (statistics.median(each) for each in zip(*durations_s, strict=True))
    return {
        "heads": len(durations_s),
        "first_s": round(first_s, 3),
        "again_s": round(again_s, 3),
        "services_cpu_s": round(spent_s / sum(map(len, durations_s)), 3),
        "peak_mib": {name: round(peak / 2**20) for name, peak in sorted(watch.peaks.items())},
    }


def _services_cpu_s(supervisor: psutil.Process) -> float:
    return sum(spent_s for name, spent_s in cpu_seconds(supervisor).items() if name != NETWORKS)


def _write_heads(study: Path, folder: Path) -> Iterator[Path]:
    draws = np.random.default_rng(SEED)
    for number in range(HEADS):
        head = folder / str(number)
        head.mkdir()
        scaling = np.diag((*draws.uniform(SMALLEST, LARGEST, size=3), 1.0))
        for file in find_study_files(study):
            image = nibabel.load(file.path)
            scaled = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine @ scaling)
            nibabel.save(scaled, head / f"{file.sequence or 't1c'}.nii.gz")
        yield head
