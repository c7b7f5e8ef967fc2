"""What was found stays mended, and a short run over every target finds nothing."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest

from brainmets.imaging.errors import OverloadedError
from fuzzing.readers import FindingError
from fuzzing.seeds import FINDING
from fuzzing.short_run import fuzz_shortly, list_inputs, peak_bytes, replay
from fuzzing.targets import CORPUS, MAX_ERROR_LENGTH, MAX_SECONDS, TARGETS, Target, execute, find_target

MOST_CORPUS_BYTES = 300_000
# What a decoder may take for a study.
MOST_BYTES = 1024**3
NAMES = [target.name for target in TARGETS]


@pytest.fixture(scope="module")
def fuzzing_process() -> Iterator[ProcessPoolExecutor]:
    """A process of its own, because a native decoder that crashes takes its process with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        yield process


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_read_or_refused(name: str, fuzzing_process: ProcessPoolExecutor) -> None:
    """What once broke a promise does so no more."""
    assert fuzzing_process.submit(replay, name).result() > 0


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_are_read_or_refused(name: str, fuzzing_process: ProcessPoolExecutor) -> None:
    """Whatever comes, the answer is an error of this project's, soon, or what was asked for."""
    assert fuzzing_process.submit(fuzz_shortly, name).result() >= 1000
    assert fuzzing_process.submit(peak_bytes).result() < MOST_BYTES


@pytest.mark.parametrize("name", sorted({*NAMES} - {"segment_study"}))
def test_seeds_are_read(name: str) -> None:
    """A fuzzer that starts from what is refused at once explores little."""
    seeds = [path for path in list_inputs(name) if not path.name.startswith(FINDING)]
    for seed in seeds:
        find_target(name).read(seed.read_bytes())
    assert seeds


def test_seeds_of_studies_come_as_far_as_the_queue() -> None:
    """The last step of a call that uploads and submits."""
    with pytest.raises(OverloadedError):
        find_target("segment_study").read((CORPUS / "segment_study" / "two-files").read_bytes())


def test_the_corpus_is_small() -> None:
    """It is kept in the repository."""
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) <= MOST_CORPUS_BYTES


def breaking(target: Target, fault: Exception) -> Target:
    """Return a target whose reader raises."""

    def read(_: bytes) -> None:
        raise fault

    return replace(target, read=read)


@pytest.mark.parametrize("fault", [ValueError("other"), RecursionError(), MemoryError(), RuntimeWarning("overflow")])
def test_an_error_that_is_not_the_projects_is_a_finding(fault: Exception) -> None:
    """Nobody tells a client what to do about it."""
    with pytest.raises(type(fault)):
        execute(breaking(TARGETS[0], fault), b"")


def test_an_endless_error_is_a_finding() -> None:
    """It would not fit into the metadata of a call."""
    long = OverloadedError("", expected="", got="x" * MAX_ERROR_LENGTH, remedy="", retry_after_s=1.0)
    with pytest.raises(FindingError, match="characters"):
        execute(breaking(TARGETS[0], long), b"")


def test_an_error_that_quotes_the_patient_is_a_finding() -> None:
    """Errors go into logs and to whoever called."""
    quoting = OverloadedError("", expected="", got="Doe^Jane", remedy="", retry_after_s=1.0)
    with pytest.raises(FindingError, match="patient"):
        execute(breaking(TARGETS[0], quoting), b"")


def test_a_slow_input_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor time it takes."""
    ticks = iter((0.0, MAX_SECONDS + 0.1))
    monkeypatch.setattr(time, "process_time", lambda: next(ticks))
    with pytest.raises(FindingError, match="s for"):
        execute(replace(TARGETS[0], read=lambda _: None), b"")
