"""Tests of the table of figures: the document says what the model cards say."""

from pathlib import Path

from brainmets.evaluation.card_table import render_table
from brainmets.training.model_card import CARD_NAME, load_facts

ROOT = Path(__file__).parents[2]


def test_the_document_has_the_figures_of_the_cards() -> None:
    """docs/accuracy.md holds the table that is made from the cards, line by line."""
    cards = {
        name: load_facts(ROOT / "model_repository" / name / CARD_NAME) for name in ("nested_unet", "attention_unet")
    }
    assert render_table(cards) in (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")


def test_intervals_stand_where_there_are_any() -> None:
    """A single study has none, several have one, and empty classes of size are left out."""
    many = {"value": 0.5, "low": 0.25, "high": 0.75}
    one = {"value": 0.5, "low": None, "high": None}
    sizes = {"3-6": {"found": 1, "lesions": 2}, ">=10": {"found": 0, "lesions": 0}}
    figures = {
        "patient_dice": many, "slice_dice": one, "lesionwise_dice": one, "hd95_mm": one,
        "sensitivity_by_diameter_mm": sizes, "false_positives_per_study": many, "largest_false_positive_mm3": 250.0,
        "expected_calibration_error": 0.1,
    }  # fmt: skip
    metric = {"data_set": "a set", "split": "test", "alone": figures, "mean_of_both": figures}
    *_, alone, mean = render_table({"net": {"metrics": [metric]}}).splitlines()
    assert alone == (
        "| a set (test) | net | 0.500 (0.250-0.750) | 0.500 | 0.500 | 0.5 | 3-6: 1/2 | 0.5 (0.2-0.8) | 0.25 | 0.100 |"
    )
    assert mean.startswith("|  | **mean** |")
