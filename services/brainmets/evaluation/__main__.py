"""Owns the evaluator's command line: score networks on labelled studies, and choose their operating points."""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from tqdm import tqdm

from brainmets.client import Client, SegmentationOptions, ServiceError
from brainmets.evaluation.calibration import ProbabilityCounts, scale_probability
from brainmets.evaluation.card_table import render_table
from brainmets.evaluation.comparison import compare_candidate, print_compared, render_compared, save_compared
from brainmets.evaluation.data_set import DataSet, evaluate_data_set
from brainmets.evaluation.decided_study import GatewayDecider, OnnxDecider, StudyDecider, with_mean
from brainmets.evaluation.point_choice import PointScore, choose_points, try_points
from brainmets.evaluation.report import load_report, print_report
from brainmets.evaluation.tile_timing import print_tiles, time_tiles
from brainmets.imaging.errors import BrainmetsError
from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.runtime.network_version import GRAPH_NAME, INT8_NAME
from brainmets.training.decisions import Decision, save_decision
from brainmets.training.labelled_studies import (
    LabelledStudy,
    StudyTruth,
    load_labelled_study,
    make_synthetic_studies,
)
from brainmets.training.model_card import CARD_NAME, load_facts
from brainmets.training.scoring import MEAN, InferredStudy, Scorer, average_maps
from brainmets.training.served_contract import TILES
from brainmets.training.splits import Part, find_part

# Drawn apart from every training seed, and figures apart from what chose the operating points.
CHOICE_SEED = 20_000
REPORT_SEED = 30_000
# Between the seeds of studies that are degraded and of those that are not, where both are drawn.
BOTH_WAYS_SEED = 1000


def main() -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (BrainmetsError, ServiceError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m brainmets.evaluation", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_score(commands.add_parser("score", help="score networks on a data set and put it into evaluation.json"))
    _add_table(commands.add_parser("table", help="print the model cards' figures as the table of docs/accuracy.md"))
    _add_compare(commands.add_parser("compare", help="compare candidates on the same studies, each at its best point"))
    _add_compared(commands.add_parser("compared", help="print a comparison as the table of docs/accuracy.md"))
    _add_tiles(commands.add_parser("tiles", help="time a study with tiles of several sizes"))
    _add_choose(commands.add_parser("choose-points", help="choose temperature and operating points on validation data"))
    return parser


def _add_studies(parser: argparse.ArgumentParser, *, seed: int) -> None:
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--study", type=Path, nargs="+", help="folders in the BraTS layout")
    of.add_argument("--studies", type=Path, help="folder of labelled studies of which --split-file names a part")
    parser.add_argument("--split-file", type=Path, help="what `python -m brainmets.training split` wrote")
    parser.add_argument("--part", type=Part, default=Part.VALIDATION, help="part of the split, with --studies")
    parser.add_argument("--reference", type=Path, help="label map of a single study; else its *seg.nii.gz")
    parser.add_argument("--labels", type=int, nargs="+", help="values of tumour core; else those of its BraTS release")
    parser.add_argument("--synthetic", type=int, default=0, help="score so many studies implanted in each instead")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--as-acquired", action="store_true", help="with --synthetic: contrast and noise stay real")
    ways.add_argument("--both-ways", action="store_true", help="with --synthetic: so many of each kind")
    parser.add_argument("--seed", type=int, default=seed, help="draws the implanted studies")
    parser.add_argument("--threads", type=int, default=2)


def _add_score(parser: argparse.ArgumentParser) -> None:
    _add_studies(parser, seed=REPORT_SEED)
    by = parser.add_mutually_exclusive_group(required=True)
    by.add_argument("--model", type=Path, nargs="+", help="folders of the model repository")
    by.add_argument("--gateway", help="address of a running gateway; asked for each network and their mean")
    parser.add_argument("--int8", action="store_true", help="with --model: the graphs that were rounded to int8")
    parser.add_argument("--name", required=True, help="what the data set is called in the report")
    parser.add_argument("--split", required=True, help="what it was to these weights: training, validation, test")
    parser.add_argument("--operating-point", type=OperatingPointName, default=OperatingPointName.BALANCED)
    parser.add_argument("--threshold", type=float, help="in place of the operating point's")
    parser.add_argument("--min-lesion-volume-mm3", type=float, help="in place of the operating point's")
    parser.add_argument("--min-peak-probability", type=float, help="likewise; with --threshold alone it is none")
    parser.add_argument("--worst", type=int, default=3, help="pictures of so many of the worst studies")
    parser.add_argument("--out", type=Path, default=Path("build/evaluation.json"))
    parser.set_defaults(run=_score)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="folders of the model repository")
    parser.set_defaults(run=_print_table)


