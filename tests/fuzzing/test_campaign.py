"""A run's figures are those that libFuzzer prints, over all processes that it took."""

import pytest

from fuzzing.campaign import Outcome

LINES = (
    "INFO: Running with entropic power schedule (0xFF, 100).",
    "#78\tINITED cov: 74 ft: 86 corp: 21/8278b exec/s: 0 rss: 281Mb",
    "#3454\tNEW    cov: 74 ft: 89 corp: 22/8781b lim: 2048 exec/s: 0 rss: 282Mb L: 504/546 MS: 8 Custom-",
    "#32768\tpulse  cov: 75 ft: 90 corp: 23/8373b lim: 2048 exec/s: 16384 rss: 285Mb",
    "stat::number_of_executed_units: 40000",
)


@pytest.fixture
def outcome() -> Outcome:
    """What the lines say."""
    read = Outcome("any")
    for line in LINES:
        read.note(line, runs_before=0)
    return read


def test_figures_are_the_last_ones(outcome: Outcome) -> None:
    """Coverage only grows; the inputs are those of the end."""
    assert (outcome.runs, outcome.coverage, outcome.features, outcome.corpus) == (40_000, 75, 90, 23)


def test_growth_is_that_of_the_second_half(outcome: Outcome) -> None:
    """What a process takes to warm up is no leak."""
    assert (outcome.peak_mib, outcome.growth_mib) == (285, 3)


def test_a_second_process_goes_on_counting(outcome: Outcome) -> None:
    """After a finding the fuzzer begins again at 0."""
    outcome.note("stat::number_of_executed_units: 500", runs_before=outcome.runs)
    assert outcome.runs == 40_500
