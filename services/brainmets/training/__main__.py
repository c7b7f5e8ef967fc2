"""Owns the training side's command line: train, export, evaluate."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import align_study
from brainmets.imaging.tiling import extract_tile, plan_tiles
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.backgrounds import load_backgrounds
from brainmets.training.brain_commands import add_brain_commands
from brainmets.training.checkpoint import TrainingPlan, load_checkpoint
from brainmets.training.export import OperatingPoint, export_checkpoint
from brainmets.training.head_preparation import prepare_head
from brainmets.training.heads import CHANNELS
from brainmets.training.labelled_studies import (
    CORE_LABELS,
    LabelledStudy,
    load_labelled_study,
    make_synthetic_studies,
)
from brainmets.training.loop import Trainer
from brainmets.training.networks import NETWORKS
from brainmets.training.patches import StudySource
from brainmets.training.scoring import Scorer, StudyScore, score_study, summarize
from brainmets.training.served_contract import TILES
from brainmets.training.shelf import StudyShelf, fill_shelf
from brainmets.training.studies import draw_background, make_study

# Drawn apart from every training seed.
VALIDATION_SEED = 20_000


def main() -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except BrainmetsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m brainmets.training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_train(commands.add_parser("train", help="train a network on procedural metastases"))
    _add_prepare(commands.add_parser("prepare-head", help="outline the brain of a whole head in DICOM for training"))
    _add_shelve(commands.add_parser("shelve", help="keep a folder filled with fresh studies for several trainings"))
    _add_export(commands.add_parser("export", help="write a checkpoint into a model repository"))
    _add_evaluate(commands.add_parser("evaluate", help="score exported networks on labelled studies"))
    add_brain_commands(commands)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", choices=sorted(NETWORKS), required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", help="folders that hold the backgrounds")
    source.add_argument("--shelf", type=Path, help="a folder that `shelve` fills; cannot be replayed from the seed")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and the log go")
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=60.0, help="longest time it may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="threads of the network; patches have their own process")
    parser.set_defaults(run=_train)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dicom", type=Path, required=True, help="folder of a T1 of a whole head")
    parser.add_argument("--template", type=Path, nargs=2, required=True, help="another whole head and its brain")
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(run=lambda given: prepare_head(given.dicom, tuple(given.template), given.out))


def _add_shelve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold the backgrounds")
    parser.add_argument("--shelf", type=Path, required=True, help="the folder; quickest in memory, 2 GiB")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(run=_shelve)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.5, help="chosen on validation studies")
    parser.add_argument("--min-lesion-volume-mm3", type=float, default=10.0)
    parser.add_argument("--study", type=Path, required=True, help="a labelled study, for the parity gate's real tile")
    parser.add_argument("--statement", required=True, help="what it was trained on, in one sentence")
    parser.add_argument("--card", type=Path, help="JSON with what the model card says beside the export's own facts")
    parser.set_defaults(run=_export)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="folders of the model repository")
    parser.add_argument("--study", type=Path, nargs="+", required=True, help="folders in the BraTS layout")
    parser.add_argument("--reference", type=Path, help="label map of a single study; else its *seg.nii.gz")
    parser.add_argument("--labels", type=int, nargs="+", default=CORE_LABELS, help="values that are tumour core")
    parser.add_argument("--synthetic", type=int, default=0, help="score so many studies implanted in each instead")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5])
    parser.add_argument("--min-lesion-volume-mm3", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.set_defaults(run=_evaluate)


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    plan = TrainingPlan(arguments.network, arguments.updates, arguments.minutes, seed=arguments.seed)
    Trainer(plan, folder=arguments.out).train(_study_source(arguments))


def _study_source(arguments: argparse.Namespace) -> StudySource:
    if arguments.shelf is not None:
        return StudyShelf(arguments.shelf).take
    backgrounds = load_backgrounds(arguments.data)
    return lambda rng: make_study(draw_background(backgrounds, rng), rng)


def _shelve(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    studies = fill_shelf(StudyShelf(arguments.shelf), load_backgrounds(arguments.data), seed=arguments.seed)
    for _ in tqdm(studies, unit="study"):
        pass


def _export(arguments: argparse.Namespace) -> None:
    folder = export_checkpoint(
        load_checkpoint(arguments.checkpoint),
        arguments.repository,
        point=OperatingPoint(arguments.threshold, arguments.min_lesion_volume_mm3),
        real_tiles=_cut_real_tiles(load_labelled_study(arguments.study, labels=CORE_LABELS)),
        statement=arguments.statement,
        card={} if arguments.card is None else json.loads(arguments.card.read_text()),
    )
    sys.stdout.write(f"wrote {folder}\n")


def _cut_real_tiles(labelled: LabelledStudy) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], ...]:
    """Return the tile (1, C, D + 2h, H, W) in the middle of a study."""
    aligned = align_study(labelled.study, spacing_mm=TILES.spacing_mm)
    outline = outline_head(aligned.volumes[Sequence.T1C], load_brain_network())
    normalized = normalize_study(aligned, outline)
    grid = plan_tiles(normalized.foreground.shape, TILES, occupied=normalized.brain)
    tile = extract_tile(normalized, grid, index=len(grid.origins) // 2).voxels
    voxels = np.zeros((1, CHANNELS, *tile.shape[1:]), dtype=np.float32)
    voxels[0, [TILES.sequences.index(sequence) for sequence in normalized.sequences]] = tile
    return (voxels,)


@dataclass(frozen=True, slots=True)
class _Row:
    model: str
    threshold: float
    score: StudyScore


def _evaluate(arguments: argparse.Namespace) -> None:
    scorer = Scorer(arguments.model, threads=arguments.threads)
    rows: list[_Row] = []
    for labelled in _open_studies(arguments):
        inferred = scorer.infer(labelled)
        for model in inferred.probability_maps:
            for threshold in arguments.thresholds:
                point = OperatingPoint(threshold, arguments.min_lesion_volume_mm3)
                rows.append(_Row(model, threshold, score_study(labelled, inferred.decide(model, point))))
                sys.stdout.write(_line(rows[-1]))
                sys.stdout.flush()
    _report(rows, arguments.out)


def _open_studies(arguments: argparse.Namespace) -> Iterator[LabelledStudy]:
    labels = tuple(arguments.labels)
    for folder in arguments.study:
        real = load_labelled_study(folder, reference=arguments.reference, labels=labels)
        if arguments.synthetic:
            yield from make_synthetic_studies(real, count=arguments.synthetic, seed=VALIDATION_SEED)
        else:
            yield real


def _line(row: _Row) -> str:
    score = row.score
    found = sum(lesion.found for lesion in score.lesionwise.lesions)
    return (
        f"{score.study:<44} {row.model:<15} p>={row.threshold:.2f} Dice {score.dice:.3f} "
        f"lesions {found}/{len(score.lesionwise.lesions)} false positives {score.lesionwise.false_positives}\n"
    )


def _report(rows: list[_Row], out: Path | None) -> None:
    groups = sorted({(row.model, row.threshold) for row in rows})
    summary = [
        {"model": model, "threshold": threshold}
        | dict(summarize(row.score for row in rows if (row.model, row.threshold) == (model, threshold)))
        for model, threshold in groups
    ]
    for line in summary:
        sys.stdout.write(json.dumps(line) + "\n")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
