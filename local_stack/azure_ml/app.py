"""The emulator's HTTP surface: Azure Resource Manager, run history, MLflow, scoring, and its own test API."""

import json
import logging
import re
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local_stack.azure_ml import events, processes
from local_stack.azure_ml.config import LOCATION, EmulatorConfig, operation_url
from local_stack.azure_ml.endpoints import Autoscaling, EndpointsResource, Models, Monitor, shown, sizes, usages
from local_stack.azure_ml.jobs import JobRunner, JobsResource, call_mlflow
from local_stack.azure_ml.mounts import make_mounts
from local_stack.azure_ml.serving import Proxy, ServingRunner
from local_stack.azure_ml.store import Document, Faults, WorkspaceStore
from local_stack.azure_ml.strict import ArmError, check_body, check_version, user_error
from local_stack.azure_ml.tokens import ARM_AUDIENCE, SCORING_AUDIENCE, check_bearer, check_origin, identity_token

log = logging.getLogger(__name__)

_WORKSPACE = (
    r"(?P<workspace>/subscriptions/[^/]+/resourceGroups/[^/]+/providers/"
    r"Microsoft\.MachineLearningServices/workspaces/[^/]+)"
)
LOCAL = rf"/providers/Microsoft\.MachineLearningServices/locations/{LOCATION}"
METRICS = r"/providers/Microsoft\.Insights/metrics"
AUTOSCALE = r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Insights/autoscaleSettings/{name}"
_ALL_METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS"]
# The SDK waits five to thirty seconds between two requests for the state of an operation unless an answer sets it.
_POLL_SOON = {"x-ms-retry-after-ms": "100"}

_IDENTITY = "/msi/token"

RequestHandler = Callable[[dict[str, str], Document], Response | Document]  # a document is the body of a 200


