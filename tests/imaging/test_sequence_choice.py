"""The choice of sequences says what becomes of each series, and never takes what says that it is no T1c."""

import itertools
import random
from dataclasses import fields, replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmets.imaging.errors import (
    InvalidArgumentError,
    MissingT1cError,
    PreContrastError,
    StudyError,
    UnusableSeriesError,
)
from brainmets.imaging.findings import FindingCode, Severity
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.sequence_choice import SequenceChoice, choose_sequences
from brainmets.imaging.series import SeriesAttributes, SeriesReason, SeriesSelection
from series_cases import flair, mprage, series, slice_grid, turbo_spin_echo, volume_grid

EXAMINATION = (
    series(1, description="localizer", geometry=slice_grid(3, 10.0)),
    flair(2),
    series(3, description="ep2d_diff", image_type=("ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW")),
    series(4, description="ep2d_diff", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC")),
    mprage(5, description="t1_mprage nativ", contrast_agent=True),
    turbo_spin_echo(6),
    mprage(7, description="t1_mprage KM", contrast_agent=True),
    mprage(8, description="t1_mprage KM mpr", image_type=("DERIVED", "SECONDARY", "MPR"), geometry=slice_grid(60, 3.0)),
    mprage(9, description="t1_mprage KM SUB", image_type=("DERIVED", "PRIMARY", "M", "SUB")),
    turbo_spin_echo(10, description="t1_tse KM", echo_time_ms=10.0, repetition_time_ms=500.0),
)


def reasons(choice: SequenceChoice) -> list[SeriesReason]:
    """Return the reason of each series."""
    return [use.reason for use in choice.uses]


def codes(choice: SequenceChoice) -> list[FindingCode]:
    """Return the codes of all findings."""
    return [finding.code for finding in choice.findings]


def nifti(stated: Sequence | None = None, *, file_index: int = 0) -> SeriesAttributes:
    """Return a NIfTI file, which says nothing but what is stated of it."""
    return SeriesAttributes(file_index=file_index, geometry=volume_grid(), stated=stated)


def test_who_says_what_a_series_is_is_told() -> None:
    """The request, by a file or a SeriesNumber, or what the series holds, though it be the only one."""
    files = (nifti(Sequence.T1C), nifti(Sequence.T2F, file_index=1))
    assert [use.stated for use in choose_sequences(files).uses] == [True, True]
    assert [use.stated for use in choose_sequences((nifti(),)).uses] == [False]
    selected = choose_sequences(EXAMINATION, selections=(SeriesSelection(Sequence.T1C, 10),))
    assert [use.series_number for use in selected.uses if use.stated] == [10]


def test_a_whole_examination_is_sorted() -> None:
    """Each series of an ordinary examination gets the reason that a radiographer would give."""
    choice = choose_sequences(EXAMINATION)
    assert choice.by_sequence == {Sequence.T1C: 6, Sequence.T1N: 4, Sequence.T2W: 5, Sequence.T2F: 1}
    assert reasons(choice) == [
        SeriesReason.LOCALIZER,
        SeriesReason.CHOSEN,
        SeriesReason.OTHER_CONTRAST,
        SeriesReason.OTHER_CONTRAST,
        SeriesReason.CHOSEN,
        SeriesReason.CHOSEN,
        SeriesReason.CHOSEN,
        SeriesReason.DERIVED,
        SeriesReason.SUBTRACTION,
        SeriesReason.ANOTHER_PREFERRED,
    ]
    assert choice.findings == ()


def test_each_use_names_its_series_and_grid() -> None:
    """A use stands for its series, in their order, with a sentence."""
    choice = choose_sequences(EXAMINATION)
    assert [use.series_index for use in choice.uses] == list(range(len(EXAMINATION)))
    assert [use.series_number for use in choice.uses] == list(range(1, len(EXAMINATION) + 1))
    assert choice.uses[5].shape == (25, 320, 320)
    assert all(use.message.endswith(".") and use.used == (use.reason is SeriesReason.CHOSEN) for use in choice.uses)


def test_the_order_of_the_series_does_not_matter() -> None:
    """Files come in any order, and the same series are chosen."""
    shuffler = random.Random(0)  # noqa: S311 -- an order, not a secret
    for _ in range(50):
        shuffled = tuple(shuffler.sample(EXAMINATION, len(EXAMINATION)))
        choice = choose_sequences(shuffled)
        numbers = {sequence: shuffled[index].series_number for sequence, index in choice.by_sequence.items()}
        assert numbers == {Sequence.T1C: 7, Sequence.T1N: 5, Sequence.T2W: 6, Sequence.T2F: 2}


geometries = st.sampled_from([None, volume_grid(), slice_grid(), slice_grid(3, 10.0)])


@given(st.lists(geometries, min_size=1, max_size=5))
def test_an_absent_tag_is_never_evidence(grids: list) -> None:
    """A study that says nothing of itself is never refused as acquired before contrast medium."""
    untold = tuple(series(geometry=grid, fault="" if grid else "3 slices missing") for grid in grids)
    try:
        choice = choose_sequences(untold)
    except StudyError as error:
        assert not isinstance(error, PreContrastError)  # noqa: PT017 -- other errors are right
    else:
        assert FindingCode.CONTRAST_NOT_ESTABLISHED in codes(choice)


@given(st.sets(st.sampled_from([field.name for field in fields(SeriesAttributes)][3:])))
def test_a_tag_that_is_taken_away_never_makes_a_t1_pre_contrast(absent: set[str]) -> None:
    """Whatever an anonymiser removes of a T1c, it is the T1c or not recognised."""
    defaults = {field.name: field.default for field in fields(SeriesAttributes)}
    t1c = mprage(7, description="t1_mprage KM", contrast_agent=True, acquired_on=date(2020, 1, 1), body_part="HEAD")
    told_less = replace(t1c, **{name: defaults[name] for name in absent})
    assert choose_sequences((told_less,)).by_sequence == {Sequence.T1C: 0}


def test_a_t1_that_nobody_labelled_runs_with_a_warning() -> None:
    """The contrast that cannot be established is said, and does not refuse."""
    choice = choose_sequences((mprage(2), turbo_spin_echo(3)))
    (finding,) = choice.findings
    assert choice.by_sequence[Sequence.T1C] == 0
    assert (finding.code, finding.severity) == (FindingCode.CONTRAST_NOT_ESTABLISHED, Severity.WARNING)


@pytest.mark.parametrize(
    "before",
    [mprage(2, description="t1_mprage nativ"), mprage(2, contrast_agent=False), series(2, description="T1 pre")],
)
def test_a_t1_that_says_that_there_was_no_contrast_medium_is_refused(before: SeriesAttributes) -> None:
    """It is the only T1, and it is none after contrast medium."""
    with pytest.raises(PreContrastError):
        choose_sequences((before, flair(3)))


def test_stating_it_does_not_make_a_pre_contrast_series_a_t1c() -> None:
    """What a series says of itself is believed before what is stated of it."""
    with pytest.raises(PreContrastError):
        choose_sequences((mprage(2, description="t1 nativ", stated=Sequence.T1C, file_index=4),))
    with pytest.raises(PreContrastError, match="file 4"):
        choose_sequences(
            (mprage(2, description="t1 nativ", file_index=4), mprage(3, description="t1 KM")),
            selections=(SeriesSelection(Sequence.T1C, 2),),
        )


def test_a_statement_establishes_contrast() -> None:
    """Who says that a series is the T1c has said that contrast medium was given."""
    assert choose_sequences((mprage(2, stated=Sequence.T1C),)).findings == ()


def test_a_study_without_t1_says_what_there_is() -> None:
    """The error counts kinds, and quotes no description."""
    with pytest.raises(MissingT1cError, match=r"1 localizer, 1 t2f, 2 t2w") as caught:
        choose_sequences((EXAMINATION[0], turbo_spin_echo(1), turbo_spin_echo(2), flair(3)))
    assert "tse" not in str(caught.value)


def test_a_ct_is_no_t1c_whatever_is_stated() -> None:
    """No request makes a CT an MR image."""
    with pytest.raises(MissingT1cError, match="1 not mr"):
        choose_sequences((series(1, modality="CT", stated=Sequence.T1C),))


def test_the_earlier_of_two_t1_of_one_protocol_is_the_t1n() -> None:
    """When an agent is told of the later alone, the earlier is the series before it."""
    choice = choose_sequences((mprage(4), mprage(9, contrast_agent=True)))
    assert choice.by_sequence == {Sequence.T1C: 1, Sequence.T1N: 0}
    assert choice.findings == ()


@pytest.mark.parametrize(
    "other",
    [mprage(12), mprage(4, echo_time_ms=3.5), mprage(None)],
    ids=["later", "another protocol", "nobody says when"],
)
def test_another_t1_without_a_label_is_no_t1n(other: SeriesAttributes) -> None:
    """It may have been acquired after contrast medium, too."""
    choice = choose_sequences((other, mprage(9, contrast_agent=True)))
    assert choice.by_sequence == {Sequence.T1C: 1}
    assert reasons(choice)[0] is SeriesReason.ANOTHER_PREFERRED


@pytest.mark.parametrize(
    ("agent", "words"), [(True, "contrast medium speaks for another"), (None, "covers more, is finer")]
)
def test_a_series_that_is_left_hears_what_decided(words: str, *, agent: bool | None) -> None:
    """Contrast medium before slices: to a finer series it is not said that another one is finer."""
    coarser = slice_grid(25, 6.0) if agent else slice_grid(3, 10.0)
    choice = choose_sequences((mprage(12), mprage(9, contrast_agent=agent, geometry=coarser)))
    (left,) = (use for use in choice.uses if not use.used)
    assert left.series_index == (0 if agent else 1)
    assert words in left.message


def test_a_selection_wins_over_everything() -> None:
    """Chosen by its number, a thick derived series is the T1c, and what it is is said."""
    choice = choose_sequences(EXAMINATION, selections=(SeriesSelection(Sequence.T1C, 8),))
    assert choice.by_sequence[Sequence.T1C] == 7
    assert reasons(choice)[6] is SeriesReason.ANOTHER_STATED
    assert codes(choice) == [FindingCode.DERIVED_SERIES]


def test_a_statement_wins_over_what_attributes_say() -> None:
    """A file that is stated to be the T2w is it, and no other."""
    stated = replace(EXAMINATION[9], stated=Sequence.T2W)
    choice = choose_sequences((*EXAMINATION[:9], stated))
    assert choice.by_sequence[Sequence.T2W] == 9
    assert reasons(choice)[5] is SeriesReason.ANOTHER_STATED


def test_of_a_stated_folder_the_right_series_is_taken() -> None:
    """A whole examination that is sent as the T1c holds one T1c."""
    choice = choose_sequences(tuple(replace(one, stated=Sequence.T1C) for one in EXAMINATION))
    assert choice.by_sequence == {Sequence.T1C: 6}
    assert reasons(choice)[4] is SeriesReason.PRE_CONTRAST
    assert reasons(choice)[0] is SeriesReason.LOCALIZER


def test_of_a_stated_folder_the_right_weighting_is_taken() -> None:
    """A fine T2w in it is no T1c, and a series before contrast medium does not stand in for a broken one after it."""
    thick, fine = mprage(3, geometry=slice_grid()), turbo_spin_echo(9, geometry=volume_grid())
    folder = tuple(replace(one, stated=Sequence.T1C) for one in (fine, thick))
    assert choose_sequences(folder).by_sequence == {Sequence.T1C: 1}
    broken = mprage(5, description="t1 KM", geometry=None, fault="uneven")
    with pytest.raises(UnusableSeriesError):
        choose_sequences(tuple(replace(one, stated=Sequence.T1C) for one in (EXAMINATION[4], broken)))


def test_a_stated_t1n_is_no_reason_to_speak_of_the_t1c() -> None:
    """Who states the series before contrast medium as what it is has only forgotten the other."""
    with pytest.raises(MissingT1cError, match="1 t1n"):
        choose_sequences((replace(EXAMINATION[4], stated=Sequence.T1N),))


def test_what_no_attribute_would_choose_can_be_selected() -> None:
    """The person who selects a series has seen it."""
    choice = choose_sequences(EXAMINATION, selections=(SeriesSelection(Sequence.T2W, 3),))
    assert choice.by_sequence[Sequence.T2W] == 2


@pytest.mark.parametrize(
    "selections",
    [
        (SeriesSelection(Sequence.T1C, 77),),
        (SeriesSelection(Sequence.T1C, 7), SeriesSelection(Sequence.T1N, 7)),
        (SeriesSelection(Sequence.T1C, 7), SeriesSelection(Sequence.T1C, 10)),
    ],
    ids=["no series", "two sequences", "two series"],
)
def test_an_unclear_selection_is_refused(selections: tuple[SeriesSelection, ...]) -> None:
    """The caller can mend it."""
    with pytest.raises(InvalidArgumentError):
        choose_sequences(EXAMINATION, selections=selections)


def test_a_number_that_several_series_have_selects_none() -> None:
    """But a phase image beside its magnitude leaves no doubt."""
    phase = mprage(7, image_type=("ORIGINAL", "PRIMARY", "P"))
    selections = (SeriesSelection(Sequence.T1C, 7),)
    assert choose_sequences((phase, mprage(7)), selections=selections).by_sequence == {Sequence.T1C: 1}
    with pytest.raises(InvalidArgumentError, match="2 series"):
        choose_sequences((mprage(7), mprage(7)), selections=selections)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (mprage(3, contrast_agent=True), mprage(9)),
        (mprage(3, contrast_agent=True, geometry=slice_grid()), mprage(9)),
        (mprage(3), mprage(9, image_type=("DERIVED", "SECONDARY", "MPR"))),
        (mprage(3), mprage(9, geometry=slice_grid(40))),
        (mprage(3, geometry=slice_grid()), mprage(9, geometry=volume_grid((60, 256, 256)))),
        (mprage(3), mprage(9, geometry=volume_grid((160, 200, 200)))),
        (mprage(9), mprage(3)),
        (mprage(3, phase=2, file_index=7), mprage(3, phase=1)),
        (mprage(3), mprage(2, geometry=None, fault="2 slices missing", contrast_agent=True)),
    ],
    ids=[
        "contrast",
        "contrast before slices",
        "original",
        "thin",
        "covering",
        "larger",
        "later",
        "later phase",
        "usable",
    ],
)
def test_the_better_candidate_wins(better: SeriesAttributes, worse: SeriesAttributes) -> None:
    """In the documented order, whichever comes first."""
    assert choose_sequences((better, worse)).by_sequence[Sequence.T1C] == 0
    assert choose_sequences((worse, better)).by_sequence[Sequence.T1C] == 1


