"""Owns the score of exported networks: labelled studies go through the very code that serves, and are compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from brainmets.imaging.blending import ProbabilityAccumulator, ProbabilityTile
from brainmets.imaging.brain_mask import BrainMask, pack_brain
from brainmets.imaging.evaluation import dice, slice_dice
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_outline import HeadOutline, outline_head
from brainmets.imaging.lesions import InstanceMap, binarize, drop_outside_brain, find_lesions
from brainmets.imaging.mets_metric import LesionwiseScore, count_found_by_size, score_lesions
from brainmets.imaging.normalization import NormalizedVolume, normalize_study
from brainmets.imaging.probability_map import ProbabilityMap
from brainmets.imaging.resampling import resample_like
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import AlignedStudy, align_study
from brainmets.imaging.tiling import extract_tile, plan_tiles
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.export import VERSION, OperatingPoint
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.served_contract import INPUT_NAME, OUTPUT_NAME, TILES


@dataclass(frozen=True, slots=True)
class StudyScore:
    """How one study was segmented.

    Attributes:
        study: Its name.
        dice: The patient's Dice; 1 when neither side has a lesion.
        slice_dice: Mean Dice over slices.
        lesionwise: The BraTS-METS score.
        predicted_mm3: Volume of all that was predicted.
    """

    study: str
    dice: float
    slice_dice: float
    lesionwise: LesionwiseScore
    predicted_mm3: float


@dataclass(frozen=True, slots=True, eq=False)
class InferredStudy:
    """What networks say about a study.

    Attributes:
        probability_maps: Each network's probability on the acquired grid, and their mean when there are several.
        brain: Where the brain was found.
        grid: The grid that the brain's mask was taken from.
    """

    probability_maps: Mapping[str, ProbabilityMap]
    brain: BrainMask
    grid: Geometry

    def decide(self, name: str, point: OperatingPoint) -> InstanceMap:
        """Return one network's lesions at an operating point, as the service finds them."""
        mask = binarize(self.probability_maps[name], point.threshold)
        candidates = find_lesions(mask, min_volume_mm3=point.min_lesion_volume_mm3)
        return drop_outside_brain(candidates, self.brain, self.grid)


class Scorer:
    """Runs networks, alone or averaged, over labelled studies."""

    def __init__(self, models: Iterable[Path], *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = {
            model.name: onnxruntime.InferenceSession(
                model / VERSION / "model.onnx", options, providers=["CPUExecutionProvider"]
            )
            for model in models
        }

    def infer(self, labelled: LabelledStudy) -> InferredStudy:
        """Return what each network says about a study."""
        aligned = align_study(labelled.study, spacing_mm=TILES.spacing_mm)
        return self.infer_in(aligned, outline_head(aligned.volumes[Sequence.T1C], load_brain_network()))

    def infer_in(self, aligned: AlignedStudy, outline: HeadOutline) -> InferredStudy:
        """Return what each network says about a study whose brain is where an outline says."""
        normalized = normalize_study(aligned, outline)
        maps = {name: self._infer(session, normalized) for name, session in self._sessions.items()}
        if len(maps) > 1:
            mean = np.stack([each.voxels for each in maps.values()]).mean(axis=0, dtype=np.float32)
            maps["mean"] = ProbabilityMap(mean, normalized.geometry)
        acquired = {name: resample_like(each, aligned.acquired) for name, each in maps.items()}
        return InferredStudy(acquired, pack_brain(normalized.brain), normalized.geometry)

    @staticmethod
    def _infer(session: onnxruntime.InferenceSession, normalized: NormalizedVolume) -> ProbabilityMap:
        grid = plan_tiles(normalized.foreground.shape, TILES, occupied=normalized.brain)
        accumulator = ProbabilityAccumulator(grid)
        channels = [TILES.sequences.index(sequence) for sequence in normalized.sequences]
        for index, origin in enumerate(grid.origins):
            tile = extract_tile(normalized, grid, index=index).voxels
            voxels = np.zeros((1, len(TILES.sequences), *tile.shape[1:]), dtype=np.float32)
            voxels[0, channels] = tile
            (probability,) = session.run([OUTPUT_NAME], {INPUT_NAME: voxels})
            accumulator.add(ProbabilityTile(index, origin, probability[0, 0]))
        return accumulator.finish(normalized.geometry)


def score_study(labelled: LabelledStudy, lesions: InstanceMap) -> StudyScore:
    """Return how the lesions that were found in a study compare with its reference."""
    prediction = lesions.mask
    return StudyScore(
        study=labelled.name,
        dice=dice(labelled.reference, prediction),
        slice_dice=slice_dice(labelled.reference, prediction),
        lesionwise=score_lesions(labelled.reference, prediction),
        predicted_mm3=float(np.count_nonzero(prediction.voxels)) * prediction.geometry.voxel_volume_mm3,
    )


def summarize(scores: Iterable[StudyScore]) -> Mapping[str, object]:
    """Return the means over studies, and sensitivity by size over all of their lesions."""
    scores = tuple(scores)
    sizes = count_found_by_size(score.lesionwise for score in scores)
    return {
        "studies": len(scores),
        "patient_dice": _mean([score.dice for score in scores]),
        "slice_dice": _mean([score.slice_dice for score in scores]),
        "lesionwise_dice": _mean([score.lesionwise.dice for score in scores]),
        "false_positives_per_study": _mean([float(score.lesionwise.false_positives) for score in scores]),
        "found_by_size_mm": {f"{size.above_mm:g}-{size.below_mm:g}": f"{size.found}/{size.lesions}" for size in sizes},
    }


def _mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3)
