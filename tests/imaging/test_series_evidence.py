"""What a series says of itself is read as radiographers of several vendors and languages mean it."""

import pytest

from brainmets.imaging.series import SeriesAttributes, SeriesReason
from brainmets.imaging.series_evidence import ContrastMedium, Weighting, read_evidence
from series_cases import ORIGINAL, flair, mprage, series, turbo_spin_echo

PHILIPS = ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")


def timed(echo: float, repetition: float, inversion: float | None = None, **attributes: object) -> SeriesAttributes:
    """Return a series without a description."""
    return series(echo_time_ms=echo, repetition_time_ms=repetition, inversion_time_ms=inversion, **attributes)


@pytest.mark.parametrize(
    "one",
    [
        mprage(description=""),
        mprage(description="t1_mpr_ns_sag_p2_iso"),
        # GE: BRAVO, whose steady state is spoiled, and T1 FLAIR.
        timed(3.2, 8.2, 450.0, scanning_sequence=("GR",), sequence_variant=("SS", "SP", "SK")),
        timed(24.0, 2800.0, 860.0, scanning_sequence=("SE", "IR"), description="Ax T1 FLAIR"),
        series(description="Ax 3D FSPGR BRAVO", scanning_sequence=("GR",)),
        series(description="Sag T1 CUBE"),
        # Philips: 3-D TFE and a spin echo.
        timed(3.7, 8.1, scanning_sequence=("GR",), image_type=("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE")),
        timed(10.0, 550.0, scanning_sequence=("SE",), image_type=PHILIPS),
        # Canon's field echo; Siemens' SPACE, VIBE, and FLASH of slices.
        series(description="T1 3D FFE3D_fs"),
        timed(21.0, 700.0, scanning_sequence=("SE",), description="t1_space_sag_p2_iso *spc_282ns"),
        timed(1.9, 5.1, scanning_sequence=("GR",), sequence_variant=("SP", "OSP"), description="*fl3d1_ns"),
        timed(2.5, 250.0, scanning_sequence=("GR",), sequence_variant=("SP",), description="*fl2d1"),
        series(description="mp2rage_UNI_Images"),
        series(acquisition_contrast="T1"),
        series(description="anat-T1w", image_type=("DERIVED", "SECONDARY")),
        series(description="sub-01_T1w"),
        series(description="SAGT1"),
    ],
)
def test_a_t1_is_recognised(one: SeriesAttributes) -> None:
    """By its times where they decide, else by its name."""
    evidence = read_evidence(one)
    assert (evidence.unfit, evidence.weighting) == (None, Weighting.T1)


@pytest.mark.parametrize(
    ("one", "weighting"),
    [
        (turbo_spin_echo(), Weighting.T2),
        (turbo_spin_echo(description="BRAIN W WO T1 T2 FLAIR POST"), Weighting.T2),
        (timed(100.0, 3000.0, scanning_sequence=("SE",), image_type=PHILIPS), Weighting.T2),
        (timed(409.0, 3200.0, scanning_sequence=("SE",), description="t2_space"), Weighting.T2),
        (series(description="T2W_TSE"), Weighting.T2),
        (flair(), Weighting.FLAIR),
        (flair(description=""), Weighting.FLAIR),
        (timed(388.0, 5000.0, 1800.0, scanning_sequence=("SE", "IR"), description="*spcir_242ns"), Weighting.FLAIR),
        (timed(120.0, 11000.0, scanning_sequence=("SE",), description="3D FLAIR VISTA"), Weighting.FLAIR),
        (series(description="Sag CUBE T2FLAIR"), Weighting.FLAIR),
        (series(acquisition_contrast="FLUID_ATTENUATED"), Weighting.FLAIR),
    ],
)
def test_fluid_is_told_from_water(one: SeriesAttributes, weighting: Weighting) -> None:
    """A long echo is a T2 or a FLAIR by its inversion, and by its name where that is not told."""
    assert read_evidence(one).weighting is weighting


