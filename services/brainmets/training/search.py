"""Owns the search for hyper-parameters over a declared space; a search that was stopped goes on where it was."""

from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState

from brainmets.training.checkpoint import TrainingPlan
from brainmets.training.loop import Trainer
from brainmets.training.patches import StudySource
from brainmets.training.validation import Validation
from brainmets.training.world import World

# The space: what is tried, and between which bounds.
LEARNING_RATES = (3e-4, 4e-3)
WEIGHT_DECAYS = (1e-6, 1e-2)
BATCH_SIZES = (4, 8, 16)


def search_plan(
    plan: TrainingPlan, *, folder: Path, trials: int, draw_study: StudySource, validation: Validation, world: World
) -> TrainingPlan:
    """Return the plan whose short training had the least validation loss, of so many trials in all.

    Args:
        plan: Network, updates, minutes and seed of each trial.
        folder: Keeps each trial's training, and `search.db` of all.
        trials: How many, those of an earlier run of the same search among them.
        draw_study: The training's studies.
        validation: Held-out anatomy.
        world: Where it runs; one process.

    References:
        Akiba et al. 2019, Optuna, KDD, arXiv:1907.10902 (TPE: Bergstra et al. 2011).
    """
    folder.mkdir(parents=True, exist_ok=True)
    search = optuna.create_study(
        study_name=plan.network,
        storage=f"sqlite:///{folder / 'search.db'}",
        sampler=optuna.samplers.TPESampler(seed=plan.seed),
        direction="minimize",
        load_if_exists=True,
    )

    def run(trial: Trial) -> float:
        trainer = Trainer(_draw_plan(plan, trial), folder=folder / f"trial-{trial.number:03d}", world=world)
        trainer.train(draw_study, validation)
        return trainer.best_loss

    done = len(search.get_trials(states=(TrialState.COMPLETE,)))
    search.optimize(run, n_trials=max(0, trials - done), show_progress_bar=False)
    return replace(plan, **search.best_params)


def _draw_plan(plan: TrainingPlan, trial: Trial) -> TrainingPlan:
    return replace(
        plan,
        learning_rate=trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
        weight_decay=trial.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
        batch_size=trial.suggest_categorical("batch_size", BATCH_SIZES),
    )
