"""Whatever decides a result has a key of its own."""

import pytest

from brainmets.gateway.jobs import DEFAULT_TENANT, Job, JobState, Progress, digest_study
from brainmets.gateway.model_contract import DecisionOptions, SegmentationPlan, plan_segmentation
from brainmets.gateway.preparation_choices import PreparationChoices
from brainmets.gateway.result_cache import cache_key
from brainmets.imaging.media_type import MediaType
from brainmets.imaging.operating_point import OperatingPointName
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesSelection
from brainmets.wire.stored_file import StoredFile
from fakes import PARAMETERS, make_contract

T1C_5, T1C_6 = SeriesSelection(Sequence.T1C, 5), SeriesSelection(Sequence.T1C, 6)


def job_of(*file_indices: int) -> Job:
    """Return a job whose files have these numbers, and the same bytes whatever these are."""
    files = tuple(
        StoredFile(index, MediaType.NIFTI, Sequence.T1C, (f"uploads/u/{index}/0-a",), b"a" * 32, 10)
        for index in file_indices
    )
    return Job(
        tenant=DEFAULT_TENANT,
        job_id="ab" * 16,
        upload_id="cd" * 16,
        revision=1,
        state=JobState.RUNNING,
        progress=Progress(),
        attempt=1,
        create_time_ms=0,
        update_time_ms=0,
        expire_time_ms=0,
        options=b"",
        input_sha256=digest_study(files),
        files=files,
    )


def plan_of(options: DecisionOptions | None = None, **changes: str) -> SegmentationPlan:
    """Return what one network decides, with parameters of its model that are changed."""
    return plan_segmentation(options or DecisionOptions(), (make_contract(**changes),))


def key_of(
    *file_indices: int,
    plan: SegmentationPlan | None = None,
    choices: PreparationChoices | None = None,
    build: str = "a",
) -> str:
    """Return the key of a study, decided as usual but for what is given."""
    return cache_key(job_of(*file_indices), plan or plan_of(), choices=choices or PreparationChoices(), build=build)


def test_the_same_is_the_same() -> None:
    """Else nothing would ever come from the cache."""
    assert key_of(0) == key_of(0)


def test_each_choice_is_a_result_of_its_own() -> None:
    """A forced study must not answer for one that would be refused, nor one series for another."""
    wishes = ((False, ()), (True, ()), (False, (T1C_5,)), (False, (T1C_6,)))
    assert len({key_of(0, choices=PreparationChoices(*wish)) for wish in wishes}) == len(wishes)


def test_a_named_point_and_the_same_figures_by_hand_are_two_results() -> None:
    """They find the same lesions, but a result also says by which name it was decided."""
    named = plan_of(DecisionOptions(operating_point=OperatingPointName.SENSITIVE))
    by_hand = plan_of(DecisionOptions(threshold=0.2, min_lesion_volume_mm3=5.0))
    assert named.point == by_hand.point
    peaked = plan_of(DecisionOptions(threshold=0.2, min_peak_probability=0.9))
    doubtful = plan_of(DecisionOptions(threshold=0.2, min_peak_probability=0.8))
    plans = (named, by_hand, peaked, doubtful)
    assert len({key_of(0, plan=plan) for plan in plans}) == len(plans)


def test_a_result_is_of_the_clients_own_file_numbers() -> None:
    """It names files by them, so that another numbering of the same bytes is not answered with it."""
    assert len({job_of(*numbers).input_sha256 for numbers in ((0, 1), (0, 7), (1, 0))}) == 1
    assert key_of(0, 1) != key_of(0, 7)
    assert key_of(0, 1) == key_of(1, 0)


def test_another_build_decides_anew() -> None:
    """Code is mended without another version, too."""
    assert key_of(0, build="a") != key_of(0, build="b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sequences", "t1n,t1c,t2w,t2f"),
        ("spacing_mm", "0.7"),
        ("tile_depth", "16"),
        ("tile_halo", "0"),
        ("tile_stride", "32"),
        ("tile_max_size", "128"),
        ("tile_overlap", "0.25"),
        ("target", "whole lesion"),
        ("onnx_sha256", "cd" * 32),
        ("int8_sha256", "cd" * 32),
    ],
)
def test_another_model_decides_anew(name: str, text: str) -> None:
    """Not by its digest alone: how it wants its tiles decides, what its mask means, and what was rounded from it."""
    assert PARAMETERS.get(name) != text
    assert key_of(0, plan=plan_of(**{name: text})) != key_of(0)
