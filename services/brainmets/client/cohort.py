"""Owns a cohort: all studies of a folder, segmented a few at a time, with a table of what became of each.

A cohort that was stopped goes on where it was: studies that have their results are left alone, and one that was sent
before is found again by its request identifier instead of being computed twice. A service that is away or full is
waited for.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import uuid
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from google.protobuf import json_format

from brainmets.client.errors import ServiceError, StudyPathError
from brainmets.client.jobs import JobState
from brainmets.client.names import word_of
from brainmets.client.patience import Patience
from brainmets.client.study_files import find_study_files
from brainmets.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from brainmets.client.aio import AsyncClient
    from brainmets.client.jobs import Job
    from brainmets.client.options import SegmentationOptions
    from brainmets.client.study_files import StudyFile

SUMMARY_NAME = "summary.csv"
REPORT_NAME = "report.json"
# Studies under way: enough that the service always has one to go on with.
STUDIES_AT_A_TIME = 4
_NAMESPACE = uuid.UUID("8c4a2f3e-6b0d-4a55-9a0e-2f0c8d3e7b11")


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
        lesions: How many were found; None where it failed.
        volume_mm3: Their volume together.
        reason: The service's word for why it failed.
        message: The sentence that goes with it.
        operating_point: Which of the offered points decided; `unspecified` where the caller gave figures.
    """

    study: str
    outcome: Outcome
    lesions: int | None = None
    volume_mm3: float | None = None
    reason: str = ""
    message: str = ""
    operating_point: str = ""


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
            values = (getattr(line, name) for name in names)
            table.writerow("" if value is None else value for value in values)
    unfinished.replace(path)


async def _segment(client: AsyncClient, study: Path, options: SegmentationOptions, *, output: Path) -> CohortLine:
    if (line := _read_line(study, output, options)) is not None:
        return line
    try:
        files = find_study_files(study)
        request_id = await asyncio.to_thread(_find_request_id, files, options, output)
        job = await _submit(client, files, options, request_id)
        segmentation = await client.wait(job.job_id)
    except (StudyPathError, ServiceError, OSError, ValueError) as error:
        return _describe_failure(study.name, error)
    segmentation.save(output)
    return _describe(study.name, Outcome.SEGMENTED, segmentation.report)


async def _submit(
    client: AsyncClient, files: Sequence[StudyFile], options: SegmentationOptions, request_id: str
) -> Job:
    """Send a study, or find it again; one that failed in an earlier run is tried anew, for this run asks for that."""
    job = await client.submit(files, options, request_id=request_id)
    while job.state.is_final and job.state is not JobState.SUCCEEDED:
        request_id = _name_request(request_id, job.job_id)
        job = await client.submit(files, options, request_id=request_id)
    return job


def _read_line(study: Path, output: Path, options: SegmentationOptions) -> CohortLine | None:
    """Return the line of a study that has its results, from its report; None where it has none."""
    if not output.is_dir():
        return None
    report = result_pb2.SegmentationResult()
    try:
        json_format.Parse((output / REPORT_NAME).read_bytes(), report, ignore_unknown_fields=True)
    except (OSError, json_format.ParseError):
        message = f"expected results of an earlier run in {output}, got a folder without a readable {REPORT_NAME}"
        return CohortLine(study.name, Outcome.FAILED, reason="RESULTS_UNREADABLE", message=message)
    for name, asked, got in _compare(options, report):
        message = f"expected results of {name} {asked}, got those of {got} in {output}; name another --output"
        return CohortLine(study.name, Outcome.FAILED, reason="OTHER_OPTIONS", message=message)
    return _describe(study.name, Outcome.DONE_BEFORE, report)


def _compare(
    options: SegmentationOptions, report: result_pb2.SegmentationResult
) -> Iterator[tuple[str, object, object]]:
    """Yield what was asked for and what there is instead, as far as a report tells."""
    figures = {
        name: getattr(options, name)
        for name in ("threshold", "min_lesion_volume_mm3", "min_peak_probability")
        if getattr(options, name) is not None
    }
    for name, asked in figures.items():
        if (got := getattr(report, name)) != asked:
            yield name, f"{asked:g}", f"{got:g}"
    # Figures have no name; without them the service's default is balanced.
    point = "unspecified" if figures else options.operating_point or "balanced"
    if (got := _name_point(report)) != point:
        yield "operating point", point, got
    models = tuple(model.model_name for model in report.models)
    if options.model != (models[0] if len(models) == 1 else "mean"):
        yield "model", options.model, " and ".join(models)


def _find_request_id(files: Sequence[StudyFile], options: SegmentationOptions, output: Path) -> str:
    """Return what is the same again after a stop: for the same bytes, options and place.

    The service refuses other bytes under the same request, such as those of a study that was mended meanwhile.
    """
    digest = hashlib.sha256()
    for file in files:
        content = hashlib.sha256()
        for chunk in file.chunks():
            content.update(chunk)
        digest.update(f"{file.sequence} {file.file_format} {content.hexdigest()}\n".encode())
    return _name_request(output.resolve(), options, digest.hexdigest())


def _name_request(*parts: object) -> str:
    return str(uuid.uuid5(_NAMESPACE, " ".join(str(part) for part in parts)))


def _describe_failure(study: str, error: Exception) -> CohortLine:
    match error:
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
        operating_point=_name_point(report),
    )


def _name_point(report: result_pb2.SegmentationResult) -> str:
    return word_of(result_pb2.OperatingPoint, report.operating_point, prefix="OPERATING_POINT_")
