"""What went wrong, as HTTP tells it."""

import grpc
import httpx
import pytest
from fastapi import FastAPI

from brainmets.client.errors import error_from_status
from brainmets.imaging.errors import BrainmetsError, OverloadedError, QualityRefusedError, UnknownJobError
from brainmets.rest.problems import STATUSES, answer_problems
from brainmets.runtime.grpc_errors import STATUS_CODES, to_status


async def answer(error: BrainmetsError) -> httpx.Response:
    """Return what is answered where the service raises an error."""
    app = FastAPI()
    answer_problems(app)

    @app.get("/")
    async def fail() -> None:
        raise error_from_status(to_status(error))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        return await http.get("/")


@pytest.mark.parametrize(("kind", "status"), [(QualityRefusedError, 422), (UnknownJobError, 404)])
async def test_an_error_keeps_the_services_words(kind: type[BrainmetsError], status: int) -> None:
    """Its reason, its sentence and its details."""
    told = (await answer(kind("Wrong", expected="this", got="that", remedy="mend it", file_index=2))).json()
    assert (told["status"], told["reason"]) == (status, kind.reason)
    assert told["detail"] == "Wrong (file 2): expected this, got that; mend it"
    assert (told["metadata"]["expected"], told["metadata"]["file_index"]) == ("this", "2")


async def test_a_full_service_says_when_to_come_back() -> None:
    """In whole seconds, never too early."""
    full = OverloadedError("Full", expected="room", got="none", remedy="retry", retry_after_s=2.5)
    told = await answer(full)
    assert (told.status_code, told.headers["Retry-After"]) == (429, "3")


def test_whoever_can_mend_it_is_told_so() -> None:
    """The caller by 4xx, the operator by 5xx, as gRPC's own codes have it; what is not listed is 500."""
    callers = {code for code, status in STATUSES.items() if status < 500}
    services = {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.DATA_LOSS,
    }
    assert set(STATUS_CODES.values()) - callers == services
