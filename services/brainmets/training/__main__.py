"""Owns the training side's command line: train and export."""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from brainmets.imaging.errors import BrainmetsError, InvalidArgumentError
from brainmets.training.ablations import ABLATIONS, train_ablation
from brainmets.training.averaging import average_networks
from brainmets.training.backgrounds import Background, load_backgrounds
from brainmets.training.brain_commands import add_brain_commands
from brainmets.training.checkpoint import TrainingPlan, load_checkpoint
from brainmets.training.context import OFFSETS, VOLUME, Context
from brainmets.training.decisions import UNDECIDED, load_decision
from brainmets.training.export import export_checkpoint
from brainmets.training.head_preparation import prepare_head
from brainmets.training.labelled_backgrounds import load_labelled_backgrounds, make_labelled_background
from brainmets.training.labelled_studies import (
    LabelledStudy,
    healthy_half,
    load_labelled_study,
    make_synthetic_studies,
)
from brainmets.training.loop import Trainer
from brainmets.training.model_card import CARD_NAME, SHIPPED_FACTS, load_facts, state_metrics
from brainmets.training.networks import NETWORKS
from brainmets.training.networks.blocks import WIDTHS
from brainmets.training.patches import StudySource
from brainmets.training.quantization import quantize_network
from brainmets.training.real_tiles import Tile, cut_real_tiles
from brainmets.training.recalibration import recalibrate_network
from brainmets.training.recipe import SHIPPED_MINUTES, train_shipped
from brainmets.training.search import search_plan
from brainmets.training.served_weights import digest_graph
from brainmets.training.shelf import StudyShelf, fill_shelf
from brainmets.training.splits import BRATS_PATIENT, Part, draw_split, find_part, save_split
from brainmets.training.studies import EVERYTHING, OWN_LESIONS, draw_background, make_study
from brainmets.training.validation import Validation, draw_validation
from brainmets.training.world import join_world

# Draws the studies that rounding to int8 is chosen and judged on; no other draw is of this seed.
CALIBRATION_SEED = 25_000
# Of a split's validation part, what rounding and the parity gate are tried on: enough, and soon read.
FEW_STUDIES = 8


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
    _add_recipe(commands.add_parser("train-shipped", help="train both networks as the shipped ones were"))
    _add_metrics(commands.add_parser("state-metrics", help="put an evaluation's figures into the model cards"))
    _add_search(commands.add_parser("search", help="search hyper-parameters with short trainings"))
    _add_split(commands.add_parser("split", help="draw a patient-wise split of labelled studies"))
    _add_prepare(commands.add_parser("prepare-head", help="outline the brain of a whole head in DICOM for training"))
    _add_shelve(commands.add_parser("shelve", help="keep a folder filled with fresh studies for several trainings"))
    _add_ablate(commands.add_parser("ablate", help="short trainings that differ in one thing each (docs/accuracy.md)"))
    _add_export(commands.add_parser("export", help="write a checkpoint into a model repository"))
    _add_recalibrate(commands.add_parser("recalibrate", help="give an exported network another decision"))
    _add_average(commands.add_parser("average", help="give an exported network the mean of itself and another export"))
    _add_quantize(commands.add_parser("quantize", help="write the int8 graph beside each network's exact one"))
    add_brain_commands(commands)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_plan(parser)
    parser.add_argument("--start", type=Path, help="a folder of the model repository whose network is trained on")
    parser.set_defaults(run=_train)


def _add_search(parser: argparse.ArgumentParser) -> None:
    _add_plan(parser)
    parser.add_argument("--trials", type=int, default=20, help="in all, those of an earlier run among them")
    parser.set_defaults(run=_search)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold the backgrounds")
    parser.add_argument("--out", type=Path, required=True, help="one folder below it for each network")
    parser.add_argument("--minutes", type=float, default=SHIPPED_MINUTES, help="for both, side by side")
    parser.add_argument("--start", type=Path, help="a model repository whose networks are trained on, for one cycle")
    parser.add_argument("--seed", type=int, default=0, help="added to every seed: each further cycle needs its own")
    parser.set_defaults(
        run=lambda given: train_shipped(
            given.data, given.out, minutes=given.minutes, start=given.start, seed=given.seed
        )
    )


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True, help="what `python -m brainmets.evaluation` wrote")
    parser.set_defaults(run=_state_metrics)


