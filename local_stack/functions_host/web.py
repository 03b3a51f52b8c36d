"""HTTP trigger: an ASGI app between uvicorn and a function that takes an azure-functions HttpRequest."""

import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.meta import Datum
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_stack.functions_host.invocation import converter_for, decode, log_invocation
from local_stack.functions_host.loading import HttpTrigger, LocalFunction


class HttpFront:
    """Serves one catch-all function, buffered both ways as Azure buffers; without a function all is 404."""

    def __init__(self, function: LocalFunction | None, route_prefix: str, max_body_bytes: int) -> None:
        self._function, self._max_body_bytes = function, max_body_bytes
        self._prefix = f"/{route_prefix}" if route_prefix else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])  # uvicorn closes a websocket for this
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        function, path = self._function, request.scope["path"]
        if function is None or not f"{path}/".startswith(f"{self._prefix}/"):
            return Response(status_code=404)
        assert isinstance(function.trigger, HttpTrigger)
        if request.method not in function.trigger.methods:
            return Response(status_code=404)  # Azure answers 404 here, not 405
        body = await _read(request, self._max_body_bytes)
        if body is None:
            return Response(status_code=413)
        started = time.perf_counter()
        failure: BaseException | None = None
        answer = Response(status_code=500)
        try:
            answer = _to_answer(await function(self._to_request(request, body), context=None))
        except Exception as error:
            failure = error
        # The path only: a query may carry what does not belong in a log.
        log_invocation(function.name, f"{request.method}:{path}", str(answer.status_code), started, error=failure)
        return answer

    def _to_request(self, request: Request, body: bytes) -> func.HttpRequest:
        route = request.scope["path"].removeprefix(self._prefix).lstrip("/")
        decoded: func.HttpRequest = decode(
            "httpTrigger",
            Datum(
                {
                    "method": Datum(request.method, "string"),
                    "url": Datum(str(request.url), "string"),
                    "headers": _data(_joined(request.headers.items())),
                    "query": _data(_joined(parse_qsl(request.url.query, keep_blank_values=True))),
                    "params": _data({"route": route}),
                    "body": Datum(body, "bytes"),
                },
                "http",
            ),
        )
        return decoded


async def _read(request: Request, max_bytes: int) -> bytes | None:
    """The whole body; None if it is larger."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                return None
    except ClientDisconnect:  # nobody reads the answer
        return None
    return bytes(body)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One value a name, repeated ones joined with a comma, as the Azure host hands them over."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        separator = "; " if name == "cookie" else ","
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined


def _data(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _to_answer(returned: Any) -> Response:
    """Through the library's own converter, so that what Azure would drop or add is dropped and added here."""
    datum = converter_for("http").encode(returned, expected_type=None)
    if datum.type == "string":
        return Response(datum.value, media_type="text/plain")
    value = datum.value
    headers = {name: header.value for name, header in value["headers"].items()}
    answer = Response(value["body"].value, int(value["status_code"].value), headers)
    for cookies in value["cookies"] or ():
        for morsel in cookies.values():
            answer.headers.append("set-cookie", morsel.OutputString())
    return answer