def test_a_derived_t1c_is_used_when_there_is_no_other() -> None:
    """And said."""
    choice = choose_sequences((mprage(3, image_type=("DERIVED", "SECONDARY", "MPR"), contrast_agent=True), flair(4)))
    assert codes(choice) == [FindingCode.DERIVED_SERIES]


def test_a_t1c_without_volume_is_refused_with_its_fault() -> None:
    """Nothing is made up for missing slices."""
    broken = mprage(3, geometry=None, fault="2 slices missing", file_index=5)
    with pytest.raises(UnusableSeriesError, match="2 slices missing") as caught:
        choose_sequences((broken, flair(4)))
    assert caught.value.file_index == 5


def test_the_series_before_a_t1c_without_volume_does_not_stand_in_for_it() -> None:
    """Twins of one protocol: the earlier was acquired before contrast medium, so the broken one is the only T1c."""
    with pytest.raises(UnusableSeriesError):
        choose_sequences((mprage(3), mprage(9, geometry=None, fault="2 slices missing", contrast_agent=True)))


def test_an_optional_sequence_without_volume_is_left_out() -> None:
    """The study goes on without it."""
    choice = choose_sequences((mprage(3, contrast_agent=True), flair(4, geometry=None, fault="uneven")))
    assert choice.by_sequence == {Sequence.T1C: 0}
    assert reasons(choice)[1] is SeriesReason.UNUSABLE_GEOMETRY
    assert "uneven" in choice.uses[1].message
    assert [(finding.code, finding.sequence) for finding in choice.findings] == [
        (FindingCode.SEQUENCE_DROPPED, Sequence.T2F)
    ]


