"""Owns the inspection of a study: the steps that the service takes before inference, on this machine."""

from collections.abc import Callable
from dataclasses import dataclass

from brainmets.formats.study_reader import StudyFile, read_study, survey_study
from brainmets.imaging.coverage import drop_without_brain
from brainmets.imaging.errors import BrainmetsError, RequestError, StudyError
from brainmets.imaging.findings import Finding
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.quality import assess_quality, refuse_severe
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.series import SeriesAttributes, SeriesSelection, SeriesUse, leave_out
from brainmets.imaging.study import Study, align_study
from brainmets.runtime.brain_weights import load_brain_network

# What the shipped networks ask for.
SPACING_MM = 1.0
STEPS = ("Reading headers", "Reading voxels", "Aligning", "Normalising", "Assessing quality")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the service would make of a study.

    Attributes:
        series: Every series that is there.
        uses: What would become of each, in the order of `series`; empty when no T1c can be read.
        findings: What the result would tell of the input, as far as it was read.
        refusal: Why the service would refuse it; None when it would not.
    """

    series: tuple[SeriesAttributes, ...] = ()
    uses: tuple[SeriesUse, ...] = ()
    findings: tuple[Finding, ...] = ()
    refusal: BrainmetsError | None = None

    @property
    def readable(self) -> bool:
        """Whether the service would segment it."""
        return self.refusal is None


def inspect_study(
    files: tuple[StudyFile, ...], *, selections: tuple[SeriesSelection, ...], on_step: Callable[[str], None]
) -> Inspection:
    """Read a study as the service does, as far as it can be read.

    Args:
        files: The study's files.
        selections: Series chosen by hand.
        on_step: Called with one of `STEPS` as each begins.
    """
    steps = iter(STEPS)
    series: tuple[SeriesAttributes, ...] = ()
    uses: tuple[SeriesUse, ...] = ()
    findings: tuple[Finding, ...] = ()
    try:
        on_step(next(steps))
        series = survey_study(files)
        on_step(next(steps))
        read = read_study(files, selections=selections)
        uses, findings = read.series, read.findings
        on_step(next(steps))
        aligned = align_study(Study(read.volumes), spacing_mm=SPACING_MM)
        on_step(next(steps))
        outline = outline_head(aligned.volumes[Sequence.T1C], load_brain_network())
        shown = drop_without_brain(aligned, outline.brain)
        findings += shown.findings
        uses = leave_out(uses, seen=shown.volumes)
        normalized = normalize_study(shown, outline)
        on_step(next(steps))
        findings += assess_quality(aligned, normalized)
        refuse_severe(findings, force=False)
    except (StudyError, RequestError) as refusal:
        return Inspection(series, uses, findings, refusal)
    return Inspection(series, uses, findings)
