"""Owns the quality gate: what speaks against a prepared study, and whether it is refused for it."""

from collections.abc import Iterable

from brainmets.imaging.contrast import find_exchanged_contrast
from brainmets.imaging.errors import QualityRefusedError
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Geometry
from brainmets.imaging.head_extent import find_cuts, find_ends, find_no_head
from brainmets.imaging.normalization import NormalizedVolume
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.signal_quality import find_signal_faults
from brainmets.imaging.study import AlignedStudy

# Above it a metastasis of 5 mm lies in one or two slices and may be missed (RANO-BM asks for two).
THICK_SLICE_MM = 3.0
# Above it one of 15 mm does, and hospitals do not scan a brain so: 5 to 7 mm with gaps are the thickest protocols.
TOO_THICK_SLICE_MM = 7.5


def assess_quality(aligned: AlignedStudy, normalized: NormalizedVolume) -> tuple[Finding, ...]:
    """Return what a reader should know about the T1c's slices, field of view, contrast, signal and motion.

    Args:
        aligned: The study on the networks' grid, in the intensities that were acquired.
        normalized: The same, cropped to its foreground.
    """
    foreground, grid = normalized.foreground, normalized.geometry
    acquired = aligned.acquired
    return (
        *_find_thick_slices(acquired),
        *find_no_head(foreground, grid, ends=find_ends(foreground, grid, acquired=acquired)),
        *find_cuts(find_ends(normalized.brain, grid, acquired=acquired)),
        *find_exchanged_contrast(normalized),
        *find_signal_faults(aligned.volumes[Sequence.T1C], foreground, grid=grid, acquired=acquired),
    )


def refuse_severe(findings: Iterable[Finding], *, force: bool) -> None:
    """Refuse a study with a severe finding, unless the request insists.

    Raises:
        QualityRefusedError: A finding is severe, and `force` is not set.
    """
    severe = [finding for finding in findings if finding.severity is Severity.SEVERE]
    if severe and not force:
        raise QualityRefusedError(
            "The study is not fit for segmentation",
            expected="no severe finding",
            got=", ".join(sorted({finding.code.upper() for finding in severe})),
            remedy="send a better series, or set `force` and read the result with these findings in mind",
        )


def _find_thick_slices(acquired: Geometry) -> tuple[Finding, ...]:
    thickest_mm = max(acquired.spacing_mm)
    if thickest_mm <= THICK_SLICE_MM:
        return ()
    message = (
        f"The T1c's slices are {thickest_mm:.1f} mm apart: lesions below about {2 * thickest_mm:.0f} mm may be missed, "
        "and volumes and diameters are coarse."
    )
    severity = Severity.SEVERE if thickest_mm > TOO_THICK_SLICE_MM else Severity.WARNING
    return (Finding(FindingCode.THICK_SLICES, message, Sequence.T1C, severity),)