def test_sequences_that_the_networks_do_not_know_are_left_out() -> None:
    """Each is said once."""
    choice = choose_sequences(EXAMINATION, known=(Sequence.T1C, Sequence.T2F))
    assert choice.by_sequence == {Sequence.T1C: 6, Sequence.T2F: 1}
    assert reasons(choice)[5] is SeriesReason.UNUSED_SEQUENCE
    assert [finding.sequence for finding in choice.findings] == [Sequence.T1N, Sequence.T2W]


def test_channels_are_in_the_order_of_the_networks() -> None:
    """Whatever the order in which series were acquired."""
    known = (Sequence.T2F, Sequence.T1C)
    assert tuple(choose_sequences(EXAMINATION, known=known).by_sequence) == known


def test_a_lone_file_is_the_t1c() -> None:
    """It can only be the sequence that every study needs; its contrast is not established."""
    choice = choose_sequences((nifti(),))
    assert choice.by_sequence == {Sequence.T1C: 0}
    assert codes(choice) == [FindingCode.CONTRAST_NOT_ESTABLISHED]


def test_several_files_have_to_be_stated() -> None:
    """NIfTI says nothing of itself."""
    with pytest.raises(InvalidArgumentError, match="file 1"):
        choose_sequences((nifti(Sequence.T1C), nifti(file_index=1)))


