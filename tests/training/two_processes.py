"""What torchrun starts twice in a test: both train one network, and say what they have."""

import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training"), str(TESTS.parent / "services")]

from test_loop import make_study  # noqa: E402

from brainmets.training.checkpoint import TrainingPlan  # noqa: E402 -- found by the paths above
from brainmets.training.loop import Trainer  # noqa: E402
from brainmets.training.studies import TrainingStudy  # noqa: E402
from brainmets.training.world import join_world  # noqa: E402

folder = Path(sys.argv[1])
with join_world() as world:
    place = folder / f"slices-{world.rank}.txt"

    def draw_study(rng: np.random.Generator) -> TrainingStudy:
        """Note what this process sees."""
        study = make_study(rng)
        place.write_text(str(float(study.voxels.astype(np.float64).sum())))
        return study

    trainer = Trainer(TrainingPlan("attention_unet", 2, 10.0, batch_size=2), folder=folder, world=world)
    trainer.train(draw_study)
    parameters = sum(float(each.detach().double().sum()) for each in trainer.network.parameters())
    (folder / f"parameters-{world.rank}.txt").write_text(repr(parameters))
