"""Owns how a client wants its study prepared."""

from dataclasses import dataclass

from brainmets.imaging.series import SeriesSelection


@dataclass(frozen=True, slots=True)
class PreparationChoices:
    """How a client wants its study prepared.

    Attributes:
        force: Whether a severe finding is reported only, instead of refusing the study.
        selections: Series chosen by hand, at most one for each sequence, in order of sequence.
    """

    force: bool = False
    selections: tuple[SeriesSelection, ...] = ()