@pytest.mark.parametrize(
    "one",
    [
        series(),
        timed(90.0, 6000.0),  # a FLAIR or a T2: nobody says that it was not inverted
        timed(5.0, 24.0, scanning_sequence=("GR",)),  # a time of flight has such times, too
        timed(20.0, 3000.0, scanning_sequence=("SE",)),  # proton density
        timed(40.0, 4000.0, 200.0, scanning_sequence=("SE", "IR")),  # nulled fat
        timed(2.5, 5.2, scanning_sequence=("GR",), sequence_variant=("SS",)),
        series(description="T1 and T2"),
    ],
)
def test_what_does_not_decide_stays_open(one: SeriesAttributes) -> None:
    """No weighting is guessed."""
    evidence = read_evidence(one)
    assert (evidence.unfit, evidence.weighting) == (None, None)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (series(description="AAHead_Scout_MPR_sag"), SeriesReason.LOCALIZER),
        (series(description="3-Plane Loc SSFSE"), SeriesReason.LOCALIZER),
        (series(description="SURVEY_32ch"), SeriesReason.LOCALIZER),
        (series(description="localizer"), SeriesReason.LOCALIZER),
        (series(image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), SeriesReason.LOCALIZER),
        (mprage(description="t1_mprage_KM_SUB"), SeriesReason.SUBTRACTION),
        (mprage(image_type=("DERIVED", "PRIMARY", "M", "SUB")), SeriesReason.SUBTRACTION),
        (mprage(image_type=("DERIVED", "SECONDARY", "MNIP")), SeriesReason.DERIVED),
        (mprage(description="t1 MIP tra"), SeriesReason.DERIVED),
        (series(description="ep2d_diff_b1000_ADC"), SeriesReason.OTHER_CONTRAST),
        (series(description="DWI b1000"), SeriesReason.OTHER_CONTRAST),
        (series(description="Ax DWI"), SeriesReason.OTHER_CONTRAST),
        (series(image_type=("ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW", "ND")), SeriesReason.OTHER_CONTRAST),
        (series(scanning_sequence=("EP",)), SeriesReason.OTHER_CONTRAST),
        (series(description="ep2d_perf_rCBV"), SeriesReason.OTHER_CONTRAST),
        (series(description="SWI_Images"), SeriesReason.OTHER_CONTRAST),
        (series(description="t2*_fl2d_tra_hemo"), SeriesReason.OTHER_CONTRAST),
        (series(description="TOF_3D_multi-slab"), SeriesReason.OTHER_CONTRAST),
        (series(description="3D TOF MRA +C"), SeriesReason.OTHER_CONTRAST),
        (mprage(image_type=("ORIGINAL", "PRIMARY", "P", "ND")), SeriesReason.OTHER_CONTRAST),
        (mprage(image_type=("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE")), SeriesReason.OTHER_CONTRAST),
        (mprage(description="mp2rage_INV1"), SeriesReason.OTHER_CONTRAST),
        (mprage(description="mp2rage_T1_Images"), SeriesReason.OTHER_CONTRAST),
        (series(description="gre_field_mapping"), SeriesReason.OTHER_CONTRAST),
        (series(description="ASSET Calibration"), SeriesReason.OTHER_CONTRAST),
        (series(acquisition_contrast="TOF"), SeriesReason.OTHER_CONTRAST),
        (series(image_type=("DERIVED", "PRIMARY", "DIXON", "FAT")), SeriesReason.OTHER_CONTRAST),
        (mprage(body_part="CSPINE"), SeriesReason.OTHER_BODY_PART),
        (mprage(description="t1_tse_sag_HWS KM"), SeriesReason.OTHER_BODY_PART),
        (series(body_part="KNEE"), SeriesReason.OTHER_BODY_PART),
        (series(modality="CT"), SeriesReason.NOT_MR),
    ],
)
def test_what_is_no_anatomy_of_the_head_is_told_apart(one: SeriesAttributes, reason: SeriesReason) -> None:
    """By ImageType, by name or by the part of the body."""
    assert read_evidence(one).unfit is reason


def test_a_head_in_an_examination_of_the_spine_is_a_head() -> None:
    """BodyPartExamined is often set once for an examination of head and spine."""
    assert read_evidence(mprage(description="t1_mprage_brain", body_part="SPINE")).unfit is None


@pytest.mark.parametrize("part", ["", "HEAD", "BRAIN", "HEADNECK", "HIPPOCAMPUS", "OTHER"])
def test_a_part_of_the_body_that_may_be_a_head_is_one(part: str) -> None:
    """Only what is known to lie elsewhere is left."""
    assert read_evidence(mprage(body_part=part)).unfit is None


@pytest.mark.parametrize(
    "description",
    [
        "t1_mprage_sag KM", "T1KM", "T1 post KM", "t1 nach KM", "T1 mit Kontrastmittel", "T1 +C", "T1 C+",
        "AX T1 POST GAD", "AX T1 POST", "T1 W CONTRAST", "T1 W/CONTRAST", "T1 with contrast", "3D T1 GADO",
        "T1 EG GADO", "SAG T1 GD", "T1 avec injection", "T1 APRES GADO", "T1 inj", "T1 CE", "T1ce", "T1C",
        "T1 con contraste", "T1 poscontraste", "T1 dopo MDC", "T1 con mdc", "T1 na contrast", "T1 POST-CONTRAST",
        "T1 post GAD pre-op", "Gadovist T1", "W WO CONTRAST AX T1 POST", "W/WO T1 +C", "Ax T1 FSPGR+C",
        "T1 POST GK +C", "T1 POST RADIAL", "T1 post cranial",
    ],
)  # fmt: skip
def test_a_label_after_contrast_medium_is_read(description: str) -> None:
    """In the languages that hospitals write."""
    assert read_evidence(series(description=description)).medium is ContrastMedium.AFTER


