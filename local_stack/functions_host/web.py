"""HTTP trigger: an ASGI app between uvicorn and a function that takes an azure-functions HttpRequest."""

import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.meta import Datum

from local_stack.functions_host.invocation import converter_for, decode, log_invocation
from local_stack.functions_host.loading import HttpTrigger, LocalFunction

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NO_BODY = (204, 304)


class HttpFront:
    """Serves one catch-all function, buffered both ways as Azure buffers; without a function all is 404."""

    def __init__(self, function: LocalFunction | None, route_prefix: str, max_body_bytes: int) -> None:
        self._function, self._max_body_bytes = function, max_body_bytes
        self._prefix = f"/{route_prefix}" if route_prefix else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])  # uvicorn closes a websocket for this
        status, headers, body = await self._answer(scope, receive)
        if status not in _NO_BODY and not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        function, path = self._function, scope["path"]
        if function is None or not f"{path}/".startswith(f"{self._prefix}/"):
            return 404, [], b""
        assert isinstance(function.trigger, HttpTrigger)
        if scope["method"] not in function.trigger.methods:
            return 404, [], b""  # Azure answers 404 here, not 405
        body = await _read(receive, self._max_body_bytes)
        if body is None:
            return 413, [], b""
        started = time.perf_counter()
        failure: BaseException | None = None
        answer: tuple[int, list[tuple[bytes, bytes]], bytes] = (500, [], b"")
        try:
            answer = _to_answer(await function(self._to_request(scope, body), context=None))
        except Exception as error:
            failure = error
        # The path only: a query may carry what does not belong in a log.
        log_invocation(function.name, f"{scope['method']}:{path}", str(answer[0]), started, error=failure)
        return answer

    def _to_request(self, scope: Scope, body: bytes) -> func.HttpRequest:
        headers = _joined((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        query = scope["query_string"].decode("latin-1")
        host = headers.get("host") or ":".join(map(str, scope["server"]))
        url = f"{scope['scheme']}://{host}{scope['raw_path'].decode('latin-1')}"
        route = scope["path"].removeprefix(self._prefix).lstrip("/")
        request: func.HttpRequest = decode(
            "httpTrigger",
            Datum(
                {
                    "method": Datum(scope["method"], "string"),
                    "url": Datum(f"{url}?{query}" if query else url, "string"),
                    "headers": _data(headers),
                    "query": _data(_joined(parse_qsl(query, keep_blank_values=True))),
                    "params": _data({"route": route}),
                    "body": Datum(body, "bytes"),
                },
                "http",
            ),
        )
        return request


async def _read(receive: Receive, max_bytes: int) -> bytes | None:
    """The whole body; None if it is larger."""
    chunks, size, more = [], 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            break
        chunk, more = event.get("body", b""), event.get("more_body", False)
        size += len(chunk)
        if size > max_bytes:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One value a name, repeated ones joined with a comma, as the Azure host hands them over."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        separator = "; " if name == "cookie" else ","
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined


def _data(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _to_answer(returned: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Through the library's own converter, so that what Azure would drop or add is dropped and added here."""
    datum = converter_for("http").encode(returned, expected_type=None)
    if datum.type == "string":
        return 200, [(b"content-type", b"text/plain; charset=utf-8")], datum.value.encode()
    value = datum.value
    pairs = [(name.lower(), header.value) for name, header in value["headers"].items()]
    for cookies in value["cookies"] or ():
        pairs += [("set-cookie", morsel.OutputString()) for morsel in cookies.values()]
    headers = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in pairs]
    return int(value["status_code"].value), headers, value["body"].value
