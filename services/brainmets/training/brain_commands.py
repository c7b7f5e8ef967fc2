"""Owns the brain network's commands: train it, and score it on whole heads."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from brainmets.imaging.brain_network import BrainNetwork
from brainmets.imaging.operating_point import OperatingPoint
from brainmets.runtime.brain_weights import load_brain_network
from brainmets.training.brain_examples import draw_example
from brainmets.training.brain_heads import load_brain_heads
from brainmets.training.brain_scoring import (
    MaskScore,
    WholeHead,
    load_whole_head,
    score_candidates,
    score_mask,
    simulate_skulls,
)
from brainmets.training.brain_training import BrainTrainingPlan, train_brain_network, write_brain_network
from brainmets.training.labelled_studies import load_labelled_study
from brainmets.training.scoring import Scorer

# Drawn apart from every training seed.
VALIDATION_SEED = 20_000
# Examples that the export's parity gate tries.
PARITY_EXAMPLES = 6


def add_brain_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train-brain` and `evaluate-brain`."""
    _add_train(commands.add_parser("train-brain", help="train the small network that finds the brain in a head"))
    _add_evaluate(commands.add_parser("evaluate-brain", help="score brain masks, and candidates with and without them"))


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold the backgrounds")
    parser.add_argument("--without", nargs="*", default=[], help="backgrounds that are kept out, to be measured on")
    parser.add_argument("--out", type=Path, required=True, help="folder of the ONNX file and its card")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--minutes", type=float, default=15.0, help="longest time it may take")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(run=_train)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--head", type=Path, nargs="+", action="append", default=[], help="a T1, and its brain if known"
    )
    parser.add_argument("--study", type=Path, nargs="*", default=[], help="stripped studies in the BraTS layout")
    parser.add_argument("--reference", type=Path, help="label map of a single study; else its *seg.nii.gz")
    parser.add_argument("--labels", type=int, nargs="+", help="values of tumour core; else those of its BraTS release")
    parser.add_argument("--skulls", type=int, default=4, help="simulated skulls around each study")
    parser.add_argument("--network", type=Path, help="ONNX file of another brain network than the shipped one")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="folders of the model repository")
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--min-lesion-volume-mm3", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(run=_evaluate)


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)  # the examples have a process of their own
    heads = load_brain_heads(arguments.data, without=arguments.without, seed=arguments.seed)
    plan = BrainTrainingPlan(arguments.updates, arguments.minutes, arguments.seed)
    trained = train_brain_network(heads, plan)
    rng = np.random.default_rng(VALIDATION_SEED)
    examples = [draw_example(heads, rng) for _ in range(PARITY_EXAMPLES)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_brain_network(trained, plan, arguments.out, examples=examples, without=arguments.without)


def _evaluate(arguments: argparse.Namespace) -> None:
    network = load_brain_network() if arguments.network is None else BrainNetwork(arguments.network.read_bytes())
    scorer = Scorer(arguments.model, threads=arguments.threads) if arguments.model else None
    point = OperatingPoint(arguments.threshold, arguments.min_lesion_volume_mm3)
    for whole in _open_heads(arguments):
        line = _describe(score_mask(whole, network))
        if scorer is not None:
            for name, brain in (("without", None), ("with", network)):
                score = score_candidates(whole, brain, scorer, point)
                line += (
                    f" | {name} mask: lesions {score.found}/{score.lesions}, "
                    f"false candidates {score.false_candidates} ({score.outside} outside), {score.seconds:.0f} s"
                )
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _open_heads(arguments: argparse.Namespace) -> Iterator[WholeHead]:
    for path, *brain in arguments.head:
        yield load_whole_head(path, brain[0] if brain else None)
    for folder in arguments.study:
        labels = arguments.labels and tuple(arguments.labels)
        stripped = load_labelled_study(folder, reference=arguments.reference, labels=labels)
        yield from simulate_skulls(stripped, count=arguments.skulls, seed=VALIDATION_SEED)


def _describe(score: MaskScore) -> str:
    figures = ", ".join(f"{field.name} {getattr(score, field.name):.3f}" for field in fields(score)[1:])
    return f"{score.head:<36} {figures}"
