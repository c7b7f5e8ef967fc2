"""Owns a cohort: all studies of a folder, segmented a few at a time, with a table of what became of each.

A cohort that was stopped goes on where it was: studies that have their results are left alone, and one that was sent
before is found again by its request identifier instead of being computed twice. Results are a study's where they are of
its very bytes; those of others, under its name, are replaced by its own. A service that is away or full is waited for.
"""

from __future__ import annotations

import asyncio
import csv
import uuid
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from brainmets.client.earlier_results import check_options, name_point, read_earlier_report
from brainmets.client.errors import EarlierResultsError, ServiceError, StudyPathError
from brainmets.client.jobs import JobState
from brainmets.client.patience import Patience
from brainmets.client.study_digest import digest_study
from brainmets.client.study_files import find_study_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from brainmets.client.aio import AsyncClient
    from brainmets.client.jobs import Job
    from brainmets.client.options import SegmentationOptions
    from brainmets.client.study_files import StudyFile
    from brainmets.v1 import result_pb2

SUMMARY_NAME = "summary.csv"
# Studies under way: enough that the service always has one to go on with.
STUDIES_AT_A_TIME = 4
_NAMESPACE = uuid.UUID("8c4a2f3e-6b0d-4a55-9a0e-2f0c8d3e7b11")
# What a spreadsheet computes where a cell begins with it (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# Of a network's SHA-256, as many digits as tell networks apart.
_DIGEST_DIGITS = 12


class Outcome(StrEnum):
    """What became of a study."""

    SEGMENTED = "segmented"
    DONE_BEFORE = "done before"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CohortLine:
    """A study's line of the summary.

    Attributes:
        study: Its file's or folder's name in the cohort.
        outcome: What became of it.
        lesions: How many were found; None where it failed, but with OTHER_OPTIONS: then, as all below, what those found
            that lie there.
        volume_mm3: Their volume together.
        reason: The service's word for why it failed; STUDY_CHANGED where results of other files were replaced.
        message: The sentence that goes with it.
        operating_point: Which of the offered points decided; `unspecified` where the caller gave figures.
        threshold: Probability from which a voxel belonged to the mask.
        min_peak_probability: Lesions of which no voxel reached it were left out.
        min_lesion_volume_mm3: Smaller ones were left out.
        software_version: The service's release that segmented it, perhaps an earlier one than the others'.
        networks: What it used, each as name@digest, by the beginning of its file's SHA-256.
        intended_use: What the result is for, and what not.
    """

    study: str
    outcome: Outcome
    lesions: int | None = None
    volume_mm3: float | None = None
    reason: str = ""
    message: str = ""
    operating_point: str = ""
    threshold: float | None = None
    min_peak_probability: float | None = None
    min_lesion_volume_mm3: float | None = None
    software_version: str = ""
    networks: str = ""
    intended_use: str = ""


def find_studies(folder: Path, *, output: Path) -> tuple[Path, ...]:
    """Return the studies of a folder, by name: each file or folder in it that is not hidden and not the results'.

    Raises:
        StudyPathError: It is no folder, or is empty.
    """
    if not folder.is_dir():
        raise StudyPathError(f"expected a folder of studies, got {folder}")
    studies = tuple(
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.resolve() != output.resolve()
    )
    if not studies:
        raise StudyPathError(f"expected studies in {folder}, got an empty folder")
    return studies


async def segment_cohort(
    client: AsyncClient,
    studies: Iterable[Path],
    options: SegmentationOptions,
    *,
    output: Path,
    on_line: Callable[[CohortLine], None],
    on_waiting: Callable[[], None],
) -> tuple[CohortLine, ...]:
    """Segment every study into a folder of its name, and write the summary anew after each.

    A study that is refused or fails does not stop the others.

    Args:
        client: Calls the service; from then on all its calls share one patience.
        studies: Paths as `find_study_files` takes them.
        options: How to segment.
        output: An existing folder; it will hold one folder a study, and `summary.csv`.
        on_line: Called with each study's line when it is known.
        on_waiting: Called each time that the service is out of reach or full, and is waited for from then on.

    Raises:
        OSError: Results or the summary cannot be written; what the service has begun, another run takes up.
    """
    turn = asyncio.Semaphore(STUDIES_AT_A_TIME)
    lines: dict[str, CohortLine] = {}
    # All studies have one line, and give it up together.
    client.patience = Patience(reached=True, while_full=True, on_waiting=on_waiting)

    async def run(study: Path) -> None:
        async with turn:
            line = await _segment(client, study, options, output=output / study.name)
        lines[study.name] = line
        write_summary(lines.values(), output / SUMMARY_NAME)
        on_line(line)

    try:
        async with asyncio.TaskGroup() as group:
            for study in studies:
                group.create_task(run(study))
    except ExceptionGroup as errors:
        # The first one stopped the others; the group around it tells a reader nothing.
        raise errors.exceptions[0] from None
    return tuple(lines.values())


