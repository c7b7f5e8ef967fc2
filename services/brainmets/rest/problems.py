"""Owns how what went wrong is told over HTTP: as RFC 9457 problems, with the service's own words."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import grpc
import typer
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from brainmets.client.errors import ServiceError, StudyPathError
from brainmets.client.names import SEQUENCES

MEDIA_TYPE = "application/problem+json"
STATUSES: Final[Mapping[grpc.StatusCode, HTTPStatus]] = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.CANCELLED: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.UNPROCESSABLE_ENTITY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    # Something answers there that is no service of ours.
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.BAD_GATEWAY,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


METADATA = (
    "Such as expected, got, remedy, and file_index: which of the form's files it is about, from 0. Loose DICOM files "
    "are sent as one archive, whose number is 0."
)


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it; `reason` and `metadata` are the service's own."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = Field(description="One sentence: what was expected, what came and what to do.")
    reason: str = Field(description="A stable upper-case word.")
    metadata: dict[str, str] = Field(default={}, description=METADATA)


class NoResultError(Exception):
    """A job's result is asked for, and there is none."""


# For the OpenAPI description; 422 would else be FastAPI's own, which is never sent.
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {  # Any: what OpenAPI holds
    status: {
        "description": "What went wrong, as RFC 9457 has it.",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
    for status in ("422", "default")
}


def problem_of(error: ServiceError) -> Problem:
    """Tell an error of the service."""
    status = STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return _problem(status, error.message, reason=error.reason, metadata=error.metadata)


def answer_problems(app: FastAPI) -> None:
    """Answer everything that is raised on purpose by its problem."""

    @app.exception_handler(ServiceError)
    def _of_service(_: Request, error: ServiceError) -> JSONResponse:
        retry = {} if error.retry_after_s is None else {"Retry-After": str(math.ceil(error.retry_after_s))}
        return _answer(problem_of(error), headers=retry)

    @app.exception_handler(StudyPathError)
    def _of_study(_: Request, error: StudyPathError) -> JSONResponse:
        return answer_problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), reason="UNUSABLE_STUDY")

    @app.exception_handler(NoResultError)
    def _of_result(_: Request, error: NoResultError) -> JSONResponse:
        return answer_problem(HTTPStatus.CONFLICT, str(error), reason="NO_RESULT")

    @app.exception_handler(TimeoutError)
    def _of_time(_: Request, __: TimeoutError) -> JSONResponse:
        detail = "expected the service to take the study in time, got no answer; send it again with its request_id"
        return answer_problem(HTTPStatus.GATEWAY_TIMEOUT, detail)

    @app.exception_handler(typer.BadParameter)
    def _of_series(_: Request, __: typer.BadParameter) -> JSONResponse:
        # Its own words are for a command line, and repeat what came.
        detail = f"expected series as t1c=5, each of {', '.join(SEQUENCES)} once, got another; mend it"
        return answer_problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)

    @app.exception_handler(RequestValidationError)
    def _of_request(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
        detail = f"expected a request as /openapi.json describes it, got: {'; '.join(faults)}"
        return answer_problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)

    @app.exception_handler(HTTPException)
    def _of_http(_: Request, error: HTTPException) -> JSONResponse:
        return answer_problem(HTTPStatus(error.status_code), error.detail, headers=error.headers)


def answer_problem(
    status: HTTPStatus, detail: str, *, reason: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Answer a problem of our own; its reason is the status's name unless said."""
    return _answer(_problem(status, detail, reason=reason), headers=headers)


def _problem(
    status: HTTPStatus, detail: str, *, reason: str | None = None, metadata: dict[str, str] | None = None
) -> Problem:
    return Problem(
        title=status.phrase, status=status, detail=detail, reason=reason or status.name, metadata=metadata or {}
    )


def _answer(problem: Problem, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem.model_dump(), problem.status, headers=headers, media_type=MEDIA_TYPE)
