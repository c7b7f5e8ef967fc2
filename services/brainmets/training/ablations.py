"""Owns the ablations: short trainings that differ in one thing, to say what that is worth."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmets.training.backgrounds import Background
from brainmets.training.checkpoint import TrainingPlan, load_checkpoint, load_network
from brainmets.training.context import VOLUME, Context
from brainmets.training.decisions import UNDECIDED
from brainmets.training.export import export_checkpoint
from brainmets.training.loop import Trainer
from brainmets.training.shelf import StudyShelf, fill_shelf
from brainmets.training.slice_split import SLICE_SPLIT_NAME, hide_kept_slices, score_kept_slices
from brainmets.training.studies import EVERYTHING, StudyRules, TrainingStudy
from brainmets.training.world import World

# Equal steps: less than ten minutes of one core for most of them.
UPDATES = 600
# All trainings of a kind see the same studies, drawn once.
STUDIES = 32
STUDY_SEED = 50
FACTS = {"statement": "A short training of an ablation. It must not be served."}


@dataclass(frozen=True, slots=True)
class Ablation:
    """One or more short trainings on the same studies.

    Attributes:
        name: Its folder.
        plans: What is trained.
        rules: What is drawn into heads.
        whole_heads: Whether real heads with a skull are among them.
        tumour: Whether the real tumour of a labelled study is.
        slice_split: Whether slices of the same studies are kept, and asked afterwards.
    """

    name: str
    plans: tuple[TrainingPlan, ...]
    rules: StudyRules = EVERYTHING
    whole_heads: bool = True
    tumour: bool = False
    slice_split: bool = False

    @property
    def shelf(self) -> str:
        """The name of the studies that it is trained on."""
        left_out = [
            *(() if self.rules.mimics else ("no-mimics",)),
            *(() if self.rules.skulls else ("no-skulls",)),
            *(() if self.whole_heads else ("no-whole-heads",)),
            *(("tumour",) if self.tumour else ()),
        ]
        return "-".join(left_out) or "everything"


_BASE = TrainingPlan("attention_unet", UPDATES, minutes=math.inf)

ABLATIONS = (
    Ablation("both-networks", (_BASE, replace(_BASE, network="nested_unet"))),
    # What differs by nothing but chance says which other differences mean something.
    Ablation("another-seed", (replace(_BASE, seed=_BASE.seed + 1),)),
    Ablation("no-hard-negatives", (_BASE,), rules=StudyRules(mimics=False)),
    Ablation("no-channel-dropout", (replace(_BASE, dropped=0.0),)),
    Ablation("no-skulls", (_BASE,), rules=StudyRules(skulls=False), whole_heads=False),
    Ablation("real-tumour", (_BASE,), tumour=True),
    Ablation("1-slice", (replace(_BASE, context=Context((0,))),)),
    Ablation("3-slices", (replace(_BASE, context=Context((-1, 0, 1))),)),
    Ablation("half-width", (replace(_BASE, widths=(8, 16, 32, 64, 128)),)),
    Ablation("twice-width", (replace(_BASE, widths=(32, 64, 128, 256, 512)),)),
    Ablation("random-slices", (_BASE,), slice_split=True),
    # As many slices as the others: a volume of 16 an update where they see 8.
    Ablation("3-d", (replace(_BASE, context=VOLUME, batch_size=1, updates=UPDATES // 2),)),
)


def train_ablation(
    ablation: Ablation,
    backgrounds: Iterable[Background],
    tumour: Background | None,
    *,
    out: Path,
    real_tiles: tuple[NDArray[np.float32], ...],
) -> None:
    """Train an ablation's networks and export them into a folder of its name; what is done already stays.

    Args:
        ablation: What is trained.
        backgrounds: All training heads.
        tumour: The labelled study, with its lesions; asked for by an ablation with a tumour alone.
        out: Where the folders lie, and the studies that they share.
        real_tiles: Tiles (B, C, D + 2h, H, W) of a head, for the export's parity gate.
    """
    heads = [background for background in backgrounds if ablation.whole_heads or background.stripped]
    shelf = StudyShelf(out / "studies" / ablation.shelf, size=STUDIES)
    if ablation.tumour:
        assert tumour is not None  # noqa: S101 -- without it, it would be trained like the others and tell nothing
        heads.append(tumour)
    _fill(shelf, tuple(heads), ablation.rules)
    draw_study = _HidingShelf(shelf).take if ablation.slice_split else shelf.take
    for plan in ablation.plans:
        folder = out / ablation.name / plan.network
        Trainer(plan, folder=folder, world=World()).train(draw_study)
        checkpoint = load_checkpoint(folder / "checkpoint.pt")
        export_checkpoint(checkpoint, out / ablation.name, decision=UNDECIDED, real_tiles=real_tiles, facts=FACTS)
        if ablation.slice_split:
            scores = score_kept_slices(load_network(checkpoint), plan.context, shelf.all())
            stated = {"slices": len(scores), "slice_dice": round(sum(scores) / len(scores), 4)}
            (out / ablation.name / SLICE_SPLIT_NAME).write_text(json.dumps(stated) + "\n")


@dataclass(frozen=True, slots=True)
class _HidingShelf:
    """A shelf of which nothing is learned from the slices that are kept."""

    shelf: StudyShelf

    def take(self, rng: np.random.Generator) -> TrainingStudy:
        return hide_kept_slices(self.shelf.take(rng))


def _fill(shelf: StudyShelf, backgrounds: tuple[Background, ...], rules: StudyRules) -> None:
    drawn: Iterator[int] = fill_shelf(shelf, backgrounds, seed=STUDY_SEED, rules=rules)
    while len(shelf) < STUDIES:
        next(drawn)