@pytest.mark.parametrize(
    "description",
    [
        "t1_mprage_nativ", "T1 native", "T1 ohne KM", "T1 o. KM", "T1 vor KM", "T1 prä KM", "T1 pre", "AX T1 PRE GAD",
        "T1 pre-contrast", "T1 without contrast", "T1 w/o contrast", "AX T1 WO", "T1 non contrast", "T1 noncontrast",
        "T1 sans injection", "T1 avant gado", "T1 sans gado", "T1 sin contraste", "T1 senza mdc", "T1 basale",
        "T1 zonder contrast", "T1 unenhanced", "W WO CONTRAST AX T1 PRE",
    ],
)  # fmt: skip
def test_a_label_before_contrast_medium_is_read_whatever_the_agent(description: str) -> None:
    """The series before contrast medium often carries the agent of its examination."""
    evidence = read_evidence(series(description=description, contrast_agent=True))
    assert evidence.medium is ContrastMedium.BEFORE


@pytest.mark.parametrize(
    "description",
    [
        "", "t1_mprage_sag", "T1 post op", "T1 preop", "T1 pre-op", "T1 posterior fossa", "BRAIN W WO CONTRAST",
        "MR Kopf nativ und KM", "Brain with and without contrast", "T1 pre/post GAD", "T1 AC-PC", "T1 w C-Spine",
        "T1W TSE", "T1 prescan", "cerebrum", "T1 POST GK", "T1 POST GAMMA KNIFE", "T1 POST SRS", "T1 post-SRT",
        "T1 post cyberknife", "T1 POST RADIATION", "T1 post XRT", "T1 POST WBRT", "T1 POST RESECTION", "T1 POST CRANI",
        "T1 post-op craniotomy", "T1 post chemo", "T1 post biopsy", "T1 POST TX", "T1 post therapy", "T1 PRE GK",
        "T1 PRE SRS", "T1 pre-radiation", "T1 pre resection",
    ],
)  # fmt: skip
def test_what_no_label_says_is_not_established(description: str) -> None:
    """Neither operations nor names of whole protocols say anything of contrast medium."""
    assert read_evidence(series(description=description)).medium is ContrastMedium.NOT_ESTABLISHED


@pytest.mark.parametrize(
    ("description", "agent", "medium"),
    [
        ("t1", True, ContrastMedium.AFTER),
        ("t1", False, ContrastMedium.BEFORE),
        ("t1 KM", False, ContrastMedium.NOT_ESTABLISHED),
        ("t1 KM", None, ContrastMedium.AFTER),
    ],
)
def test_an_agent_counts_where_words_do_not_contradict(
    description: str, *, agent: bool | None, medium: ContrastMedium
) -> None:
    """A label and an agent that contradict each other establish nothing."""
    assert read_evidence(series(description=description, contrast_agent=agent)).medium is medium


@pytest.mark.parametrize(
    ("one", "derived"),
    [
        (mprage(image_type=ORIGINAL), False),
        (mprage(image_type=("DERIVED", "PRIMARY", "M", "NORM", "DIS2D", "FIL")), False),
        (mprage(image_type=("DERIVED", "PRIMARY", "MPR", "NORM")), True),
        (mprage(image_type=("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE")), True),
        (mprage(image_type=("DERIVED", "SECONDARY")), True),
        (mprage(image_type=ORIGINAL, description="T1w_MPR1"), False),
        (mprage(image_type=("DERIVED", "PRIMARY"), description="t1_mprage_mpr_tra"), True),
        (mprage(image_type=()), False),
    ],
)
def test_derived_is_what_was_computed_from_another_series(one: SeriesAttributes, *, derived: bool) -> None:
    """Corrected for distortion or filtered is not derived, whatever the first value says."""
    assert read_evidence(one).derived is derived


def test_a_very_long_description_is_read_in_bounded_time() -> None:
    """A hostile text costs no more than an honest one."""
    assert read_evidence(series(description="w " * 1_000_000)).medium is ContrastMedium.NOT_ESTABLISHED
