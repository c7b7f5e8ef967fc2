"""What a segmented study says, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from brainmets.client.errors import ResultsUnsavedError
from brainmets.client.images import decode_nibabel, decode_simpleitk, load_library
from brainmets.client.jobs import Job, job_from_proto
from brainmets.client.names import sequence_name, word_of
from brainmets.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Collection

    from brainmets.v1 import job_pb2, study_pb2

MASK_NAME = "mask.nii.gz"
PROBABILITY_NAME = "probability.nii.gz"
REPORT_NAME = "report.json"
# All files that a result can have, by the names that the service gives them.
RESULT_NAMES = (MASK_NAME, PROBABILITY_NAME, REPORT_NAME, "lesions.csv", "overlay.png")


@dataclass(frozen=True, slots=True)
class Lesion:
    """One lesion; lengths in mm, volume in mm³, centroid in LPS patient millimetres.

    `side` is left, right, midline or unspecified: the patient's side, judged from the brain's midline. `bounding_box`
    holds the lesion on the acquired grid: first (slice, row, column), and one past the last.
    """

    label: int
    volume_mm3: float
    longest_axial_diameter_mm: float
    perpendicular_axial_diameter_mm: float
    longest_diameter_mm: float
    centroid_mm: tuple[float, float, float]
    side: str
    mean_probability: float
    max_probability: float
    bounding_box: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the input that a reader of the result should know.

    `code` is a FindingCode such as THICK_SLICES; `severity` is `warning`, or `severe` in a study that was forced.
    """

    code: str
    message: str
    sequence: str | None
    severity: str


