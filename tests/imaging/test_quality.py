"""The quality gate says what speaks against a study, and refuses only what is severe."""

from pathlib import Path

import pytest

from brainmets.formats.nifti import read_nifti
from brainmets.imaging.errors import QualityRefusedError
from brainmets.imaging.findings import Finding, FindingCode, Severity
from brainmets.imaging.geometry import Box
from brainmets.imaging.head_outline import outline_head
from brainmets.imaging.normalization import normalize_study
from brainmets.imaging.quality import assess_quality, refuse_severe
from brainmets.imaging.sequence import Sequence
from brainmets.imaging.study import Study, align_study
from brainmets.imaging.volume import Volume
from brainmets.runtime.brain_weights import load_brain_network
from heads import head_geometry, head_on
from imaging_cases import AXIAL, CORONAL

DATA = Path(__file__).parents[3] / "shared" / "data"
WARNING = Finding(FindingCode.THICK_SLICES, "thick", Sequence.T1C)
SEVERE = Finding(FindingCode.NOT_A_HEAD, "a bottle", Sequence.T1C, Severity.SEVERE)


def assess(t1c: Volume, *, spacing_mm: float = 1.0) -> tuple[Finding, ...]:
    """Return what the gate says of a T1c."""
    aligned = align_study(Study({Sequence.T1C: t1c}), spacing_mm=spacing_mm)
    outline = outline_head(aligned.volumes[Sequence.T1C], load_brain_network())
    return assess_quality(aligned, normalize_study(aligned, outline))


@pytest.mark.parametrize("skull", [False, True])
def test_a_good_head_has_no_finding(*, skull: bool) -> None:
    """With and without its skull."""
    grid = head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0), reach_mm=80.0)
    assert assess(head_on(grid, skull=skull, noise=5.0), spacing_mm=2.0) == ()


@pytest.mark.parametrize(
    ("spacing_mm", "severity"), [(3.0, None), (3.2, Severity.WARNING), (7.5, Severity.WARNING), (8.0, Severity.SEVERE)]
)
def test_thick_slices_are_a_finding(spacing_mm: float, severity: Severity | None) -> None:
    """More than 3 mm between slices of the T1c is said, in whichever plane they lie; what nobody scans is severe."""
    thick = head_on(head_geometry(CORONAL, spacing_mm=(spacing_mm, 2.0, 2.0), reach_mm=80.0))
    found = {finding.code: finding for finding in assess(thick, spacing_mm=2.0)}
    assert (found[FindingCode.THICK_SLICES].severity if severity else None) is severity
    assert severity is None or f"{spacing_mm:.1f} mm" in found[FindingCode.THICK_SLICES].message


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metastasis_bratsmet_00110/BraTS-MET-00110-000-t1c.nii.gz", set()),
        ("glioma_brats2021_00006/BraTS2021_00006_t1ce.nii.gz", set()),
        ("glioma_brats_gli_00001/BraTS-GLI-00001-000-t1c.nii.gz", set()),
        ("contrast_normal_mr_gd/MR_Gd.nii.gz", set()),
        ("mni152/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz", set()),
        # Its topmost slice shows veins above the brain.
        ("head_thick_slices_brain2/brain2_image.nii.gz", {FindingCode.THICK_SLICES}),
    ],
)
def test_real_studies_pass(path: str, expected: set[FindingCode]) -> None:
    """None of them is refused, and each warning is true."""
    if not DATA.is_dir():
        pytest.skip("needs the shared data next to the repository")
    findings = assess(read_nifti((DATA / path).read_bytes(), file_index=0))
    assert {finding.code for finding in findings} == expected
    refuse_severe(findings, force=False)


def test_exchanged_t1s_are_a_finding() -> None:
    """Vessels stand out in the one that is called T1n."""
    t1c = head_on(head_geometry(AXIAL, spacing_mm=(2.0, 2.0, 2.0), reach_mm=80.0), noise=5.0)
    t1n = Volume(t1c.voxels.copy(), t1c.geometry)
    t1n.voxels.reshape(-1)[::100] *= 3.0
    for volumes, expected in (((t1c, t1n), {FindingCode.CONTRAST_NOT_ESTABLISHED}), ((t1n, t1c), set())):
        aligned = align_study(Study(dict(zip((Sequence.T1C, Sequence.T1N), volumes, strict=True))), spacing_mm=2.0)
        outline = outline_head(aligned.volumes[Sequence.T1C], load_brain_network())
        found = {finding.code for finding in assess_quality(aligned, normalize_study(aligned, outline))}
        assert found & {FindingCode.CONTRAST_NOT_ESTABLISHED} == expected


def test_half_a_real_brain_is_refused() -> None:
    """The field of view ends in the middle of it."""
    if not DATA.is_dir():
        pytest.skip("needs the shared data next to the repository")
    content = (DATA / "metastasis_bratsmet_00110/BraTS-MET-00110-000-t1c.nii.gz").read_bytes()
    whole = read_nifti(content, file_index=0)
    upper = whole.crop(Box((100, 0, 0), whole.geometry.shape))
    with pytest.raises(QualityRefusedError, match="CUT_FIELD_OF_VIEW"):
        refuse_severe(assess(upper), force=False)


def test_a_severe_finding_refuses() -> None:
    """The error lists the codes, and says how to insist."""
    with pytest.raises(QualityRefusedError, match=r"NOT_A_HEAD; .*force"):
        refuse_severe((WARNING, SEVERE), force=False)


def test_who_insists_is_not_refused() -> None:
    """Nor is anybody for warnings."""
    refuse_severe((WARNING, SEVERE), force=True)
    refuse_severe((WARNING,), force=False)
