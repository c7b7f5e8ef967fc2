"""Owns the choice of sequences: which series the networks see as what, and why the others are left.

What a person says wins: first a series that the request selects by its number, then what it states of a file, then what
the attributes say. Among several for one sequence the best is taken, in the order of `candidates.preference`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from brainmets.imaging.candidates import Candidate, Claim, find_candidates, preference
from brainmets.imaging.choice_findings import find_about_choice
from brainmets.imaging.errors import BrainmetsError, MissingT1cError, PreContrastError, UnusableSeriesError
from brainmets.imaging.findings import Finding, FindingCode
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes, SeriesReason, SeriesSelection, SeriesUse
from brainmets.imaging.series_evidence import ContrastMedium

_SENTENCES = {
    SeriesReason.ANOTHER_PREFERRED: "Another series of this sequence covers more, is finer, original or later.",
    SeriesReason.ANOTHER_STATED: "The request says that another series is this sequence.",
    SeriesReason.DERIVED: "It was computed from another series, and an original is there.",
    SeriesReason.PRE_CONTRAST: "It says of itself that it was acquired before contrast medium.",
    SeriesReason.UNRECOGNIZED: "Neither its attributes nor its labels say which sequence it is.",
    SeriesReason.UNUSED_SEQUENCE: "The networks do not use this sequence.",
}
_MEDIUM_PREFERRED = "What is known of contrast medium speaks for another series of this sequence."


@dataclass(frozen=True, slots=True)
class SequenceChoice:
    """What the networks see of a study.

    Attributes:
        by_sequence: The chosen series' index, in the order of the networks' channels; always one for the T1c.
        uses: What became of each series, in their order.
        findings: What a reader of the result should know of the choice.
    """

    by_sequence: dict[Sequence, int]
    uses: tuple[SeriesUse, ...]
    findings: tuple[Finding, ...]


def choose_sequences(
    series: tuple[SeriesAttributes, ...],
    *,
    selections: tuple[SeriesSelection, ...] = (),
    known: tuple[Sequence, ...] = tuple(Sequence),
) -> SequenceChoice:
    """Choose one series for each sequence that is there; the order of the series does not matter.

    Args:
        series: All series of the study.
        selections: What the request chooses by SeriesNumber.
        known: The sequences that the networks use, in the order of their channels.

    Raises:
        InvalidArgumentError: A selection names no series, or several; or it is not clear what a NIfTI file holds.
        MissingT1cError: No series can be the T1c.
        PreContrastError: What is to be the T1c says that it was acquired before contrast medium.
        UnusableSeriesError: The slices of what is to be the T1c make no volume.
    """
    candidates = find_candidates(series, selections)
    winners = {
        sequence: max(contenders, key=preference)
        for sequence in Sequence
        if (contenders := [candidate for candidate in candidates if candidate.sequence is sequence])
    }
    _check_t1c(winners.get(Sequence.T1C), candidates)
    chosen = {
        sequence: winners[sequence]
        for sequence in known
        if sequence in winners and winners[sequence].series.geometry is not None
    }
    return SequenceChoice(
        by_sequence={sequence: candidate.index for sequence, candidate in chosen.items()},
        uses=tuple(_use(candidate, winners, known) for candidate in candidates),
        findings=(*_find_dropped(winners, known), *find_about_choice(chosen)),
    )


def _reason(candidate: Candidate, winners: dict[Sequence, Candidate], known: tuple[Sequence, ...]) -> SeriesReason:
    sequence = candidate.sequence
    if sequence is None:
        return candidate.evidence.unfit or SeriesReason.UNRECOGNIZED
    if sequence not in known:
        return SeriesReason.UNUSED_SEQUENCE
    if candidate.series.geometry is None:
        return SeriesReason.UNUSABLE_GEOMETRY
    winner = winners[sequence]
    return SeriesReason.CHOSEN if winner is candidate else _reason_of_loser(candidate, winner)


def _reason_of_loser(loser: Candidate, winner: Candidate) -> SeriesReason:
    if winner.claim > loser.claim:
        return SeriesReason.ANOTHER_STATED
    if loser.evidence.unfit is not None:
        return loser.evidence.unfit
    if loser.sequence is Sequence.T1C and loser.evidence.medium is ContrastMedium.BEFORE:
        return SeriesReason.PRE_CONTRAST
    derived = loser.evidence.derived and not winner.evidence.derived
    return SeriesReason.DERIVED if derived else SeriesReason.ANOTHER_PREFERRED


def _use(candidate: Candidate, winners: dict[Sequence, Candidate], known: tuple[Sequence, ...]) -> SeriesUse:
    geometry = candidate.series.geometry
    reason = _reason(candidate, winners, known)
    return SeriesUse(
        series_index=candidate.index,
        file_index=candidate.series.file_index,
        series_number=candidate.series.series_number,
        sequence=candidate.sequence,
        reason=reason,
        message=_sentence(candidate, reason, winners),
        shape=None if geometry is None else geometry.shape,
        spacing_mm=None if geometry is None else geometry.spacing_mm,
        stated=candidate.claim is not Claim.INFERRED,
    )


def _sentence(candidate: Candidate, reason: SeriesReason, winners: dict[Sequence, Candidate]) -> str:
    if reason is SeriesReason.CHOSEN:
        return f"Taken as {candidate.sequence}: {candidate.grounds}."
    if reason is SeriesReason.UNUSABLE_GEOMETRY:
        return f"Its slices make no volume: {candidate.series.fault or 'no reason is known'}."
    if (
        reason is SeriesReason.ANOTHER_PREFERRED
        and candidate.sequence is not None
        # Weighed before coverage and the rest, in which the series that is left may be the better one.
        and winners[candidate.sequence].medium_fits > candidate.medium_fits
    ):
        return _MEDIUM_PREFERRED
    return _SENTENCES.get(reason) or f"It shows {candidate.evidence.shows}."


def _find_dropped(winners: dict[Sequence, Candidate], known: tuple[Sequence, ...]) -> tuple[Finding, ...]:
    unknown = "The networks do not use this sequence; it was left out."
    unusable = "The slices of this sequence make no volume; it was left out."
    return tuple(
        Finding(FindingCode.SEQUENCE_DROPPED, unusable if sequence in known else unknown, sequence)
        for sequence, winner in winners.items()
        if sequence not in known or winner.series.geometry is None
    )


def _check_t1c(winner: Candidate | None, candidates: tuple[Candidate, ...]) -> None:
    if winner is None:
        raise _no_t1c(candidates)
    if winner.evidence.medium is ContrastMedium.BEFORE:
        raise _pre_contrast(winner)
    if winner.series.geometry is None:
        raise UnusableSeriesError(
            "The slices of the T1c make no volume",
            expected="evenly spaced, parallel slices, each once",
            got=winner.series.fault or "others",
            remedy="export the series again, whole, or select another one",
            file_index=winner.series.file_index,
        )


def _no_t1c(candidates: tuple[Candidate, ...]) -> BrainmetsError:
    before = [
        candidate
        for candidate in candidates
        if candidate.sequence is Sequence.T1N
        and candidate.claim is Claim.INFERRED
        and candidate.evidence.medium is ContrastMedium.BEFORE
    ]
    if before:
        return _pre_contrast(max(before, key=preference))
    return MissingT1cError(
        "No series can be the T1c",
        expected="a T1-weighted series of the head after contrast medium",
        got=_count_kinds(candidates),
        remedy="add it, or select it by its SeriesNumber if it is there and was not recognised",
    )


def _pre_contrast(candidate: Candidate) -> PreContrastError:
    return PreContrastError(
        "The T1-weighted series was acquired before contrast medium",
        expected="a T1-weighted series after contrast medium",
        got="one whose label or contrast agent says that there was none",
        remedy="send the series after contrast medium",
        file_index=candidate.series.file_index,
    )


def _count_kinds(candidates: Iterable[Candidate]) -> str:
    kinds = Counter(
        candidate.sequence or (candidate.evidence.unfit or SeriesReason.UNRECOGNIZED).replace("_", " ")
        for candidate in candidates
    )
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no series"
