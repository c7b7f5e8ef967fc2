"""Owns the evidence of a series: what its attributes say that it shows, and whether contrast medium was given."""

from dataclasses import dataclass
from enum import StrEnum

from brainmets.imaging import acquisition_terms as terms
from brainmets.imaging.series import SeriesAttributes, SeriesReason

# Bounds of weighting, ms. They lie apart on purpose: what falls between them is not decided by times.
# Brown, Semelka: MRI, basic principles (short and long TR, TE); FLAIR nulls fluid, TI 1.6 to 2.9 s at 1.5 to 7 T.
SHORT_GRADIENT_ECHO_MS = 10.0
SHORT_GRADIENT_REPETITION_MS = 15.0  # VIBE, FSPGR; time of flight and SWI repeat after 20 and more
FLASH_REPETITION_MS = (100.0, 700.0)  # spoiled gradient echoes of slices
SHORT_SPIN_ECHO_MS = 40.0
SHORT_SPIN_REPETITION_MS = 1200.0
LONG_ECHO_MS = 60.0
LONG_REPETITION_MS = 1500.0
T1_INVERSION_MS = (400.0, 1400.0)  # MPRAGE and T1 FLAIR; below it fat is nulled
FLUID_INVERSION_MS = 1500.0


class Weighting(StrEnum):
    """What a series' contrast depends on, as a reader says it."""

    T1 = "T1-weighted"
    T2 = "T2-weighted"
    FLAIR = "FLAIR"


class ContrastMedium(StrEnum):
    """Whether contrast medium was given before a series."""

    AFTER = "after contrast medium"
    BEFORE = "before contrast medium"
    NOT_ESTABLISHED = "contrast medium not established"


@dataclass(frozen=True, slots=True)
class SeriesEvidence:
    """What a series' attributes say; what they do not say stays open.

    Attributes:
        unfit: Why it is no candidate unless somebody states it.
        shows: What it shows instead, when it is unfit; in words of this project.
        weighting: Its contrast; None when that cannot be told.
        medium: Whether contrast medium was given.
        derived: It was computed from another series.
    """

    unfit: SeriesReason | None
    shows: str
    weighting: Weighting | None
    medium: ContrastMedium
    derived: bool


def read_evidence(series: SeriesAttributes) -> SeriesEvidence:
    """Return what a series' attributes say of it; none of them is missed."""
    text = terms.plain(series.description)
    unfit, shows = _find_unfit(series, text)
    return SeriesEvidence(
        unfit=unfit,
        shows=shows,
        weighting=_find_weighting(series, text) if unfit is None else None,
        medium=_find_medium(series, text),
        derived=_is_derived(series, text),
    )


def _find_unfit(series: SeriesAttributes, text: str) -> tuple[SeriesReason | None, str]:
    if series.modality not in {"", "MR"}:
        return SeriesReason.NOT_MR, "no MR image"
    kinds = (
        (terms.LOCALIZER, SeriesReason.LOCALIZER),
        (terms.SUBTRACTION, SeriesReason.SUBTRACTION),
        *((kind, SeriesReason.OTHER_CONTRAST) for kind in terms.OTHER_CONTRASTS),
        (terms.PROJECTION, SeriesReason.DERIVED),
    )
    for kind, reason in kinds:
        if kind.image_types & set(series.image_type) or kind.words.search(text):
            return reason, kind.shows
    if series.acquisition_contrast in terms.OTHER_ACQUISITION_CONTRASTS or "EP" in series.scanning_sequence:
        return SeriesReason.OTHER_CONTRAST, "echo-planar or another contrast"
    other_part = terms.OTHER_BODY_PART.search(text) or terms.OTHER_BODY_PART.search(terms.plain(series.body_part))
    if other_part and not terms.HEAD.search(text):
        return SeriesReason.OTHER_BODY_PART, "another part of the body"
    return None, ""


def _find_weighting(series: SeriesAttributes, text: str) -> Weighting | None:
    """Return the weighting by what the scanner coded, then by its times, then by what people called it."""
    coded = {"T1": Weighting.T1, "T2": Weighting.T2, "FLUID_ATTENUATED": Weighting.FLAIR}
    named, timed = _weighting_by_words(text), _weighting_by_times(series)
    if timed is Weighting.T2 and named is Weighting.FLAIR:  # an inversion time that is not told
        return Weighting.FLAIR
    return coded.get(series.acquisition_contrast) or timed or named


