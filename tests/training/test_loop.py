"""Tests of the training loop: it can be replayed, goes on after a kill, stops when it is no better, and is shared."""

import csv
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmets.training.checkpoint import Checkpoint, TrainingPlan, load_checkpoint
from brainmets.training.context import SERVED, VOLUME
from brainmets.training.heads import CHANNELS, T1C
from brainmets.training.lesions import draw_lesion_plan, implant_lesion
from brainmets.training.loop import Trainer, find_learning_rate
from brainmets.training.patches import Batch, PatchStream, stream_batches
from brainmets.training.search import BATCH_SIZES, LEARNING_RATES, search_plan
from brainmets.training.studies import TrainingStudy, normalize_head
from brainmets.training.validation import Validation, draw_validation
from brainmets.training.world import World
from phantom_heads import make_head


def make_study(rng: np.random.Generator) -> TrainingStudy:
    """Return the phantom's head with one lesion."""
    head = make_head()
    head.voxels[T1C] *= rng.uniform(0.8, 1.2, size=head.shape)
    implant_lesion(head, draw_lesion_plan(rng, diameter_mm=12.0), centre=(24, 32, 28), rng=rng)
    return normalize_head(head)


def train(folder: Path, *, updates: int) -> Checkpoint:
    """Train so many updates in a folder and return what they leave."""
    plan = TrainingPlan("attention_unet", updates, minutes=math.inf, batch_size=2)
    Trainer(plan, folder=folder, world=World()).train(make_study)
    return load_checkpoint(folder / "checkpoint.pt")


def test_the_rate_rises_once_and_falls_in_each_cycle() -> None:
    """Warm restarts: from the largest rate to zero, as often as the plan says, and zero at the end."""
    plan = TrainingPlan("attention_unet", 1000, minutes=10.0, cycles=2, learning_rate=1.0)
    progress = (0.0, 0.25, 0.499, 0.5, 0.75, 1.0)
    rates = [find_learning_rate(plan, update=500, progress=each) for each in progress]
    assert rates == pytest.approx([1.0, 0.5, 0.0, 1.0, 0.5, 0.0], abs=1e-4)
    assert find_learning_rate(plan, update=9, progress=0.0) == pytest.approx(0.1)


def test_a_training_is_over_when_its_updates_or_its_minutes_are() -> None:
    """The bar shows whichever share is larger, and the rate falls by it."""
    plan = TrainingPlan("attention_unet", 100, minutes=10.0)
    assert plan.share_done(update=50, elapsed_s=60.0) == pytest.approx(0.5)
    assert plan.share_done(update=1, elapsed_s=600.0) == pytest.approx(1.0)


def test_the_plans_channel_dropout_reaches_its_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a dropout of one the network never sees another sequence than the T1c."""
    seen: list[torch.Tensor] = []

    def watch(stream: PatchStream, *, workers: int) -> Iterator[Batch]:
        for batch in stream_batches(stream, workers=0 * workers):
            seen.append(batch.slices)
            yield batch

    monkeypatch.setattr("brainmets.training.loop.stream_batches", watch)
    plan = TrainingPlan("attention_unet", 1, 10.0, batch_size=2, widths=(2, 2, 2, 2, 2), dropped=1.0)
    Trainer(plan, folder=tmp_path, world=World()).train(make_study)
    others = seen[0].unflatten(1, (CHANNELS, -1))[:, 1:]
    assert not others.any()


@pytest.mark.integration
def test_a_volumetric_network_is_trained(tmp_path: Path) -> None:
    """A 3-D plan goes through the same loop, and its checkpoint says what it is."""
    plan = TrainingPlan("nested_unet", 1, minutes=10.0, batch_size=1, context=VOLUME, widths=(2, 2, 2, 2, 2))
    Trainer(plan, folder=tmp_path, world=World()).train(make_study)
    assert load_checkpoint(tmp_path / "checkpoint.pt").plan == plan


def test_a_training_without_validation_goes_on_beyond_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is for what is measured: without validation a later start does not end at once."""
    monkeypatch.setattr("brainmets.training.loop.PATIENCE_UPDATES", 1)
    train(tmp_path, updates=2)
    assert train(tmp_path, updates=3).update == 3