def _print_table(arguments: argparse.Namespace) -> None:
    cards = {model.name: load_facts(model / CARD_NAME) for model in arguments.model}
    sys.stdout.write(render_table(cards) + "\n")


def _add_choose(parser: argparse.ArgumentParser) -> None:
    _add_studies(parser, seed=CHOICE_SEED)
    parser.add_argument("--model", type=Path, nargs="+", required=True, help="folders of the model repository")
    parser.add_argument("--out", type=Path, required=True, help="folder for one JSON file a network")
    parser.set_defaults(run=_choose)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--candidates", type=Path, nargs="+", required=True, help="folders that hold exported networks")
    parser.add_argument("--study", type=Path, required=True, help="a labelled study kept out of training")
    parser.add_argument("--synthetic", type=int, default=8, help="lesions are drawn into it so many times")
    parser.add_argument("--test", type=Path, required=True, help="another study, only looked at")
    parser.add_argument("--reference", type=Path, required=True, help="its label map")
    parser.add_argument("--labels", type=int, nargs="+", help="values of that which are tumour core")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file that candidates are added to")
    parser.set_defaults(run=_compare)


def _add_compared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, required=True, help="what `compare` wrote")
    parser.set_defaults(run=lambda given: sys.stdout.write(render_compared(given.file) + "\n"))


def _add_tiles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="a folder of the model repository")
    parser.add_argument("--study", type=Path, required=True, help="a labelled study")
    parser.add_argument("--depth", type=int, nargs="+", default=(8, 16, 24, 48), help="slices that a tile decides")
    parser.add_argument("--size", type=int, nargs="+", default=(96, 160, 256), help="most rows and columns")
    parser.add_argument("--threads", type=int, default=2)
    parser.set_defaults(run=_time_tiles)


def _compare(arguments: argparse.Namespace) -> None:
    held_out = load_labelled_study(arguments.study)
    drawn = tuple(make_synthetic_studies(held_out, count=arguments.synthetic, seed=CHOICE_SEED))
    test = load_labelled_study(
        arguments.test, reference=arguments.reference, labels=arguments.labels and tuple(arguments.labels)
    )
    for candidate in tqdm(arguments.candidates, unit="candidate"):
        compared = compare_candidate(candidate, drawn, test, threads=arguments.threads)
        save_compared(arguments.out, compared)
    print_compared(arguments.out, Console())


def _time_tiles(arguments: argparse.Namespace) -> None:
    labelled = load_labelled_study(arguments.study)
    contracts = [replace(TILES, depth=depth, max_size=size) for depth in arguments.depth for size in arguments.size]
    timed = [
        time_tiles(arguments.model, labelled, contract, threads=arguments.threads)
        for contract in tqdm(contracts, unit="size")
    ]
    print_tiles(timed, Console())


def _score(arguments: argparse.Namespace) -> None:
    data_set = DataSet(arguments.name, arguments.split, _name_point(arguments))
    with _open_decider(arguments) as decider:
        evaluate_data_set(data_set, _open_studies(arguments), decider, out=arguments.out, worst=arguments.worst)
    print_report(load_report(arguments.out), Console())


def _name_point(arguments: argparse.Namespace) -> str:
    """Say where the networks decide, with what was given in place of the point's own figures."""
    given = {
        "p >=": arguments.threshold,
        "peak >=": arguments.min_peak_probability,
        "mm³ >=": arguments.min_lesion_volume_mm3,
    }
    return ", ".join([str(arguments.operating_point), *(f"{k} {v:g}" for k, v in given.items() if v is not None)])


@contextmanager
def _open_decider(arguments: argparse.Namespace) -> Iterator[StudyDecider]:
    if arguments.gateway is not None:
        with Client(arguments.gateway) as client:
            names = (*(model.model_name for model in client.models()), MEAN)
            yield GatewayDecider(client, names, _options(arguments))
        return
    points = {model.name: _read_point(model, arguments) for model in arguments.model}
    graph = INT8_NAME if arguments.int8 else GRAPH_NAME
    yield OnnxDecider(Scorer(arguments.model, threads=arguments.threads, graph=graph), with_mean(points))


def _options(arguments: argparse.Namespace) -> SegmentationOptions:
    return SegmentationOptions(
        operating_point=str(arguments.operating_point),
        threshold=arguments.threshold,
        min_lesion_volume_mm3=arguments.min_lesion_volume_mm3,
        min_peak_probability=arguments.min_peak_probability,
        test=True,
    )


