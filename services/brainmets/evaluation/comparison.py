"""Owns the comparison of candidates: networks that were trained differently, asked the same studies."""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from brainmets.evaluation.point_choice import MOST_FALSE_POSITIVES, choose_points, try_points
from brainmets.evaluation.report import NOTICE, describe_machine
from brainmets.evaluation.study_score import score_study
from brainmets.evaluation.summary import Json
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.runtime.network_version import find_graphs
from brainmets.training.labelled_studies import LabelledStudy
from brainmets.training.scoring import MEAN, InferredStudy, Scorer
from brainmets.training.slice_split import SLICE_SPLIT_NAME

DIGITS = 4
COLUMNS = (
    "candidate", "network", "found", "false", "patient Dice", "slice Dice", "lesion-wise Dice", "test Dice",
    "test false", "core s a study",
)  # fmt: skip


def compare_candidate(candidate: Path, drawn: Sequence[LabelledStudy], test: LabelledStudy, *, threads: int) -> Json:
    """Return what each network of a candidate, and the mean of two, makes of the same studies.

    Each decides where it finds most for what BALANCED may cost on these very studies: the point is chosen on what is
    reported, which is fair between candidates and flatters all of them.

    Args:
        candidate: Folder that holds exported networks.
        drawn: Studies of drawn lesions in an unseen head.
        test: Another study, at the point that the drawn ones chose.
        threads: Of the network.
    """
    models = [graph.parents[1] for graph in find_graphs(candidate)]
    scorer = Scorer(models, threads=threads)
    inferred, seconds = [], []
    for labelled in drawn:
        start_s = time.process_time()
        inferred.append(scorer.infer(labelled))
        seconds.append(time.process_time() - start_s)
    asked = list(zip(drawn, inferred, strict=True))
    tested = scorer.infer(test)
    split = candidate / SLICE_SPLIT_NAME
    return {
        "candidate": candidate.name,
        **describe_machine(),
        "core_seconds_a_study": round(statistics.median(seconds), 2),
        "networks": {name: _judge(name, asked, (test, tested)) for name in tested.probability_maps},
        **({"random_slices": json.loads(split.read_text())} if split.is_file() else {}),
    }


def _judge(
    name: str, asked: list[tuple[LabelledStudy, InferredStudy]], tested: tuple[LabelledStudy, InferredStudy]
) -> Json:
    known = [(labelled.truth, inferred) for labelled, inferred in asked]
    chosen = choose_points(try_points(known, name))[OperatingPointName.BALANCED]
    scores = [
        score_study(
            labelled.name,
            labelled.reference,
            inferred.decide(name, chosen.point).mask,
            with_skull=inferred.with_skull,
        )
        for labelled, inferred in (*asked, tested)
    ]
    *drawn, test = scores
    return {
        "threshold": chosen.point.threshold,
        "min_peak_probability": chosen.point.min_peak_probability,
        "min_lesion_volume_mm3": chosen.point.min_lesion_volume_mm3,
        "sensitivity": round(chosen.sensitivity, DIGITS),
        "false_positives": round(chosen.false_positives, DIGITS),
        "patient_dice": round(statistics.mean(score.dice for score in drawn), DIGITS),
        "slice_dice": round(statistics.mean(score.slice_dice for score in drawn), DIGITS),
        "lesionwise_dice": round(chosen.lesionwise_dice, DIGITS),
        "test_dice": round(test.dice, DIGITS),
        "test_false_positives": test.lesionwise.false_positives,
    }


def save_compared(path: Path, compared: Json) -> None:
    """Put a candidate's figures into a file in place of what it said about that candidate before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    others = [each for each in _load(path) if each["candidate"] != compared["candidate"]]
    path.write_text(json.dumps([*others, compared], indent=1) + "\n")


def _load(path: Path) -> list[Json]:
    candidates: list[Json] = json.loads(path.read_text()) if path.is_file() else []
    return candidates


def render_compared(path: Path) -> str:
    """Return every candidate of a file as a Markdown table, a line for each network.

    "Found" is of the drawn lesions from 3 mm, "false" the false positives a study, both at the point that finds most
    for what BALANCED may cost; core seconds are of all the candidate's networks together.
    """
    rows = [tuple(COLUMNS), ("---",) * len(COLUMNS), *_rows(path)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def print_compared(path: Path, console: Console) -> None:
    """Print every candidate of a file, one line for each network."""
    table = Table(title=f"{path.name}: drawn lesions in an unseen head, and a test study", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, no_wrap=column in COLUMNS[:2], justify="left" if column in COLUMNS[:2] else "right")
    for row in _rows(path):
        table.add_row(*row)
    console.print(table)
    most = MOST_FALSE_POSITIVES[OperatingPointName.BALANCED]
    console.print(
        f"[dim]Each at the point that finds most lesions from 3 mm for {most:g} false positives a study, on these "
        f"studies; core s: median of a study, which other work on the machine changes least. {NOTICE}[/dim]"
    )


def _rows(path: Path) -> Iterator[tuple[str, ...]]:
    for candidate in json.loads(path.read_text()):
        for name, figures in candidate["networks"].items():
            alone = len(candidate["networks"]) == 1 or name == MEAN
            yield (
                candidate["candidate"],
                name,
                *(f"{figures[key]:.2f}" for key in ("sensitivity", "false_positives")),
                *(f"{figures[key]:.3f}" for key in ("patient_dice", "slice_dice", "lesionwise_dice", "test_dice")),
                str(figures["test_false_positives"]),
                f"{candidate['core_seconds_a_study']:.2f}" if alone else "",
            )