def test_two_files_of_one_sequence_are_refused() -> None:
    """Which of them is meant cannot be told."""
    with pytest.raises(InvalidArgumentError):
        choose_sequences((nifti(Sequence.T1C), nifti(Sequence.T1C, file_index=1)))


def test_stated_files_are_what_is_stated() -> None:
    """All four sequences, in the order of the channels."""
    choice = choose_sequences(tuple(nifti(sequence, file_index=index) for index, sequence in enumerate(Sequence)))
    assert choice.by_sequence == {sequence: index for index, sequence in enumerate(Sequence)}
    assert choice.findings == ()


@pytest.mark.parametrize(
    ("days", "severities"), [(0, []), (1, [Severity.WARNING]), (14, [Severity.WARNING]), (15, [Severity.SEVERE])]
)
def test_sequences_of_different_days_are_said(days: int, severities: list[Severity]) -> None:
    """A day or two is a warning; what is older than two weeks shows another state of the disease."""
    day = date(2024, 2, 20)
    choice = choose_sequences(
        (
            mprage(1, contrast_agent=True, acquired_on=day),
            flair(2, acquired_on=day - timedelta(days)),
            turbo_spin_echo(3),
        )
    )
    assert [finding.severity for finding in choice.findings] == severities
    assert all(finding.code is FindingCode.DIFFERENT_DAYS for finding in choice.findings)