def _read_point(model: Path, arguments: argparse.Namespace) -> OperatingPoint:
    """Return a model's operating point from its card, or what was given in its place."""
    stated = OperatingPoint(**load_facts(model / CARD_NAME)["operating_points"][arguments.operating_point])
    given = (arguments.threshold, arguments.min_lesion_volume_mm3, arguments.min_peak_probability)
    return stated.replaced_by(*given)


def _open_studies(arguments: argparse.Namespace) -> Iterator[LabelledStudy]:
    labels = arguments.labels and tuple(arguments.labels)
    folders = _find_folders(arguments)
    ways = _find_ways(arguments)
    with tqdm(total=len(folders) * max(1, len(ways) * arguments.synthetic), unit="study") as bar:
        for folder in folders:
            real = load_labelled_study(folder, reference=arguments.reference, labels=labels)
            made = itertools.chain.from_iterable(
                make_synthetic_studies(real, count=arguments.synthetic, seed=seed, as_acquired=as_acquired)
                for as_acquired, seed in ways.items()
            )
            for labelled in made if arguments.synthetic else (real,):
                yield labelled
                bar.update()


def _find_ways(arguments: argparse.Namespace) -> Mapping[bool, int]:
    """Return whether studies are drawn as acquired, or not, or both, each with its seed."""
    if arguments.both_ways:
        return {False: arguments.seed, True: arguments.seed + BOTH_WAYS_SEED}
    return {arguments.as_acquired: arguments.seed}


def _find_folders(arguments: argparse.Namespace) -> tuple[Path, ...]:
    if arguments.studies is None:
        return tuple(arguments.study)
    return find_part(arguments.studies, arguments.split_file, arguments.part)


def _choose(arguments: argparse.Namespace) -> None:
    scorer = Scorer(arguments.model, threads=arguments.threads)
    names = [model.name for model in arguments.model]
    studies = [(labelled.truth, scorer.infer(labelled).with_only(names)) for labelled in _open_studies(arguments)]
    counts = {name: _count(studies, name) for name in names}
    temperatures = {name: round(counts[name].fit_temperature(), 3) for name in names}
    # Networks are asked together unless a client says otherwise: one set of points, for what they say together.
    together = ((truth, _average(inferred, temperatures)) for truth, inferred in studies)
    chosen = choose_points(try_points(tqdm(together, total=len(studies), desc="operating points"), MEAN))
    for name in names:
        decision = Decision(temperatures[name], {point: score.point for point, score in chosen.items()})
        found = _describe_choice(chosen, counts[name], temperatures[name], studies)
        save_decision(decision, arguments.out / f"{name}.json", found=found)
    sys.stdout.write(f"temperatures {temperatures}; {_say(chosen)}\n")


def _count(studies: list[tuple[StudyTruth, InferredStudy]], name: str) -> ProbabilityCounts:
    first, *others = (
        ProbabilityCounts.count(inferred.probability_maps[name], truth.reference) for truth, inferred in studies
    )
    return sum(others, start=first)


def _average(inferred: InferredStudy, temperatures: Mapping[str, float]) -> InferredStudy:
    """Return the study with the mean of the networks at their temperatures."""
    maps = [
        scale_probability(inferred.probability_maps[name], temperature=temperature)
        for name, temperature in temperatures.items()
    ]
    return inferred.with_map(MEAN, average_maps(maps))


def _describe_choice(
    chosen: Mapping[OperatingPointName, PointScore],
    counts: ProbabilityCounts,
    temperature: float,
    studies: list[tuple[StudyTruth, InferredStudy]],
) -> dict[str, object]:
    return {
        "at_these_points": {str(name): asdict(score) for name, score in chosen.items()},
        "expected_calibration_error": {
            "before": round(counts.expected_error(), 4),
            "after": round(counts.expected_error(temperature=temperature), 4),
        },
        "chosen_on": [truth.name for truth, _ in studies],
    }


def _say(chosen: Mapping[OperatingPointName, PointScore]) -> str:
    return ", ".join(
        f"{name} p >= {score.point.threshold:g}, peak >= {score.point.min_peak_probability:g}, "
        f"{score.point.min_lesion_volume_mm3:g} mm³ "
        f"(finds {score.sensitivity:.2f}, {score.false_positives:.1f} false a study)"
        for name, score in chosen.items()
    )


if __name__ == "__main__":
    raise SystemExit(main())