def _state_metrics(arguments: argparse.Namespace) -> None:
    report = json.loads(arguments.evaluation.read_text())
    for network in NETWORKS:
        state_metrics(arguments.repository / network, report)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", choices=sorted(NETWORKS), required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, nargs="+", help="folders that hold the backgrounds")
    source.add_argument("--split", type=Path, help="a split's file: trains on its labelled studies, see --studies")
    source.add_argument("--shelf", type=Path, help="a folder that `shelve` fills; cannot be replayed from the seed")
    parser.add_argument("--studies", type=Path, help="folder of the split's labelled studies in the BraTS layout")
    parser.add_argument("--labels", type=int, nargs="+", help="values of tumour core; else those of its BraTS release")
    parser.add_argument(
        "--validation", type=Path, help="without a split: a labelled study held out, whose loss ends the training early"
    )
    parser.add_argument("--cache", type=Path, default=Path("build/training/cache"), help="for labelled studies, read")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints and the log go")
    parser.add_argument("--updates", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=60.0, help="longest time it may take")
    parser.add_argument("--cycles", type=int, default=1, help="how often the learning rate falls to zero")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--offsets", type=int, nargs="+", default=OFFSETS, help="slices seen, from the decided one")
    shape.add_argument("--volumetric", action="store_true", help="3-D: decide 16 slices together (--batch-size 2)")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, help="feature maps of each level")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network; patches have their own process")


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--studies", type=Path, required=True, help="folder of labelled studies in the BraTS layout")
    parser.add_argument("--out", type=Path, required=True, help="the split's file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patient", default=BRATS_PATIENT, help="pattern of a study's name, its patient in a group")
    parser.set_defaults(run=_split)


def _split(arguments: argparse.Namespace) -> None:
    studies = [folder.name for folder in arguments.studies.iterdir() if any(folder.glob("*.nii.gz"))]
    save_split(draw_split(studies, seed=arguments.seed, patient=arguments.patient), arguments.out)