class AzureMlEmulator:
    """All parts of one emulator and the two threads that move jobs, servers and events on."""

    def __init__(self, config: EmulatorConfig, emit: events.Emit) -> None:
        config.root.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.store = WorkspaceStore(config.root / "azure_ml.db")
        self.faults = Faults(self.store)
        self.jobs = JobsResource(config, self.store)
        mounts = make_mounts(config)
        self.models = Models(self.store, mounts)
        self.endpoints = EndpointsResource(config, self.store, self.models)
        self.serving = ServingRunner(config, self.store, self.endpoints, self.models, self.faults)
        self.monitor = Monitor(self.store, self.endpoints)
        self.proxy = Proxy(config, self.endpoints, self.monitor)
        self.autoscaling = Autoscaling(self.store, self.proxy.busy)
        self.requests: deque[Document] = deque(maxlen=10_000)
        self.calls: set[tuple[str, str, str]] = set()
        self._runner = JobRunner(config, self.store, self.faults, mounts)
        self._sender = events.Sender(self.store, emit, self.faults.take)
        self._stop_requested = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="azure-ml-runner", daemon=True)
        self._routes = self._arm_routes()

    def start(self) -> None:
        self._ticker.start()
        self._sender.start()

    async def stop(self) -> None:
        """Orderly end: no process stays behind. Jobs run again, servers start again with the next start."""
        self._stop_requested.set()
        await run_in_threadpool(self._ticker.join)
        await run_in_threadpool(self._runner.stop)
        await run_in_threadpool(self.serving.stop)
        await run_in_threadpool(self._sender.stop)
        await self.proxy.close()
        processes.kill_children()
        self.store.close()

    def _tick(self) -> None:
        while not self._stop_requested.wait(self.config.tick_s):
            try:
                processes.reap()
                self._runner.tick()
                self.serving.tick()
                self.autoscaling.tick(time.time())
            except Exception:
                log.exception("a tick of the emulator failed")

    def arm(self, method: str, path: str, version: str | None, body: Document) -> Response:
        """One call of the control plane."""
        for route_method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match and route_method == method:
                if method != "GET" and (fault := self.faults.take("refuse")):
                    raise ArmError(int(fault["status"]), fault["code"], fault["message"])
                if not path.startswith("/history/"):
                    check_version(path, version)
                if method == "PUT":
                    check_body(path, version, body)
                answer = handler(match.groupdict(), body)
                return answer if isinstance(answer, Response) else JSONResponse(answer)
        log.error("NOT EMULATED: %s %s", method, path)
        raise ArmError(501, "NotImplemented", f"{method} {path} is not emulated")

    def _arm_routes(self) -> list[tuple[str, re.Pattern[str], RequestHandler]]:
        def route(method: str, path: str, handler: RequestHandler) -> tuple[str, re.Pattern[str], RequestHandler]:
            named = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
            return method, re.compile(named.replace("WS", _WORKSPACE)), handler

        jobs, models, endpoints, store = self.jobs, self.models, self.endpoints, self.store
        model, endpoint = "WS/models/{name}/versions", "WS/onlineEndpoints/{endpoint}"
        deployment, location = endpoint + "/deployments/{name}", "/subscriptions/{id}" + LOCAL
        return [
            route("GET", "WS", self._workspace),
            route("PUT", "WS/jobs/{name}", lambda p, body: _written(*jobs.put(body=body, **p))),
            route("GET", "WS/jobs/{name}", lambda p, _: jobs.view(jobs.get(p["name"]))),
            route("POST", "WS/jobs/{name}/cancel", self._cancel_job),
            route("PUT", model + "/{version}", lambda p, body: _written(*models.put(body=body, **p))),
            route("GET", model + "/{version}", lambda p, _: models.get(p["name"], p["version"])),
            route("GET", model, lambda p, _: _page(models.versions(p["name"]))),
            route("GET", "WS/environments/{name}/versions/{version}", self._get_environment),
            route("GET", location + "/vmSizes", lambda p, _: sizes(self.config)),
            route("GET", location + "/usages", lambda p, _: usages(self.config, store)),
            route("PUT", endpoint, lambda p, body: _started(*endpoints.put(p["workspace"], p["endpoint"], body))),
            route("GET", endpoint, lambda p, _: shown(endpoints.get(p["endpoint"]))),
            route("DELETE", endpoint, lambda p, _: _accepted(endpoints.delete(p["endpoint"]))),
            route("GET", endpoint + "/deployments", self._list_deployments),
            route("PUT", deployment, lambda p, body: _started(*endpoints.put_deployment(body=body, **p))),
            route("GET", deployment, lambda p, _: shown(endpoints.get_deployment(p["endpoint"], p["name"]))),
            route("DELETE", deployment, lambda p, _: _accepted(endpoints.delete_deployment(p["endpoint"], p["name"]))),
            *(
                route("GET", resource + METRICS, lambda p, query: self.monitor.metrics(query=query, **p))
                for resource in (endpoint, deployment)
            ),
            route("PUT", AUTOSCALE, lambda p, body: _written(*self.autoscaling.put(p["name"], body))),
            route("GET", AUTOSCALE, lambda p, _: shown(store.find("autoscale", p["name"]))),
            route(
                "DELETE", AUTOSCALE, lambda p, _: Response(b"", 200 if store.delete("autoscale", p["name"]) else 204)
            ),
            route("GET", r".*/locations/[^/]+/mfeOperationsStatus/{id}", self._operation),
            route("GET", "/history/v1.0WS/runs/{name}/details", self._run_details),
        ]

    def _workspace(self, p: dict[str, str], _: Document) -> Document:
        properties = {"discoveryUrl": f"{self.config.url}/discovery", "provisioningState": "Succeeded"}
        name = p["workspace"].rsplit("/", 1)[1]
        return {"id": p["workspace"], "name": name, "location": LOCATION, "properties": properties}

    def _cancel_job(self, p: dict[str, str], _: Document) -> Response:
        if not self.jobs.cancel(p["name"]):
            return Response(status_code=200)
        return _accepted(f"job-{p['name']}")

    def _get_environment(self, p: dict[str, str], _: Document) -> Document:
        id = f"{p['workspace']}/environments/{p['name']}/versions/{p['version']}"
        if self.config.environment_of(id) is None:
            raise ArmError(404, "UserError", f"environment '{p['name']}:{p['version']}' was not found")
        properties = {"image": f"local/{p['name']}:{p['version']}", "osType": "Linux", "environmentType": "UserCreated"}
        return {"id": id, "name": p["version"], "properties": properties}

    def _list_deployments(self, p: dict[str, str], _: Document) -> Document:
        self.endpoints.get(p["endpoint"])
        return _page([shown(item) for item in self.endpoints.deployments(p["endpoint"])])

    def _operation(self, p: dict[str, str], _: Document) -> Response | Document:
        """Serves both kinds of polling: the status in the body, and 202 until it has ended."""
        if p["id"].startswith("job-"):
            ended = self.jobs.get(p["id"].removeprefix("job-"))["status"] != "CancelRequested"
            operation: Document = {"status": "Succeeded" if ended else "InProgress", "error": None}
        else:
            operation = self.store.find("operation", p["id"])
        body: Document = {"id": p["id"], "name": p["id"], "status": operation["status"]}
        if operation["error"]:
            body["error"] = operation["error"]
        if operation["status"] != "InProgress":
            return body
        return JSONResponse(body, 202, {"Location": operation_url(p["id"]), **_POLL_SOON})

    def _run_details(self, p: dict[str, str], _: Document) -> Document:
        job = self.jobs.get(p["name"])
        error = {"error": {"severity": None, **job["error"]}} if job["error"] else None
        by = {"userName": "local"}  # of the SDK's RunDetails (azure-ai-ml 1.35.2, _restclient/runhistory)
        return {"runId": job["name"], "status": job["status"], "error": error, "logFiles": {}, "lastModifiedBy": by}


