"""The host: starts what the app's triggers need, stops it without cutting off what runs."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
import uvicorn
from azure.functions.meta import Datum
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local_stack.functions_host import loading
from local_stack.functions_host.triggers import (
    BusReceiver,
    Limits,
    LockKeeper,
    NextOccurrence,
    TimerRunner,
    next_occurrence,
)
from shared.ports import EventBus


class HttpFront:
    """Serves one catch-all function, buffered both ways as Azure buffers; without a function all is 404."""

    def __init__(self, function: loading.LocalFunction | None, route_prefix: str, max_body_bytes: int) -> None:
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
        assert isinstance(function.trigger, loading.HttpTrigger)
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
        loading.log_invocation(
            function.name, f"{request.method}:{path}", str(answer.status_code), started, error=failure
        )
        return answer

    def _to_request(self, request: Request, body: bytes) -> func.HttpRequest:
        route = request.scope["path"].removeprefix(self._prefix).lstrip("/")
        decoded: func.HttpRequest = loading.decode(
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
    datum = func.get_binding_registry().get("http").encode(returned, expected_type=None)
    if datum.type == "string":
        return Response(datum.value, media_type="text/plain")
    value = datum.value
    headers = {name: header.value for name, header in value["headers"].items()}
    answer = Response(value["body"].value, int(value["status_code"].value), headers)
    for cookies in value["cookies"] or ():
        for morsel in cookies.values():
            answer.headers.append("set-cookie", morsel.OutputString())
    return answer


logger = logging.getLogger("local_stack.host")

STOP_GRACE_S = 10.0


class Host:
    """Serves one azure-functions app in this process: messages, timers and HTTP on 127.0.0.1.

    `environment` fills in `%SETTING%` values; `state_folder` is shared by all hosts of the app.
    Raises StartRefused with everything that is wrong with the app.
    """

    def __init__(
        self,
        app: loading.App,
        bus: EventBus,
        *,
        host_json: Path,
        environment: Mapping[str, str],
        state_folder: Path,
        port: int = 0,
        limits: Limits = Limits(),
        next_occurrence: NextOccurrence = next_occurrence,
    ) -> None:
        self._app = app
        functions, config = loading.read_app(app, host_json, environment)
        timers_folder = state_folder / "timers"
        timers_folder.mkdir(parents=True, exist_ok=True)

        self._locks = LockKeeper(bus, config.serviceBus.maxAutoLockRenewalDuration.total_seconds(), limits)
        self._listeners: list[BusReceiver | TimerRunner] = []
        http = None
        for function in functions:
            match function.trigger:
                case loading.BusTrigger():
                    self._listeners.append(BusReceiver(function, bus, self._locks, config, limits))
                case loading.TimerTrigger():
                    timer = TimerRunner(function, timers_folder, limits.lease_retry_s, next_occurrence)
                    self._listeners.append(timer)
                case loading.HttpTrigger():
                    http = function
        self._server = uvicorn.Server(
            uvicorn.Config(
                HttpFront(http, config.http.routePrefix.strip("/"), limits.max_body_bytes),
                lifespan="off",  # the app behind the function has its own, run below
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=int(STOP_GRACE_S),
            )
        )
        self._port = port
        self._stopped_idle: bool | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="host-http", daemon=True)

    def start(self) -> int:
        """Listen, then receive; returns the port. StartRefused if the port is taken or the app fails."""
        try:
            self._socket = socket.create_server(("127.0.0.1", self._port))
        except OSError as error:
            raise loading.StartRefused([f"port {self._port} cannot be opened: {error.strerror}"]) from error
        # asyncio does so for sockets that name their protocol; without it an answer's body waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise loading.StartRefused([f"the app's HTTP part does not start: {self._failure!r}"])
            time.sleep(0.005)
        self._locks.start()
        for listener in self._listeners:
            listener.start()
        return int(self._socket.getsockname()[1])

    def stop(self, grace_s: float = STOP_GRACE_S) -> bool:
        """Receive nothing more and wait for what runs; False if something still ran after `grace_s`.

        What was cut off is not lost: its lock runs out and the message is delivered again.
        """
        if self._stopped_idle is not None:
            return self._stopped_idle
        deadline = time.monotonic() + grace_s
        self._server.should_exit = True
        for listener in self._listeners:
            listener.request_stop()
        idle = all([listener.wait_until_idle(deadline) for listener in self._listeners])
        self._locks.stop()
        self._thread.join(max(1.0, deadline - time.monotonic()))
        self._stopped_idle = idle and not self._thread.is_alive()
        return self._stopped_idle

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        # AsgiFunctionApp starts its app on the first request, twice if two come at once, and shuts it down
        # from __del__ on another loop. Doing both here leaves it nothing to do.
        asgi = self._app if isinstance(self._app, func.AsgiFunctionApp) else None
        if asgi:
            if not await asgi.middleware.notify_startup():
                raise RuntimeError("its ASGI start-up failed")
            asgi.startup_task_done = True
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            if asgi:
                await asgi.middleware.notify_shutdown()
                asgi.startup_task_done = False
