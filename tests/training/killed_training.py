"""What a test starts, kills with kill -9 and starts again: a training of twelve updates, saved after every second."""

import math
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "training"), str(TESTS.parent / "services")]

from test_loop import make_study  # noqa: E402 -- found by the paths above

from brainmets.training import loop, training_log  # noqa: E402
from brainmets.training.checkpoint import TrainingPlan  # noqa: E402
from brainmets.training.world import World  # noqa: E402

loop.SAVE_EVERY = 2
training_log.LOG_EVERY = 1
plan = TrainingPlan("attention_unet", 12, minutes=math.inf, batch_size=2)
loop.Trainer(plan, folder=Path(sys.argv[1]), world=World()).train(make_study)
