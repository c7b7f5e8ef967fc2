"""Owns the REST backend as an ASGI application around one client."""

import asyncio
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from brainmets import __version__
from brainmets.client import AsyncClient
from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.rest.events import MAX_STREAMS
from brainmets.rest.middlewares import MARKS, BoundedRequests, CutShort, KnownHosts, OwnPages, ResearchUseOnly
from brainmets.rest.problems import answer_problem, answer_problems
from brainmets.rest.routes import routes
from brainmets.rest.studies import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES

_ANYWHERE = {"0.0.0.0", "[::]"}  # noqa: S104 -- recognised here, not listened on


def build_app(client: AsyncClient, *, host: str, max_study_bytes: int) -> FastAPI:
    """Build the application.

    Args:
        client: Calls the service.
        host: Where it listens, as in a URL. Requests to other names are refused, else any web page could have its
            visitor's browser read results from this machine under a name of its own.
        max_study_bytes: Largest request taken; beyond it the answer is 413.
    """
    app = FastAPI(
        title="brainmets",
        version=__version__,
        description=f"Segments brain metastases in MRI. {RESEARCH_USE_ONLY}",
        form_limits={"max_files": MAX_FILES, "max_fields": MAX_FIELDS, "max_part_size": MAX_FIELD_BYTES},
        # They would run scripts of others beside results.
        docs_url=None,
        redoc_url=None,
    )
    app.state.client = client
    app.state.stopping = asyncio.Event()
    app.state.streams = asyncio.Semaphore(MAX_STREAMS)
    hosts = ["*"] if host in _ANYWHERE else list(dict.fromkeys(("localhost", "127.0.0.1", host)))
    app.add_middleware(OwnPages)
    app.add_middleware(KnownHosts, hosts=hosts)
    app.add_middleware(BoundedRequests, max_bytes=max_study_bytes)
    app.add_middleware(CutShort)
    app.add_middleware(ResearchUseOnly)
    answer_problems(app)
    app.add_exception_handler(Exception, _answer_defect)
    app.include_router(routes)
    return app


def _answer_defect(_: Request, __: Exception) -> JSONResponse:
    """Tell nothing of it, which the log does; marked here, because it is answered outside of all middlewares."""
    detail = "expected an answer, got a defect of this backend, which its log tells; report it"
    return answer_problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, headers=MARKS)