def write_summary(lines: Iterable[CohortLine], path: Path) -> None:
    """Write the table of a cohort, by study, beside its place and move it there in one step."""
    names = [field.name for field in fields(CohortLine)]
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(names)
        for line in sorted(lines, key=lambda each: each.study):
            table.writerow(_cell(getattr(line, name)) for name in names)
    unfinished.replace(path)


def _cell(value: str | float | None) -> str | float:
    """Return what a spreadsheet shows as it is: text that it would take for a formula stands behind an apostrophe."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


async def _segment(client: AsyncClient, study: Path, options: SegmentationOptions, *, output: Path) -> CohortLine:
    earlier = None
    try:
        earlier = read_earlier_report(output)
        files = find_study_files(study)
        input_sha256 = await asyncio.to_thread(digest_study, files)
        if earlier is not None and earlier.input_sha256 == input_sha256:
            check_options(earlier, options, folder=output)
            return _describe(study.name, Outcome.DONE_BEFORE, earlier)
        job = await _submit(client, files, options, _find_request_id(input_sha256, options, output))
        segmentation = await client.wait(job.job_id)
    except (EarlierResultsError, StudyPathError, ServiceError, OSError, ValueError) as error:
        line = _describe_failure(study.name, error)
        if earlier is None:
            return line
        if isinstance(error, EarlierResultsError):
            # They stay, and so does what the table says of them.
            told = _describe(study.name, Outcome.FAILED, earlier)
            return replace(told, reason=line.reason, message=line.message)
        return replace(line, message=f"{line.message.rstrip('.')}; the results in {output} are of an earlier run")
    segmentation.save(output)
    line = _describe(study.name, Outcome.SEGMENTED, segmentation.report)
    if earlier is None:
        return line
    message = f"the results that lay in {output} were of other files; those of these files have taken their place"
    return replace(line, reason="STUDY_CHANGED", message=message)


async def _submit(
    client: AsyncClient, files: Sequence[StudyFile], options: SegmentationOptions, request_id: str
) -> Job:
    """Send a study, or find it again; one that failed in an earlier run is tried anew, for this run asks for that."""
    job = await client.submit(files, options, request_id=request_id)
    while job.state.is_final and job.state is not JobState.SUCCEEDED:
        request_id = _name_request(request_id, job.job_id)
        job = await client.submit(files, options, request_id=request_id)
    return job


def _find_request_id(input_sha256: str, options: SegmentationOptions, output: Path) -> str:
    """Return what is the same again after a stop: for the same bytes, options and place.

    The service refuses other bytes under the same request, such as those of a study that was mended meanwhile.
    """
    return _name_request(output.resolve(), options, input_sha256)


def _name_request(*parts: object) -> str:
    return str(uuid.uuid5(_NAMESPACE, " ".join(str(part) for part in parts)))


def _describe_failure(study: str, error: Exception) -> CohortLine:
    match error:
        case EarlierResultsError():
            reason, message = error.reason, str(error)
        case StudyPathError():
            reason, message = "STUDY_PATH", str(error)
        case ServiceError():
            reason, message = error.reason, error.message
        case _:
            # Not the error's own words: they hold the name of a file, which may be a patient's.
            got = error.strerror if isinstance(error, OSError) else "content that cannot be sent"
            reason, message = "STUDY_UNREADABLE", f"expected files that can be read, got “{got}”; see if they are whole"
    return CohortLine(study, Outcome.FAILED, reason=reason, message=message)


def _describe(study: str, outcome: Outcome, report: result_pb2.SegmentationResult) -> CohortLine:
    volumes_mm3 = [lesion.volume_mm3 for lesion in report.lesions]
    return CohortLine(
        study,
        outcome,
        lesions=len(volumes_mm3),
        volume_mm3=round(sum(volumes_mm3), 1),
        operating_point=name_point(report),
        threshold=report.threshold,
        min_peak_probability=report.min_peak_probability,
        min_lesion_volume_mm3=report.min_lesion_volume_mm3,
        software_version=report.software_version,
        networks=" ".join(f"{model.model_name}@{model.onnx_sha256[:_DIGEST_DIGITS]}" for model in report.models),
        intended_use=report.intended_use,
    )
