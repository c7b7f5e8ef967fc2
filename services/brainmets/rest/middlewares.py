"""Owns what every request of the REST backend passes: bounds, whose page it comes from, and what each answer says."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmets.client.arguments import RESEARCH_USE_ONLY
from brainmets.rest.problems import answer_problem

NOTICE_HEADER = "Brainmets-Notice"
MARKS = {NOTICE_HEADER: RESEARCH_USE_ONLY, "Cache-Control": "no-store"}
_READING = {"GET", "HEAD"}


class OwnPages:
    """Refuses what a page of another place has its visitor's browser change; it stands behind the check of `Host`.

    A browser sends a form without asking, whosever page it stands on. Programs say nothing of pages.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 in its place, before its body is read."""
        if scope["type"] == "http" and scope["method"] not in _READING and _is_of_another_page(Headers(scope=scope)):
            detail = "expected a program or a page of this address, got a page of another; send it from one of these"
            await answer_problem(HTTPStatus.FORBIDDEN, detail)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_of_another_page(headers: Headers) -> bool:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        # Behind a proxy it holds where addresses differ.
        return site not in {"same-origin", "none"}
    # Browsers name no site to plain HTTP beyond this machine, and old ones never.
    return origin is not None and origin.partition("://")[2] != headers.get("host")


class KnownHosts:
    """Refuses what came under another name, as Starlette judges it, which would answer in plain text."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 in its place, before its body is read."""
        known = False

        async def let_in(_: Scope, __: Receive, ___: Send) -> None:
            nonlocal known
            known = True

        async def drop(_: Message) -> None:
            return

        await TrustedHostMiddleware(let_in, allowed_hosts=self._hosts, www_redirect=False)(scope, receive, drop)
        if known:
            await self._app(scope, receive, send)
        else:
            detail = f"expected a Host of {', '.join(self._hosts)}, got another; call it by one of these names"
            await answer_problem(HTTPStatus.BAD_REQUEST, detail)(scope, receive, send)


class BoundedRequests:
    """Ends the reading of a request that is too large, by what it announces or else by what came.

    FastAPI's own bound would answer in plain text. Whatever reads further is told that the caller has gone, for nothing
    may be raised into an answer that has begun, such as a stream of events; that one just ends.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 where nothing was answered yet."""
        announced_bytes = int(Headers(scope=scope).get("content-length", "0")) if scope["type"] == "http" else 0
        received_bytes = 0
        answering = False

        async def receive_bounded() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            return message if received_bytes <= self._max_bytes else {"type": "http.disconnect"}

        async def send_noted(message: Message) -> None:
            nonlocal answering
            if answering or received_bytes <= self._max_bytes:
                answering = True
                await send(message)

        if announced_bytes <= self._max_bytes:
            await self._app(scope, receive_bounded, send_noted)
        if max(announced_bytes, received_bytes) > self._max_bytes and not answering:
            detail = f"expected a request of at most {self._max_bytes} bytes, got a larger one; send one examination"
            await answer_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)(scope, receive, send)


class CutShort:
    """Answers what the server cancels because it stops; uvicorn would print a traceback of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 503 where nothing was answered yet."""
        answering = False

        async def send_noted(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except asyncio.CancelledError:
            if not answering:
                detail = "expected to answer in time, got a backend that stops; send it again once it runs"
                await answer_problem(HTTPStatus.SERVICE_UNAVAILABLE, detail)(scope, receive, send)


class ResearchUseOnly:
    """Says with every answer what it is for, and that nobody on the way is to keep it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Mark the answer."""

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(MARKS)
            await send(message)

        await self._app(scope, receive, send_marked)