@pytest.mark.parametrize(("uneven_mm", "said"), [(0.0, False), (0.2, True)])
def test_uneven_slices_are_said(uneven_mm: float, *, said: bool) -> None:
    """By how much, where that is more than rounding."""
    choice = choose_sequences((mprage(1, contrast_agent=True, uneven_mm=uneven_mm),))
    assert (FindingCode.UNEVEN_SLICES in codes(choice)) is said


@pytest.mark.parametrize(("apart_mm", "said"), [(0.0, False), (1.0, False), (7.25, True)])
def test_a_file_of_two_places_is_said(apart_mm: float, *, said: bool) -> None:
    """By how much, of each sequence, where that is more than rounding; it is no reason to refuse."""
    files = tuple(
        replace(nifti(sequence, file_index=index), forms_apart_mm=apart_mm)
        for index, sequence in enumerate((Sequence.T1C, Sequence.T2F))
    )
    found = choose_sequences(files).findings
    assert [(finding.code, finding.sequence, finding.severity) for finding in found] == said * [
        (FindingCode.SFORM_QFORM_DISAGREE, Sequence.T1C, Severity.WARNING),
        (FindingCode.SFORM_QFORM_DISAGREE, Sequence.T2F, Severity.WARNING),
    ]
    assert all("7.2 mm apart; the sform was used" in finding.message for finding in found)
    assert ["Mask and probabilities tell both" in finding.message for finding in found] == said * [True, False]


@pytest.mark.parametrize("burned_in", [True, False, None])
def test_burned_in_text_is_said(*, burned_in: bool | None) -> None:
    """Only where the series says so."""
    choice = choose_sequences((mprage(1, contrast_agent=True, burned_in_text=burned_in),))
    assert (FindingCode.BURNED_IN_TEXT in codes(choice)) is bool(burned_in)


def test_no_text_of_the_input_is_quoted() -> None:
    """Descriptions may name patients; neither reasons, findings nor errors repeat them."""
    marked = tuple(replace(one, description=one.description + " Doe^Jane", body_part="") for one in EXAMINATION)
    choice = choose_sequences(marked)
    told = [use.message for use in choice.uses] + [finding.message for finding in choice.findings]
    assert not any("Doe" in text for text in told)


def test_every_pair_of_orders_agrees_on_reasons() -> None:
    """Reasons go with their series, not with their places."""
    few = EXAMINATION[4:8]
    expected = dict(zip((one.series_number for one in few), reasons(choose_sequences(few)), strict=True))
    for order in itertools.permutations(few):
        found = dict(zip((one.series_number for one in order), reasons(choose_sequences(order)), strict=True))
        assert found == expected