def _weighting_by_words(text: str) -> Weighting | None:
    t1, t2, flair = (expression.search(text) for expression in (terms.T1, terms.T2, terms.FLAIR))
    if t1 and t2:
        return None
    if flair:
        return Weighting.T1 if t1 else Weighting.FLAIR
    if t1:
        return Weighting.T1
    return Weighting.T2 if t2 else None


def _weighting_by_times(series: SeriesAttributes) -> Weighting | None:
    repetition_ms, echo_ms, inversion_ms = series.repetition_time_ms, series.echo_time_ms, series.inversion_time_ms
    if repetition_ms is None or echo_ms is None:
        return None
    if echo_ms >= LONG_ECHO_MS and repetition_ms >= LONG_REPETITION_MS:
        if inversion_ms and inversion_ms >= FLUID_INVERSION_MS:
            return Weighting.FLAIR
        # Where the scanner does not say that it did not invert, this may be either.
        return Weighting.T2 if series.scanning_sequence and "IR" not in series.scanning_sequence else None
    if inversion_ms:
        inverted = T1_INVERSION_MS[0] <= inversion_ms <= T1_INVERSION_MS[1] and echo_ms < SHORT_SPIN_ECHO_MS
        return Weighting.T1 if inverted else None
    if "GR" in series.scanning_sequence:
        return Weighting.T1 if _is_spoiled_t1(series, repetition_ms, echo_ms) else None
    short = repetition_ms <= SHORT_SPIN_REPETITION_MS and echo_ms < SHORT_SPIN_ECHO_MS
    return Weighting.T1 if short and "SE" in series.scanning_sequence else None


def _is_spoiled_t1(series: SeriesAttributes, repetition_ms: float, echo_ms: float) -> bool:
    if "SS" in series.sequence_variant and "SP" not in series.sequence_variant:  # a steady state: T2 over T1
        return False
    by_slice = FLASH_REPETITION_MS[0] <= repetition_ms <= FLASH_REPETITION_MS[1]
    prepared = "MP" in series.sequence_variant or "IR" in series.scanning_sequence
    return echo_ms < SHORT_GRADIENT_ECHO_MS and (repetition_ms <= SHORT_GRADIENT_REPETITION_MS or by_slice or prepared)


def _find_medium(series: SeriesAttributes, text: str) -> ContrastMedium:
    """Return whether contrast medium was given.

    Words outweigh an agent that is named: the series before it often carries the agent of its examination. They do not
    outweigh an agent that is said to be none, which somebody entered: such a series is not established.
    """
    rest = terms.BOTH.sub(" ", text)
    before = bool(terms.PRE.search(rest)) or terms.PRE_FLAVOUR in series.image_type
    after = bool(terms.POST.search(terms.PRE.sub(" ", rest))) or terms.POST_FLAVOUR in series.image_type
    if before and after:
        return ContrastMedium.NOT_ESTABLISHED
    if before:
        return ContrastMedium.BEFORE
    if after:
        return ContrastMedium.NOT_ESTABLISHED if series.contrast_agent is False else ContrastMedium.AFTER
    by_agent = {True: ContrastMedium.AFTER, False: ContrastMedium.BEFORE, None: ContrastMedium.NOT_ESTABLISHED}
    return by_agent[series.contrast_agent]


def _is_derived(series: SeriesAttributes, text: str) -> bool:
    """True when a series was computed from another one.

    Scanners also write DERIVED, PRIMARY for what they corrected for distortion, filtered or made anonymous; that counts
    as original unless a further value or a word says reformat.
    """
    types = set(series.image_type)
    if types & (terms.REFORMAT.image_types | terms.PROJECTION.image_types | terms.SUBTRACTION.image_types):
        return True
    if series.image_type[:1] == ("ORIGINAL",):
        return False
    if series.image_type[:1] == ("DERIVED",) and series.image_type[1:2] != ("PRIMARY",):
        return True
    return bool(terms.REFORMAT.words.search(text))