@pytest.fixture(scope="module")
def two_updates(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a training of two updates."""
    return train(tmp_path_factory.mktemp("two"), updates=2)


def test_the_same_seed_trains_the_same_network(two_updates: Checkpoint, tmp_path: Path) -> None:
    """Two trainings of one plan leave the same parameters."""
    again = train(tmp_path, updates=2)
    assert all(torch.equal(again.parameters[name], each) for name, each in two_updates.parameters.items())


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    """A training that finds a checkpoint starts there, with its average and its time."""
    first = train(tmp_path, updates=1)
    second = train(tmp_path, updates=3)
    assert (first.update, second.update) == (1, 3)
    assert second.elapsed_s > first.elapsed_s


def test_training_changes_the_network_and_its_average(two_updates: Checkpoint) -> None:
    """The average follows the parameters and is not the same."""
    averaged, parameters = two_updates.averaged, two_updates.parameters
    assert averaged.keys() == parameters.keys()
    assert any(not torch.equal(averaged[name], each) for name, each in parameters.items())


@pytest.fixture(scope="module")
def validation() -> Validation:
    """Return a little held-out anatomy."""
    return draw_validation(make_study, context=SERVED, batches=1, batch_size=2)


def test_validation_is_told_and_its_best_kept(validation: Validation, tmp_path: Path) -> None:
    """The last update is validated; its loss is in the log, in the checkpoint and the best checkpoint."""
    trainer = Trainer(TrainingPlan("attention_unet", 2, 10.0, batch_size=2), folder=tmp_path, world=World())
    trainer.train(make_study, validation)
    with (tmp_path / "validation.csv").open(newline="") as file:
        ((update, loss),) = csv.reader(file)
    assert (int(update), float(loss)) == (2, pytest.approx(trainer.best_loss, abs=1e-4))
    assert load_checkpoint(tmp_path / "checkpoint-best.pt").best == load_checkpoint(tmp_path / "checkpoint.pt").best
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_training_that_gets_no_better_stops(
    validation: Validation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patience counts updates since the best validation."""
    monkeypatch.setattr("brainmets.training.loop.VALIDATE_EVERY", 1)
    monkeypatch.setattr("brainmets.training.loop.PATIENCE_UPDATES", 2)
    # With a rate of nothing the network stays as it is: the first validation is the best one.
    plan = TrainingPlan("attention_unet", 50, 10.0, batch_size=2, learning_rate=0.0)
    Trainer(plan, folder=tmp_path, world=World()).train(make_study, validation)
    left = load_checkpoint(tmp_path / "checkpoint.pt")
    assert left.update - left.best.update == 2
    assert left.update < 50


def test_validation_loss_is_the_same_each_time(validation: Validation) -> None:
    """Held-out patches are drawn once, and drawn the same again."""
    again = draw_validation(make_study, context=SERVED, batches=1, batch_size=2)
    assert torch.equal(again.batches[0].slices, validation.batches[0].slices)


@pytest.mark.integration
def test_a_search_stays_in_its_space_and_goes_on(validation: Validation, tmp_path: Path) -> None:
    """Two trials, then one more of three; the plan that is returned is one of the space."""
    plan = TrainingPlan("attention_unet", 1, 10.0, seed=3)
    for trials in (1, 2):
        found = search_plan(
            plan, folder=tmp_path, trials=trials, draw_study=make_study, validation=validation, world=World()
        )
    assert sorted(path.name for path in tmp_path.glob("trial-*")) == ["trial-000", "trial-001"]
    assert LEARNING_RATES[0] <= found.learning_rate <= LEARNING_RATES[1]
    assert found.batch_size in BATCH_SIZES
    assert (found.network, found.updates, found.seed) == ("attention_unet", 1, 3)


@pytest.mark.integration
def test_torchrun_trains_one_network_in_two_processes(tmp_path: Path) -> None:
    """Two processes with other patches leave one checkpoint, and the first alone writes."""
    script = Path(__file__).with_name("two_processes.py")
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), tmp_path],
        check=True,
        capture_output=True,
        timeout=240,
    )
    assert load_checkpoint(tmp_path / "checkpoint.pt").update == 2
    sums = [float((tmp_path / f"parameters-{rank}.txt").read_text()) for rank in range(2)]
    losses = [float((tmp_path / f"slices-{rank}.txt").read_text()) for rank in range(2)]
    assert sums[0] == sums[1]
    assert losses[0] != losses[1]


def read_log(folder: Path) -> list[tuple[int, float, float]]:
    """Return update, learning rate and loss of every line of a training's log."""
    with (folder / "training.csv").open(newline="") as file:
        return [(int(update), float(rate), float(loss)) for update, _, rate, loss in csv.reader(file)]


@pytest.mark.integration
def test_the_same_seed_has_the_same_loss_for_twenty_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine a training can be followed again, loss by loss."""
    monkeypatch.setattr("brainmets.training.training_log.LOG_EVERY", 1)
    for folder in (tmp_path / "one", tmp_path / "other"):
        train(folder, updates=20)
    assert len(read_log(tmp_path / "one")) == 20
    assert read_log(tmp_path / "one") == read_log(tmp_path / "other")


@pytest.mark.integration
def test_a_training_killed_with_kill_9_keeps_its_schedule(tmp_path: Path) -> None:
    """Started again it goes on from its last checkpoint, with the learning rates that it would have had."""
    script = Path(__file__).with_name("killed_training.py")
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as training:
        deadline_s = time.monotonic() + 120.0
        while not (tmp_path / "checkpoint.pt").exists():
            assert training.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        training.kill()
    killed_at = load_checkpoint(tmp_path / "checkpoint.pt").update
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    assert load_checkpoint(tmp_path / "checkpoint.pt").update == 12
    resumed = {update: rate for update, rate, _ in read_log(tmp_path)}
    assert sorted(resumed) == list(range(1, 13))
    assert 0 < killed_at < 12
    # Rising over the first hundred updates, falling over the plan's twelve.
    expected = [1.5e-3 * (n + 1) / 100 * 0.5 * (1 + math.cos(math.pi * n / 12)) for n in range(1, 13)]
    assert [resumed[n] for n in range(1, 13)] == pytest.approx(expected, rel=1e-3, abs=1e-9)
