"""Owns the candidates of a study: for which sequence each series stands, on whose word, and which is the better one."""

from dataclasses import dataclass
from enum import IntEnum
from math import isclose

import numpy as np

from brainmets.imaging.errors import InvalidArgumentError
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes, SeriesReason, SeriesSelection
from brainmets.imaging.series_evidence import ContrastMedium, SeriesEvidence, Weighting, read_evidence

# Extent on each axis from which a volume holds most of a brain, mm: a brain is about 170 x 140 x 120 (Talairach space).
COVERING_MM = 100.0
# Slices are as good as each other within this, mm: 1.0 and 1.2 are both three-dimensional acquisitions.
SAME_THICKNESS_MM = 0.5
# Times of two series of one protocol agree within this: patients' own adjustments change them a little.
SAME_PROTOCOL_FRACTION = 0.05


class Claim(IntEnum):
    """On whose word a series stands for a sequence; the higher one wins."""

    INFERRED = 0
    STATED = 1
    SELECTED = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series of the study, and the sequence that it stands for, if it does for one."""

    index: int
    series: SeriesAttributes
    evidence: SeriesEvidence
    sequence: Sequence | None
    claim: Claim

    @property
    def medium_fits(self) -> int:
        """How well what is known of contrast medium fits the sequence: 2 well, 1 unknown or without meaning, 0 not."""
        suits = {Sequence.T1C: ContrastMedium.AFTER, Sequence.T1N: ContrastMedium.BEFORE}
        suiting = suits.get(self.sequence) if self.sequence else None
        if suiting is None or self.evidence.medium is ContrastMedium.NOT_ESTABLISHED:
            return 1
        return 2 if self.evidence.medium is suiting else 0

    @property
    def grounds(self) -> str:
        """Why it stands for its sequence, for a sentence."""
        if self.claim is Claim.SELECTED:
            return "selected by its SeriesNumber"
        if self.claim is Claim.STATED:
            return "stated in the request"
        if self.evidence.weighting is None:
            return "the only series that can be it"
        if self.evidence.weighting is Weighting.T1:
            return f"{self.evidence.weighting}, {self.evidence.medium}"
        return self.evidence.weighting


def preference(candidate: Candidate) -> tuple[float, ...]:
    """Return what the better of two candidates for a sequence has more of; the first difference decides.

    Word of the request; a fit kind of image; the right weighting; nothing against its contrast medium; a volume;
    contrast medium as the sequence wants it; original; coverage; thin slices; extent; voxels; later series; later phase
    of a series; sent earlier; first echo.
    """
    series, evidence = candidate.series, candidate.evidence
    right = {Sequence.T2W: Weighting.T2, Sequence.T2F: Weighting.FLAIR}
    fits = evidence.weighting is (right.get(candidate.sequence, Weighting.T1) if candidate.sequence else None)
    return (
        candidate.claim,
        evidence.unfit is None,
        fits,
        candidate.medium_fits > 0,
        series.geometry is not None,
        candidate.medium_fits,
        not evidence.derived,
        *_extent(series),
        -1 if series.series_number is None else series.series_number,
        -1 if series.phase is None else series.phase,
        -series.file_index,
        -(series.echo_time_ms or 0.0),
    )


def _extent(series: SeriesAttributes) -> tuple[float, ...]:
    if series.geometry is None:
        return (0.0, 0.0, 0.0, 0.0)
    extents_mm = np.array(series.geometry.shape) * series.geometry.spacing_mm
    thickness = -round(max(series.geometry.spacing_mm) / SAME_THICKNESS_MM)
    litres = round(float(np.prod(extents_mm)) / 1e6, 1)
    return float(extents_mm.min() >= COVERING_MM), thickness, litres, float(np.prod(series.geometry.shape))


def find_candidates(
    series: tuple[SeriesAttributes, ...], selections: tuple[SeriesSelection, ...]
) -> tuple[Candidate, ...]:
    """Return each series with the sequence that it stands for, in their order.

    Raises:
        InvalidArgumentError: A selection names no series, or several; or it is not clear what a NIfTI file holds.
    """
    _check_nifti(series)
    evidence = tuple(read_evidence(one) for one in series)
    selected = _find_selected(series, evidence, selections)
    inferred = _infer(series, evidence)

    def stand(index: int) -> tuple[Sequence | None, Claim]:
        if evidence[index].unfit is SeriesReason.NOT_MR:  # whatever anybody says
            return None, Claim.INFERRED
        if index in selected:
            return selected[index], Claim.SELECTED
        stated = series[index].stated
        return (inferred[index], Claim.INFERRED) if stated is None else (stated, Claim.STATED)

    return tuple(Candidate(index, one, evidence[index], *stand(index)) for index, one in enumerate(series))


def _check_nifti(series: tuple[SeriesAttributes, ...]) -> None:
    """Refuse NIfTI files that leave it open what they hold: nothing else in them says it."""
    taken: set[Sequence] = set()
    for one in series:
        unclear = one.stated in taken if one.stated else len(series) > 1
        if not one.modality and unclear:
            raise InvalidArgumentError(
                "It is not clear which sequence the file holds",
                expected="T1C, T1N, T2W or T2F for each of several files, and each at most once",
                got="a second one of the same" if one.stated else "SEQUENCE_UNSPECIFIED",
                remedy="state the sequence of each file",
                file_index=one.file_index,
            )
        if one.stated:
            taken.add(one.stated)


def _find_selected(
    series: tuple[SeriesAttributes, ...],
    evidence: tuple[SeriesEvidence, ...],
    selections: tuple[SeriesSelection, ...],
) -> dict[int, Sequence]:
    """Return what is selected by the request: index to sequence."""
    selected: dict[int, Sequence] = {}
    for selection in selections:
        numbered = [index for index, one in enumerate(series) if one.series_number == selection.series_number]
        # A series number may hold magnitudes and phases, or water and fat, of which one is meant.
        meant = [index for index in numbered if evidence[index].unfit is None] if len(numbered) > 1 else numbered
        if len(meant) != 1:
            raise _unclear_selection(selection, got=f"{len(meant) or len(numbered)} series of this number")
        if meant[0] in selected or selection.sequence in selected.values():
            raise _unclear_selection(selection, got="a second selection of the same series or sequence")
        selected[meant[0]] = selection.sequence
    return selected


def _unclear_selection(selection: SeriesSelection, *, got: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"The selected series {selection.series_number} cannot be the {selection.sequence}",
        expected="a SeriesNumber that one series of the study has, selected once",
        got=got,
        remedy="look the numbers up with `brainmets inspect`",
    )


def _infer(series: tuple[SeriesAttributes, ...], evidence: tuple[SeriesEvidence, ...]) -> tuple[Sequence | None, ...]:
    """Return what the evidence makes of each series; None where it makes nothing."""
    fit = [index for index, one in enumerate(evidence) if one.unfit is None]
    inferred = [_infer_alone(one) for one in evidence]
    if len(fit) == 1 and evidence[fit[0]].weighting is None:
        # A study's only series can only be the sequence that every study needs.
        alone = evidence[fit[0]]
        inferred[fit[0]] = Sequence.T1N if alone.medium is ContrastMedium.BEFORE else Sequence.T1C
    twin = _find_before_its_twin(series, evidence)
    if twin is not None:
        inferred[twin] = Sequence.T1N
    return tuple(inferred)


def _infer_alone(evidence: SeriesEvidence) -> Sequence | None:
    if evidence.weighting is None:
        return None
    before = evidence.medium is ContrastMedium.BEFORE
    t1 = Sequence.T1N if before else Sequence.T1C
    return {Weighting.T1: t1, Weighting.T2: Sequence.T2W, Weighting.FLAIR: Sequence.T2F}[evidence.weighting]


def _find_before_its_twin(series: tuple[SeriesAttributes, ...], evidence: tuple[SeriesEvidence, ...]) -> int | None:
    """Return the earlier of an examination's two T1 of one protocol when contrast medium is told of the later alone."""
    originals = [index for index, one in enumerate(evidence) if one.weighting is Weighting.T1 and not one.derived]
    if {evidence[index].medium for index in originals} != {ContrastMedium.AFTER, ContrastMedium.NOT_ESTABLISHED}:
        return None
    if len(originals) != 2:  # noqa: PLR2004 -- a twin
        return None
    after, before = sorted(originals, key=lambda index: evidence[index].medium is ContrastMedium.NOT_ESTABLISHED)
    return before if _precedes(series[before], series[after]) else None


def _precedes(one: SeriesAttributes, twin: SeriesAttributes) -> bool:
    """True when two series are of one protocol and the first was acquired earlier; what is not told is neither."""
    if one.series_number is None or twin.series_number is None or one.series_number >= twin.series_number:
        return False
    if one.repetition_time_ms is None or one.echo_time_ms is None:
        return False
    return one.scanning_sequence == twin.scanning_sequence and all(
        (ours is None and theirs is None)
        or (ours is not None and theirs is not None and isclose(ours, theirs, rel_tol=SAME_PROTOCOL_FRACTION))
        for ours, theirs in zip(_protocol(one), _protocol(twin), strict=True)
    )


def _protocol(series: SeriesAttributes) -> tuple[float | None, ...]:
    return series.repetition_time_ms, series.echo_time_ms, series.inversion_time_ms, series.flip_angle_deg
