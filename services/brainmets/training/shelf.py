"""Owns the shelf: a folder that one process keeps filled with fresh studies and several trainings take from."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainmets.training.backgrounds import Background
from brainmets.training.studies import EVERYTHING, StudyRules, TrainingStudy, draw_background, make_study

# Wait between two looks at a shelf that is still empty, seconds.
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class StudyShelf:
    """Training studies on disk, the newest `size` of them; a folder in memory (tmpfs) is quickest."""

    folder: Path
    size: int = 80

    def put(self, study: TrainingStudy, *, number: int) -> None:
        """Add a study under its number and throw the oldest away."""
        unfinished = self.folder / f".{number}.part"
        with unfinished.open("wb") as file:
            np.savez(
                file,
                voxels=study.voxels[list(study.present)],
                target=study.target,
                weight=study.weight,
                lesion_voxels=np.concatenate([np.zeros((0, 3), np.int16), *study.lesion_voxels]),
                lesion_sizes=np.array([len(voxels) for voxels in study.lesion_voxels], dtype=np.int64),
                present=np.array(study.present),
            )
        unfinished.replace(self.folder / f"study-{number:08d}.npz")
        for old in self._studies()[: -self.size]:
            old.unlink()

    def take(self, rng: np.random.Generator) -> TrainingStudy:
        """Return any of the studies, waiting for the first one."""
        while True:
            studies = self._studies()
            if studies:
                try:
                    return _load(studies[rng.integers(len(studies))])
                except FileNotFoundError:
                    # It was thrown away after the look; there are others.
                    continue
            time.sleep(LOOK_AGAIN_S)

    def __len__(self) -> int:
        """Return how many studies there are."""
        return len(self._studies())

    def all(self) -> Iterator[TrainingStudy]:
        """Yield every study, the oldest first."""
        return map(_load, self._studies())

    def _studies(self) -> list[Path]:
        return sorted(self.folder.glob("study-*.npz"))


def _load(path: Path) -> TrainingStudy:
    with np.load(path) as stored:
        present = tuple(bool(each) for each in stored["present"])
        target = stored["target"]
        voxels = np.zeros((len(present), *target.shape), dtype=np.float16)
        voxels[list(present)] = stored["voxels"]
        lesions = np.split(stored["lesion_voxels"], np.cumsum(stored["lesion_sizes"])[:-1])
        return TrainingStudy(
            voxels=voxels,
            target=target,
            weight=stored["weight"],
            lesion_voxels=tuple(voxels for voxels in lesions if len(voxels)),
            present=present,
        )


def fill_shelf(
    shelf: StudyShelf, backgrounds: tuple[Background, ...], *, seed: int, rules: StudyRules = EVERYTHING
) -> Iterator[int]:
    """Put fresh studies on a shelf for ever, yielding the number of each."""
    shelf.folder.mkdir(parents=True, exist_ok=True)
    # A second run goes on where the first one stopped, with studies of its own.
    number = max((int(path.stem.split("-")[1]) for path in shelf.folder.glob("study-*.npz")), default=0)
    while True:
        number += 1
        rng = np.random.default_rng((seed, number))
        shelf.put(make_study(draw_background(backgrounds, rng), rng, rules), number=number)
        yield number