@dataclass(frozen=True, slots=True)
class SeriesUse:
    """One series of the study as it was sent, and what became of it.

    Attributes:
        series_index: Its place in the study, from 0.
        file_index: Number of the first file it was read from, in the order of `find_study_files`.
        number: SeriesNumber, if it has one.
        sequence: What it was taken for, or would have been; None when that cannot be told.
        used: Whether the networks saw it.
        reason: Why, in a word of the contract's SeriesReason, such as `chosen` or `localizer`.
        message: Why, in a sentence.
        shape: Slices, rows, columns; empty where there is no volume.
        spacing_mm: Distance between voxels along them.
        stated: Whether the request said its sequence, and not what it holds.
    """

    series_index: int
    file_index: int
    number: int | None
    sequence: str | None
    used: bool
    reason: str
    message: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    stated: bool = False


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A finished study. Research use only; not for diagnosis.

    Attributes:
        lesions: By falling volume.
        statement: The result in one sentence.
        findings: What a reader should know about the input.
        sequences_used: Sequences that the networks saw.
        series: Every series that was sent, chosen or not, and why.
        candidates_outside_brain: Candidates that were left out because they lie outside the brain.
        slice_angulation_deg: Angle between the axial slices of the diameters and the patient's axial plane, degrees.
        threshold: Probability from which a voxel belongs to the mask.
        min_lesion_volume_mm3: Smaller ones were left out.
        min_peak_probability: Lesions of which no voxel reaches it were left out; up to the threshold it asks nothing.
        operating_point: The offered point that decided, or `unspecified` where the caller gave figures.
        report: The whole typed result, brainmets.v1.SegmentationResult.
        files: File name → bytes of the artefacts asked for.
    """

    job: Job
    lesions: tuple[Lesion, ...]
    statement: str
    findings: tuple[Finding, ...]
    sequences_used: tuple[str, ...]
    series: tuple[SeriesUse, ...]
    candidates_outside_brain: int
    slice_angulation_deg: float
    models: tuple[str, ...]
    threshold: float
    min_lesion_volume_mm3: float
    min_peak_probability: float
    operating_point: str
    report: result_pb2.SegmentationResult
    files: dict[str, bytes] = field(repr=False)

    def nibabel_image(self, file_name: str = MASK_NAME) -> Any:  # Any: nibabel may be absent
        """Return the mask, or the probability, as a nibabel image on the grid of the T1c.

        Raises:
            MissingLibraryError: nibabel is not installed.
        """
        return decode_nibabel(self.files[file_name])

    def simpleitk_image(self, file_name: str = MASK_NAME) -> Any:  # Any: SimpleITK may be absent
        """Return the mask, or the probability, as a SimpleITK image on the grid of the T1c.

        Raises:
            MissingLibraryError: SimpleITK is not installed.
        """
        return decode_simpleitk(self.files[file_name])

    def array(self, file_name: str = MASK_NAME) -> Any:  # Any: NumPy may be absent
        """Return the voxels (I, J, K) of the mask, or of the probability, as a NumPy array in the order of the file.

        Raises:
            MissingLibraryError: nibabel, which reads the file, is not installed.
        """
        return load_library("numpy").asanyarray(self.nibabel_image(file_name).dataobj)

    def save(self, directory: str | Path) -> tuple[Path, ...]:
        """Write the artefacts into a directory, made when absent, and return their paths.

        They are written elsewhere first and moved when all are there: a full disk leaves no half of them, and what was
        there before stays. Files of another result, by the names in `RESULT_NAMES`, do not stay beside these.

        Raises:
            ResultsUnsavedError: They cannot be written; an OSError that names the directory and the job.
        """
        folder = Path(directory)
        # The last part only: a service never chooses where a client writes.
        contents = {Path(file_name).name: content for file_name, content in self.files.items()}
        before = folder.is_dir()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # A new one each time: what a save that was killed has left may be another patient's. Inside of a folder
            # that is there, for that may be a file system of its own, over whose border nothing is moved in one step.
            place = folder if before else folder.parent
            with TemporaryDirectory(prefix=".part-", dir=place, ignore_cleanup_errors=True) as room:
                # A temporary folder is its owner's alone; the results are for whom the caller's umask says.
                unfinished = Path(room) / "results"
                unfinished.mkdir()
                for name, content in contents.items():
                    (unfinished / name).write_bytes(content)
                if before:
                    _replace_results(folder, unfinished, contents)
                else:
                    unfinished.replace(folder)
        except OSError as error:
            raise ResultsUnsavedError(error, folder, job_id=self.job.job_id) from error
        return tuple(folder / name for name in contents)


def _replace_results(folder: Path, new: Path, names: Collection[str]) -> None:
    """Move a result's files into a folder that may hold those of another one.

    The report, by which a folder is known to hold results, goes first and comes last: whatever stops this, no report
    stands beside files of another study.
    """
    for name in (REPORT_NAME, *(name for name in RESULT_NAMES if name not in names)):
        (folder / name).unlink(missing_ok=True)
    for name in sorted(names, key=REPORT_NAME.__eq__):
        (new / name).replace(folder / name)


def segmentation_from_proto(job: job_pb2.Job, files: dict[str, bytes]) -> Segmentation:
    """Read a succeeded job and its artefacts."""
    result = job.result
    return Segmentation(
        job=job_from_proto(job),
        lesions=tuple(_lesion_from_proto(lesion) for lesion in result.lesions),
        statement=result.statement,
        findings=tuple(_finding_from_proto(finding) for finding in result.findings),
        sequences_used=tuple(sequence_name(sequence) for sequence in result.sequences_used),
        series=tuple(_series_use_from_proto(use) for use in result.series),
        candidates_outside_brain=result.candidates_outside_brain,
        slice_angulation_deg=result.slice_angulation_deg,
        models=tuple(model.model_name for model in result.models),
        threshold=result.threshold,
        min_lesion_volume_mm3=result.min_lesion_volume_mm3,
        min_peak_probability=result.min_peak_probability,
        operating_point=word_of(result_pb2.OperatingPoint, result.operating_point, prefix="OPERATING_POINT_"),
        report=result,
        files=files,
    )


def _lesion_from_proto(lesion: result_pb2.Lesion) -> Lesion:
    return Lesion(
        label=lesion.label,
        volume_mm3=lesion.volume_mm3,
        longest_axial_diameter_mm=lesion.longest_axial_diameter_mm,
        perpendicular_axial_diameter_mm=lesion.perpendicular_axial_diameter_mm,
        longest_diameter_mm=lesion.longest_diameter_mm,
        centroid_mm=(lesion.centroid.x_mm, lesion.centroid.y_mm, lesion.centroid.z_mm),
        side=word_of(result_pb2.Side, lesion.side, prefix="SIDE_"),
        mean_probability=lesion.mean_probability,
        max_probability=lesion.max_probability,
        bounding_box=(tuple(lesion.bounding_box.start), tuple(lesion.bounding_box.stop)),
    )


def _finding_from_proto(finding: result_pb2.Finding) -> Finding:
    return Finding(
        code=word_of(result_pb2.FindingCode, finding.code, prefix="FINDING_CODE_").upper(),
        message=finding.message,
        sequence=_sequence_or_none(finding.sequence),
        severity=word_of(result_pb2.Severity, finding.severity, prefix="SEVERITY_"),
    )


def _series_use_from_proto(use: result_pb2.SeriesUse) -> SeriesUse:
    return SeriesUse(
        series_index=use.series_index,
        file_index=use.file_index,
        number=use.series_number if use.HasField("series_number") else None,
        sequence=_sequence_or_none(use.sequence),
        used=use.used,
        reason=word_of(result_pb2.SeriesReason, use.reason, prefix="SERIES_REASON_"),
        message=use.message,
        shape=tuple(use.shape),
        spacing_mm=tuple(use.spacing_mm),
        stated=use.stated,
    )


def _sequence_or_none(sequence: study_pb2.Sequence.ValueType) -> str | None:
    return sequence_name(sequence) if sequence else None