def _written(status: int, body: Document) -> Response:
    return JSONResponse(body, status)


def _page(items: list[Document]) -> Document:
    return {"value": items, "nextLink": None}


def _accepted(operation: str) -> Response:
    return Response(status_code=202, headers={"Location": operation_url(operation), **_POLL_SOON})


def _started(status: int, resource: Document) -> Response:
    headers = {"Azure-AsyncOperation": operation_url(resource["emulator"]["operation"]), **_POLL_SOON}
    return JSONResponse(shown(resource), status, headers)


def checked(app: ASGIApp, config: EmulatorConfig, calls: set[tuple[str, str, str]]) -> ASGIApp:
    """Refuses what `tokens` refuses, before any route is chosen: a new route is protected too.

    `calls` gets client id, method and path of what is let in.
    """

    def check(request: Request) -> None:
        check_origin(request.headers, config.port)
        path = request.url.path
        if path == _IDENTITY:  # takes the secret in a header of its own
            return
        audience = None
        if path.startswith("/endpoints/"):
            audience = SCORING_AUDIENCE
        elif not path.startswith(("/_emulator/", "/discovery")):
            audience = ARM_AUDIENCE
        caller = check_bearer(request.headers.get("authorization"), audience, config.secret)
        calls.add((caller, request.method, path))

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        answer = app
        if scope["type"] == "http":
            try:
                check(Request(scope))
            except ArmError as refusal:
                answer = await _arm_error(Request(scope), refusal)
        await answer(scope, receive, send)

    return call


def build_app(config: EmulatorConfig, emit: events.Emit, on_ready: Callable[[], None] = lambda: None) -> Starlette:
    """The emulator as an ASGI app. `emit` takes one CloudEvent and raises if it was not accepted."""
    emulator = AzureMlEmulator(config, emit)

    async def control_plane(request: Request) -> Response:
        body = await _json(request)
        version = request.query_params.get("api-version")
        entry = {"method": request.method, "path": request.url.path, "api_version": version, "body": body}
        emulator.requests.append({**entry, "at": time.time()})
        if request.method == "GET":
            body = dict(request.query_params)
        return await run_in_threadpool(emulator.arm, request.method, request.url.path, version, body)

    async def metrics(request: Request) -> Response:
        arguments = await _json(request) if request.method == "POST" else dict(request.query_params)
        path = request.url.path.split("/api/2.0/mlflow/")[-1]
        return JSONResponse(await run_in_threadpool(call_mlflow, emulator.store, request.method, path, arguments))

    async def identity(request: Request) -> Response:
        return JSONResponse(identity_token(request.query_params, request.headers.get("secret"), config.secret))

    async def discovery(_: Request) -> Response:
        return JSONResponse({"api": config.url, "history": config.url})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        emulator.start()
        on_ready()
        try:
            yield
        finally:
            await emulator.stop()

    routes = [
        Route("/discovery", discovery),
        Route(_IDENTITY, identity),
        Route("/_emulator/{what}", partial(_own_api, emulator), methods=["GET", "POST"]),
        Route("/endpoints/{endpoint}/{path:path}", emulator.proxy.score, methods=_ALL_METHODS),
        Route("/mlflow/{rest:path}", metrics, methods=_ALL_METHODS),
        Route("/{rest:path}", control_plane, methods=_ALL_METHODS),
    ]
    handlers: dict[Any, Any] = {ArmError: _arm_error}
    middleware = [Middleware(checked, config=config, calls=emulator.calls)]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=middleware)
    app.state.emulator = emulator
    return app


async def _own_api(emulator: AzureMlEmulator, request: Request) -> Response:
    """For tests: GET jobs, GET requests, GET calls, POST faults."""
    what = request.path_params["what"]
    if (request.method, what) == ("POST", "faults"):
        await run_in_threadpool(emulator.faults.inject, await _json(request))
        return Response(status_code=204)
    kept: dict[str, Callable[[], Any]] = {
        "jobs": lambda: emulator.store.all("job"),
        "requests": lambda: list(emulator.requests),
        "calls": lambda: sorted(emulator.calls),
    }
    if request.method == "GET" and what in kept:
        return JSONResponse({what: await run_in_threadpool(kept[what])})
    raise ArmError(501, "NotImplemented", f"{request.method} /_emulator/{what} does not exist")


async def _json(request: Request) -> Document:
    text = await request.body()
    if not text:
        return {}
    try:
        body = json.loads(text)
    except ValueError as error:
        raise user_error(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise user_error("the body must be an object")
    return body


async def _arm_error(_: Request, error: ArmError) -> Response:
    body: Document = {"code": error.code, "message": error.message, "target": None, "details": error.details}
    return JSONResponse({"error": body}, error.status)


def listen(port: int) -> socket.socket:
    """A socket on loopback only; port 0 picks a free one."""
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: without it a call takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
