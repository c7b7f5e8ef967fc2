"""Owns what a reader should know of the chosen series: contrast, origin, text in the pixels, slices, place, days."""

from collections.abc import Mapping

from brainmets.imaging.candidates import Candidate, Claim
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series_evidence import ContrastMedium

# Metastases change within two weeks so that treatment planned on older images misses more of them.
# Seymour et al 2015, Int J Radiat Oncol Biol Phys 93:126.
MOST_DAYS = 14
# A voxel of the networks' grid. A turn by half a circle, which a qform keeps in three numbers of 32 bits, is read up to
# 0.4 mm beside itself at the corners of 256 mm; what lies apart by more was told twice.
MOST_FORMS_APART_MM = 1.0


def find_about_choice(chosen: Mapping[Sequence, Candidate]) -> tuple[Finding, ...]:
    """Return what is to be said of the chosen series, the T1c among them."""
    t1c = chosen[Sequence.T1C]
    about_each = (
        finding
        for sequence, candidate in chosen.items()
        for finding in (
            *_find_origin(sequence, candidate),
            *_find_two_places(sequence, candidate),
            *_find_days(sequence, candidate, t1c=t1c),
        )
    )
    return (*_find_contrast(t1c), *_find_uneven_slices(t1c), *about_each)


def _find_contrast(t1c: Candidate) -> tuple[Finding, ...]:
    if t1c.claim is not Claim.INFERRED or t1c.evidence.medium is ContrastMedium.AFTER:
        return ()
    message = "Nothing says that contrast medium was given before the T1c: without it most metastases do not show."
    return (Finding(FindingCode.CONTRAST_NOT_ESTABLISHED, message, Sequence.T1C),)


def _find_uneven_slices(t1c: Candidate) -> tuple[Finding, ...]:
    uneven_mm = t1c.series.uneven_mm
    if not uneven_mm:
        return ()
    message = f"Slices lie up to {uneven_mm:.2f} mm beside their places in an even grid: positions are that uncertain."
    return (Finding(FindingCode.UNEVEN_SLICES, message, Sequence.T1C),)


def _find_origin(sequence: Sequence, candidate: Candidate) -> tuple[Finding, ...]:
    findings: list[Finding] = []
    if candidate.evidence.derived:
        message = "The series was computed from another one, for example reformatted; small lesions may be blurred."
        findings.append(Finding(FindingCode.DERIVED_SERIES, message, sequence))
    if candidate.series.burned_in_text:
        message = "Text is burned into the pixels: it may identify the patient, and may be taken for tissue."
        findings.append(Finding(FindingCode.BURNED_IN_TEXT, message, sequence))
    return tuple(findings)


def _find_two_places(sequence: Sequence, candidate: Candidate) -> tuple[Finding, ...]:
    apart_mm = candidate.series.forms_apart_mm
    if apart_mm <= MOST_FORMS_APART_MM:
        return ()
    message = (
        f"The file's sform and qform place its voxels up to {apart_mm:.1f} mm apart; the sform was used: programs that "
        "go by the qform show another place."
    )
    if sequence is Sequence.T1C:
        message += " Mask and probabilities tell both, as the T1c does."
    return (Finding(FindingCode.SFORM_QFORM_DISAGREE, message, sequence),)


def _find_days(sequence: Sequence, candidate: Candidate, *, t1c: Candidate) -> tuple[Finding, ...]:
    if candidate.series.acquired_on is None or t1c.series.acquired_on is None:
        return ()
    days = abs((candidate.series.acquired_on - t1c.series.acquired_on).days)
    if days == 0:
        return ()
    message = f"The sequence was acquired {days} days from the T1c: lesions may have changed between them."
    severity = Severity.SEVERE if days > MOST_DAYS else Severity.WARNING
    return (Finding(FindingCode.DIFFERENT_DAYS, message, sequence, severity),)
