"""Who changed what, and who was refused: a line of the log for each write and each answer 401 or 403.

It has no token, no query and no body. Application Insights keeps it as any line.
"""

import json
import logging
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from functions.http.auth import CALLER
from shared.domain.errors import shortened

log = logging.getLogger(__name__)

READS = ("GET", "HEAD", "OPTIONS")
MAX_CHARACTERS = 200


class Audit:
    """Outermost: it sees what every other part answers, and marks it as of the type that it says."""

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
