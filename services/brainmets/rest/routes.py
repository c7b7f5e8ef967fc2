"""Owns the paths of the REST backend: each asks the service one question and answers in JSON."""

# ruff: noqa: FAST003 -- the rule does not see that a dependency takes the path's parameter

from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi.sse import EventSourceResponse, ServerSentEvent

from brainmets.client import AsyncClient, Job, JobState, Model, SegmentationOptions
from brainmets.rest.events import hold_stream, job_events
from brainmets.rest.problems import RESPONSES, NoResultError
from brainmets.rest.records import JobRecord
from brainmets.rest.studies import read_options, received_study, refuse_other_forms
from brainmets.v1 import job_pb2

REPORT = "report_json"
MEDIA_TYPES: Final = {
    "mask_nifti": "application/gzip",
    "probability_nifti": "application/gzip",
    REPORT: "application/json",
    "lesions_csv": "text/csv",
    "overlay_png": "image/png",
}
_FILE: Final[dict[str, Any]] = {  # Any: what OpenAPI holds
    "content": {media_type: {} for media_type in sorted(set(MEDIA_TYPES.values()))}
}
# As the contract has it.
_LONGEST_REQUEST_ID = 128
# Of pages of 50, as the client asks for them.
_MOST_JOBS = 1000


def find_client(request: Request) -> AsyncClient:
    """Return the client that the application was built with."""
    client: AsyncClient = request.app.state.client
    return client


Caller = Annotated[AsyncClient, Depends(find_client)]


async def find_job(job_id: str, client: Caller) -> Job:
    """Return a job, before anything of it is answered."""
    return await client.job(job_id)


KnownJob = Annotated[Job, Depends(find_job)]
routes = APIRouter(responses=RESPONSES)


@routes.post("/v1/studies", status_code=HTTPStatus.ACCEPTED, dependencies=[Depends(refuse_other_forms)])
async def submit_study(
    response: Response,
    client: Caller,
    files: Annotated[
        list[UploadFile],
        File(
            description="NIfTI files named *-t1c.nii.gz and so on, alike before it, or DICOM files, loose or in a zip; "
            "one that would not be used is refused."
        ),
    ],
    options: Annotated[SegmentationOptions, Depends(read_options)],
    request_id: Annotated[
        str | None,
        Form(
            description="Idempotency key, printable ASCII: the same key and files, ordered alike, answer the same job.",
            max_length=_LONGEST_REQUEST_ID,
            pattern="^[ -~]*$",
        ),
    ] = None,
) -> JobRecord:
    """Send a study; its job is answered at once, and its Location."""
    async with received_study(files) as study:
        job = await client.submit(study, options, request_id=request_id)
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return JobRecord.of(job)


@routes.get("/v1/jobs")
async def list_jobs(client: Caller, limit: Annotated[int, Query(ge=1, le=_MOST_JOBS)] = 50) -> list[JobRecord]:
    """List jobs, newest first."""
    records: list[JobRecord] = []
    async for job in client.jobs(page_size=min(limit, 50)):
        records.append(JobRecord.of(job))
        if len(records) == limit:
            break
    return records


@routes.get("/v1/jobs/{job_id}")
async def read_job(job: KnownJob) -> JobRecord:
    """Tell where a job is."""
    return JobRecord.of(job)


@routes.get("/v1/jobs/{job_id}/events", response_class=EventSourceResponse, dependencies=[Depends(hold_stream)])
async def watch_job(request: Request, client: Caller, job: KnownJob) -> AsyncIterable[ServerSentEvent]:
    """Tell each change of a job as an event `job`; an event `problem` tells why it cannot be watched on."""
    async for event in job_events(client, job.job_id, request.app.state.stopping):
        yield event


@routes.post("/v1/jobs/{job_id}/cancel")
async def cancel_job(client: Caller, job_id: str) -> JobRecord:
    """Cancel a job; one that has ended is answered as it is."""
    return JobRecord.of(await client.cancel(job_id))


@routes.delete("/v1/jobs/{job_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_job(client: Caller, job_id: str) -> None:
    """Erase a job with its input and results."""
    await client.delete(job_id)


@routes.get("/v1/jobs/{job_id}/result", response_class=Response, responses={200: {"content": {"application/json": {}}}})
async def read_result(client: Caller, job: KnownJob) -> Response:
    """Return the typed result, brainmets.v1.SegmentationResult as JSON. Research use only; not for diagnosis."""
    _refuse_without_result(job)
    _, content = await client.download(job.job_id, job_pb2.ARTIFACT_KIND_REPORT_JSON)
    return Response(content, media_type=MEDIA_TYPES[REPORT])


@routes.get("/v1/jobs/{job_id}/artifacts/{file_name}", response_class=Response, responses={200: _FILE})
async def download_artifact(client: Caller, job: KnownJob, file_name: str) -> Response:
    """Return one result file. Research use only; not for diagnosis."""
    _refuse_without_result(job)
    kinds = {artifact.file_name: artifact.kind for artifact in job.artifacts}
    if file_name not in kinds:
        raise HTTPException(
            HTTPStatus.NOT_FOUND, f"expected one of {', '.join(kinds)}, got another name; ask for one of these"
        )
    kind = kinds[file_name]
    _, content = await client.download(job.job_id, job_pb2.ArtifactKind.Value(f"ARTIFACT_KIND_{kind.upper()}"))
    head = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(content, media_type=MEDIA_TYPES.get(kind, "application/octet-stream"), headers=head)


def _refuse_without_result(job: Job) -> None:
    if job.error is not None:
        raise NoResultError(f"expected a job that has succeeded, got one that failed: {job.error.message}")
    if job.state is not JobState.SUCCEEDED:
        remedy = "send the study again" if job.state.is_final else f"wait for it at /v1/jobs/{job.job_id}/events"
        raise NoResultError(f"expected a job that has succeeded, got one that is {job.state}; {remedy}")


@routes.get("/v1/models")
async def list_models(client: Caller) -> tuple[Model, ...]:
    """List the networks the service uses."""
    return await client.models()


@routes.get("/v1/models/{model_name}/card")
async def read_model_card(client: Caller, model_name: str) -> dict[str, Any]:  # Any: what JSON holds
    """Return a network's model card: data, metrics, calibration, known failures."""
    return await client.model_card(model_name)


@routes.get("/healthz")
async def tell_health(client: Caller) -> dict[str, str]:
    """Tell whether the service answers; else a problem of status 503."""
    await anext(client.jobs(page_size=1), None)
    return {"status": "ok"}