def _add_held_out(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which labelled studies were kept out of training."""
    held_out = parser.add_mutually_exclusive_group(required=True)
    held_out.add_argument("--study", type=Path, nargs="+", help="labelled studies kept out of training")
    held_out.add_argument("--studies", type=Path, help="folder of those of which --split names a validation part")
    parser.add_argument("--split", type=Path, help="what `split` wrote")
    parser.add_argument("--labels", type=int, nargs="+", help="values of tumour core; else those of its BraTS release")


def _held_out_studies(arguments: argparse.Namespace) -> Iterator[LabelledStudy]:
    folders = arguments.study or find_part(arguments.studies, arguments.split, Part.VALIDATION)
    return (load_labelled_study(folder, labels=_labels(arguments)) for folder in folders[:FEW_STUDIES])


def _labels(arguments: argparse.Namespace) -> tuple[int, ...] | None:
    return arguments.labels and tuple(arguments.labels)


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dicom", type=Path, required=True, help="folder of a T1 of a whole head")
    parser.add_argument("--template", type=Path, nargs=2, required=True, help="another whole head and its brain")
    parser.add_argument("--out", type=Path, required=True)
    parser.set_defaults(run=lambda given: prepare_head(given.dicom, tuple(given.template), given.out))


def _add_shelve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold the backgrounds")
    parser.add_argument("--shelf", type=Path, required=True, help="the folder; quickest in memory, 4 GiB")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(run=_shelve)


def _add_ablate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold the backgrounds")
    parser.add_argument("--study", type=Path, required=True, help="a labelled study: the real tumour of one of them")
    parser.add_argument("--out", type=Path, required=True, help="a folder for each, and the studies that they share")
    parser.add_argument("--only", choices=[each.name for each in ABLATIONS], nargs="+", help="else all of them")
    parser.set_defaults(run=_ablate)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--decision", type=Path, help="JSON that choose-points wrote; without it nothing is chosen yet")
    _add_held_out(parser)
    parser.add_argument("--facts", type=Path, default=SHIPPED_FACTS, help="JSON: statement, data, limits, failures")
    parser.set_defaults(run=_export)


def _add_recalibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="a folder of the model repository")
    parser.add_argument("--decision", type=Path, required=True, help="JSON that choose-points wrote for this network")
    parser.set_defaults(run=lambda given: recalibrate_network(given.model, load_decision(given.decision)))


def _add_average(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="a folder of the model repository")
    parser.add_argument("--other", type=Path, required=True, help="another export of the same network")
    parser.set_defaults(run=lambda given: average_networks(given.model, given.other))


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="folders of the model repository")
    _add_held_out(parser)
    parser.add_argument("--synthetic", type=int, default=0, help="lesions are drawn into each so many times instead")
    parser.set_defaults(run=_quantize)


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    plan = _plan(arguments)
    if arguments.start is not None:
        plan = replace(plan, started_from=digest_graph(arguments.start))
    validation = _draw_validation(arguments)
    with join_world() as world:
        trainer = Trainer(plan, folder=arguments.out, world=world, start=arguments.start)
        trainer.train(_study_source(arguments), validation)


def _search(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    validation = _draw_validation(arguments)
    if validation is None:
        raise InvalidArgumentError(
            "Plans cannot be compared", expected="anatomy that is held out", got="none", remedy="give --validation"
        )
    with join_world() as world:
        found = search_plan(
            _plan(arguments),
            folder=arguments.out,
            trials=arguments.trials,
            draw_study=_study_source(arguments),
            validation=validation,
            world=world,
        )
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


def _plan(arguments: argparse.Namespace) -> TrainingPlan:
    return TrainingPlan(
        arguments.network,
        arguments.updates,
        arguments.minutes,
        cycles=arguments.cycles,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
        weight_decay=arguments.weight_decay,
        context=_context(arguments),
        widths=tuple(arguments.widths),
    )


def _draw_validation(arguments: argparse.Namespace) -> Validation | None:
    """Return validation on a split's own lesions, or on lesions drawn into the tumour-free half of a labelled study."""
    if arguments.split is not None and arguments.validation is not None:
        raise InvalidArgumentError(
            "There are two validations",
            expected="a split, which has its own, or --validation",
            got="both",
            remedy="leave --validation out",
        )
    if arguments.split is not None:
        held_out, rules = _load_part(arguments, Part.VALIDATION), OWN_LESIONS
    elif arguments.validation is not None:
        held_out, rules = (healthy_half(load_labelled_study(arguments.validation)),), EVERYTHING
    else:
        return None
    return draw_validation(
        lambda rng: make_study(draw_background(held_out, rng), rng, rules), context=_context(arguments)
    )


def _context(arguments: argparse.Namespace) -> Context:
    return VOLUME if arguments.volumetric else Context(tuple(arguments.offsets))


def _study_source(arguments: argparse.Namespace) -> StudySource:
    if arguments.shelf is not None:
        return StudyShelf(arguments.shelf).take
    backgrounds = _load_backgrounds(arguments)
    return lambda rng: make_study(draw_background(backgrounds, rng), rng)


def _load_backgrounds(arguments: argparse.Namespace) -> tuple[Background, ...]:
    if arguments.split is None:
        return load_backgrounds(arguments.data)
    return _load_part(arguments, Part.TRAINING)


def _load_part(arguments: argparse.Namespace, part: Part) -> tuple[Background, ...]:
    folders = find_part(arguments.studies, arguments.split, part)
    return load_labelled_backgrounds(folders, labels=_labels(arguments), cache=arguments.cache)


def _shelve(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    studies = fill_shelf(StudyShelf(arguments.shelf), load_backgrounds(arguments.data), seed=arguments.seed)
    for _ in tqdm(studies, unit="study"):
        pass


def _ablate(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    backgrounds = load_backgrounds(arguments.data)
    labelled = load_labelled_study(arguments.study)
    tiles, tumour = _cut_middle_tile(labelled), make_labelled_background(labelled)
    for ablation in ABLATIONS:
        if arguments.only is None or ablation.name in arguments.only:
            train_ablation(ablation, backgrounds, tumour, out=arguments.out, real_tiles=tiles)


def _export(arguments: argparse.Namespace) -> None:
    folder = export_checkpoint(
        load_checkpoint(arguments.checkpoint),
        arguments.repository,
        decision=UNDECIDED if arguments.decision is None else load_decision(arguments.decision),
        real_tiles=_cut_middle_tile(next(_held_out_studies(arguments))),
        facts=load_facts(arguments.facts),
    )
    sys.stdout.write(f"wrote {folder}\n")


def _quantize(arguments: argparse.Namespace) -> None:
    held_out = _held_out_studies(arguments)
    if arguments.synthetic:
        held_out = itertools.chain.from_iterable(
            make_synthetic_studies(labelled, count=arguments.synthetic, seed=CALIBRATION_SEED) for labelled in held_out
        )
    tiles = [tile for study in tqdm(held_out, unit="study") for tile in cut_real_tiles(study)]
    for folder in tqdm(arguments.model, unit="network"):
        quantize_network(folder, tiles)
        sys.stdout.write(f"{folder.name}: agreement {load_facts(folder / CARD_NAME)['int8']['agreement_dice']}\n")


def _cut_middle_tile(labelled: LabelledStudy) -> tuple[Tile, ...]:
    tiles = list(cut_real_tiles(labelled))
    return (tiles[len(tiles) // 2],)


if __name__ == "__main__":
    raise SystemExit(main())
