"""What stands before every route. `Bodies`: what a request may send. `Audit`: who changed what, and who was refused."""

import json
import logging
from contextlib import suppress
from http import HTTPStatus

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.http.auth import CALLER, authenticate
from functions.http.errors import ApiError, answer
from shared.domain.errors import DroptuneError, shortened

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000
MAX_UPLOAD_BYTES = 1_000_000_000  # on a laptop: Azure Functions itself takes 100 MB
UPLOADS = ("/api/datasets/", "/v1/files")
READS = ("GET", "HEAD", "OPTIONS")
MAX_CHARACTERS = 200  # of a text in a line of the log


class Bodies:
    """Lets nothing in before its caller is known, and no more than its route takes: FastAPI reads a body before it asks
    who sends it, and reads all of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        request, left = Request(scope), MAX_UPLOAD_BYTES if scope["path"].startswith(UPLOADS) else MAX_BYTES
        too_large = f"this takes at most {left} bytes"

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, too_large)
            return message

        try:
            with suppress(DroptuneError):  # a wrong setting, which the route's own look states
                await run_in_threadpool(authenticate, request)
        except ApiError as error:
            await answer(request, error.status, error.problem)(scope, receive, send)
            return
        await self._app(scope, counted, send)


class Audit:
    """A line of the log for each write and each answer 401 or 403, without token, query or body. Application Insights
    keeps it as any line. Outermost: it sees what every other part answers, and marks it as of the type that it says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            if scope["type"] == "http" and (scope["method"] not in READS or status in (401, 403)):
                log.info("audit %s", json.dumps(_line(scope, status)))


def _line(scope: Scope, status: int) -> dict[str, object]:
    """What was refused before a route was looked for has a path alone."""
    caller, route = scope.get(CALLER), getattr(scope.get("route"), "path", None)
    return {
        "by_id": caller.id if caller else None,
        "by": caller.name if caller else None,
        "method": scope["method"],
        "route": route,
        "path": shortened(scope["path"], MAX_CHARACTERS),
        "target": {key: shortened(str(value), MAX_CHARACTERS) for key, value in scope.get("path_params", {}).items()},
        "status": status,
    }
