"""Owns the decided study: what networks say of a labelled study, run here or by a gateway, and what they decide."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from brainmets.client import Client, SegmentationOptions
from brainmets.client.results import MASK_NAME, PROBABILITY_NAME
from brainmets.formats.nifti import read_label_map, write_nifti
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.lesions import LesionMask
from brainmets.imaging.operating_point import OperatingPoint, mean_point
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import align_study
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.scoring import MEAN, Scorer
from brainmets.training.served_contract import TILES


@dataclass(frozen=True, slots=True, eq=False)
class DecidedStudy:
    """What each network, and the mean of several, made of a study.

    Attributes:
        probability_maps: On the grid of the study's T1c, by name.
        masks: What was decided, on the same grid.
        with_skull: Whether the head had a skull.
    """

    probability_maps: Mapping[str, ProbabilityMap]
    masks: Mapping[str, LesionMask]
    with_skull: bool


class StudyDecider(Protocol):
    """Decides labelled studies."""

    def decide(self, labelled: LabelledStudy) -> DecidedStudy:
        """Return what each network made of a study."""
        ...


class OnnxDecider:
    """Decides with exported graphs, in this process, through the code that serves."""

    def __init__(self, scorer: Scorer, points: Mapping[str, OperatingPoint]) -> None:
        self._scorer = scorer
        self._points = points

    def decide(self, labelled: LabelledStudy) -> DecidedStudy:
        """Return what each network made of a study at its operating point."""
        inferred = self._scorer.infer(labelled)
        masks = {name: inferred.decide(name, self._points[name]).mask for name in inferred.probability_maps}
        return DecidedStudy(inferred.probability_maps, masks, inferred.with_skull)


class GatewayDecider:
    """Decides through a running gateway."""

    def __init__(self, client: Client, names: Iterable[str], options: SegmentationOptions) -> None:
        self._client = client
        self._names = tuple(names)
        self._options = options

    def decide(self, labelled: LabelledStudy) -> DecidedStudy:
        """Return what the service made of a study, asked once for each network.

        Raises:
            ServiceError: The service refused the study or failed.
        """
        maps, masks = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            for sequence, volume in labelled.study.volumes.items():
                (Path(folder) / f"study-{sequence}.nii.gz").write_bytes(write_nifti(volume.voxels, volume.geometry))
            for name in self._names:
                files = self._client.segment(folder, replace(self._options, model=name, force=True)).files
                probability = read_label_map(files[PROBABILITY_NAME], file_index=0)
                mask = read_label_map(files[MASK_NAME], file_index=0)
                maps[name] = ProbabilityMap(probability.voxels, labelled.reference.geometry)
                masks[name] = LesionMask(mask.voxels > 0.0, labelled.reference.geometry)
        return DecidedStudy(maps, masks, _has_skull(labelled))


def _has_skull(labelled: LabelledStudy) -> bool:
    t1c = align_study(labelled.study, spacing_mm=TILES.spacing_mm).volumes[Sequence.T1C]
    return outline_head(t1c, load_brain_network()).has_skull


def with_mean(points: Mapping[str, OperatingPoint]) -> Mapping[str, OperatingPoint]:
    """Return the networks' points and that of their mean, where there are several."""
    return {**points, MEAN: mean_point(points.values())} if len(points) > 1 else points
