"""What a request may send: nothing before its caller is known, and no more than its route takes."""

from contextlib import suppress

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.http.auth import authenticate
from functions.http.errors import ApiError, answer
from shared.domain.errors import DroptuneError

MAX_BYTES = 1_000_000
MAX_UPLOAD_BYTES = 1_000_000_000  # on a laptop: Azure Functions itself takes 100 MB
UPLOADS = ("/api/datasets/", "/v1/files")


class Bodies:
    """FastAPI reads a body before it asks who sends it, and reads all of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
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
