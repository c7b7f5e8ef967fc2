"""Owns the model card: what is known of a network, beside it in the repository and inside its Triton configurations."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmets.imaging.operating_point import OperatingPoint, OperatingPointName
from brainmets.training.served_contract import (
    ServedContract,
    render_cpu_config,
    render_embedded_config,
    render_gpu_config,
)

CARD_NAME = "model_card.json"
# Data with licences, limits and known failures of the weights that this project ships.
SHIPPED_FACTS = Path(__file__).with_name("shipped_card.json")
# What of a data set's figures is for the report alone: a line for each study, and the reliability diagram.
LONG_FIGURES = ("per_study", "calibration")

Card = Mapping[str, Any]  # Any: what JSON holds


def load_facts(path: Path = SHIPPED_FACTS) -> Card:
    """Return what a model card says beside what the export knows and the evaluator measures."""
    facts: Card = json.loads(path.read_text())
    return facts


def write_card(folder: Path, card: Card) -> None:
    """Write a network's card and the Triton configurations that carry it into its folder of the repository."""
    contract = contract_from_card(card)
    for place, text in {
        "config.pbtxt": render_cpu_config(contract),
        "configs/embedded.pbtxt": render_embedded_config(contract),
        "configs/gpu.pbtxt": render_gpu_config(contract),
        CARD_NAME: json.dumps(card, indent=2, ensure_ascii=False) + "\n",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)


def contract_from_card(card: Card) -> ServedContract:
    """Return the contract that a card states."""
    points = {name: OperatingPoint(**card["operating_points"][name]) for name in OperatingPointName}
    digests = {"onnx_sha256": card["onnx_sha256"]}
    if "int8" in card:
        digests["int8_sha256"] = card["int8"]["sha256"]
    return ServedContract(card["model_name"], digests, points, card["training"], card)


def state_metrics(folder: Path, report: Card) -> None:
    """Put the figures of an evaluation into a network's card, each with its data set and split.

    Args:
        folder: The network's, in the model repository.
        report: What `python -m brainmets.evaluation score` wrote.
    """
    card = json.loads((folder / CARD_NAME).read_text())
    metrics = []
    for name, entry in report["data_sets"].items():
        networks = {network: _shorten(figures) for network, figures in entry["networks"].items()}
        stated = {key: entry[key] for key in ("split", "operating_point", "date", "machine")}
        metrics.append({"data_set": name, **stated, "alone": networks[folder.name], "mean_of_both": networks["mean"]})
    write_card(folder, {**card, "metrics": metrics})


def _shorten(figures: Card) -> Card:
    short = {key: figure for key, figure in figures.items() if key not in LONG_FIGURES}
    return {**short, "expected_calibration_error": figures["calibration"]["expected_calibration_error"]}
