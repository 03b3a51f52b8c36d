"""What runs behind the endpoints: one server process per deployment, the proxy that splits traffic, and what vLLM
refuses before it answers, in its words: the server of a laptop reads on beyond every limit."""

import json
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from local_stack.azure_ml import processes
from local_stack.azure_ml.config import EmulatorConfig, Environment
from local_stack.azure_ml.endpoints import EndpointsResource, Models, Monitor
from local_stack.azure_ml.store import Document, Faults, WorkspaceStore
from local_stack.azure_ml.strict import ArmError, seconds
from local_stack.processes import free_port
from shared.domain.prompts import prompt_before
from shared.rendering.bundle import read_bundle_folder
from shared.rendering.rows import render_prompt, tokenize
from shared.tls import tls_context

DEPLOYMENT_HEADER = "azureml-model-deployment"
_CONTAINER_STATUS = "ms-azureml-model-error-statuscode"
# Azure docs, "CLI (v2) managed online deployment YAML schema", ProbeSettings: defaults of both probes.
_PROBE_DEFAULTS = {"initialDelay": "PT10S", "period": "PT10S", "timeout": "PT2S", "failureThreshold": 30}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "authorization"}


class ServingRunner:
    """Ends the operations on endpoints and keeps the deployments' servers running."""

    def __init__(
        self,
        config: EmulatorConfig,
        store: WorkspaceStore,
        endpoints: EndpointsResource,
        models: Models,
        faults: Faults,
    ) -> None:
        self._config, self._store, self._faults = config, store, faults
        self._endpoints, self._models = endpoints, models
        self._liveness: dict[Path, tuple[float, int]] = {}  # by attempt: when the probe is due, and how often it failed
        self._http = httpx.Client(verify=tls_context(), timeout=1.0, trust_env=False)

    def tick(self) -> None:
        for endpoint in self._store.all("endpoint"):
            self._step_endpoint(endpoint["name"])
        for deployment in self._store.all("deployment"):
            # Outside the transaction: the model may be large, the probe of a busy server may take a second.
            if "port" not in deployment["emulator"]:
                model = self._models.uri(deployment["properties"]["model"])
                self._models.mounts.fetch(model, self._place(deployment))
            ready = deployment["properties"]["provisioningState"] == "Creating" and self._answers(deployment, 1.0)
            dead = self._dead(deployment)
            with self._store.transaction():
                current = self._store.get("deployment", _key(deployment))
                if current is None:
                    continue
                state = current["properties"]["provisioningState"]
                if state == "Creating":
                    self._create(current, ready, dead)
                elif state == "Succeeded" and (dead or not self._running(current)):
                    self._restart(current)
                elif state == "Deleting":
                    self._delete(current)

    def stop(self) -> None:
        """End every server; they start again with the emulator."""
        for deployment in self._store.all("deployment"):
            processes.send_signal(self._claim(deployment), signal.SIGKILL)
        self._http.close()

    def _step_endpoint(self, name: str) -> None:
        with self._store.transaction():
            endpoint = self._store.get("endpoint", name)
            if endpoint is None:
                return
            state = endpoint["properties"]["provisioningState"]
            if state == "Creating" and self._faults.delays("slow_endpoint", endpoint["emulator"]):
                self._store.put("endpoint", name, endpoint)
            elif state in ("Creating", "Updating"):
                endpoint["properties"]["provisioningState"] = "Succeeded"
                endpoint["properties"]["traffic"] = endpoint["emulator"]["requested_traffic"]
                self._store.put("endpoint", name, endpoint)
                self._end(endpoint, "Succeeded")
            elif state == "Deleting" and not self._endpoints.deployments(name):
                self._store.delete("endpoint", name)
                self._end(endpoint, "Succeeded")

    def _create(self, deployment: Document, ready: bool, dead: bool) -> None:
        notes = deployment["emulator"]
        if ready:
            self._set_state(deployment, "Succeeded")
        elif "port" not in notes and self._faults.delays("slow_deployment", notes):
            self._store.put("deployment", _key(deployment), deployment)
        elif "port" not in notes and (refused := self._faults.take("no_machine")):
            self._set_state(deployment, "Failed", {"code": refused["code"], "message": refused["message"]})
        elif "port" not in notes:
            self._launch(deployment)
        elif dead:  # it would be restarted, again and again, until the service gives up (Azure/PyRIT#52)
            self._fail(deployment, "the liveness probe failed too often")
        elif processes.exit_code(self._claim(deployment)) is not None:
            self._fail(deployment, "the container exited before it was ready")
        elif time.time() - notes["launched"] > _readiness_limit_s(deployment):
            self._fail(deployment, "the readiness probe failed too often")
        elif not self._running(deployment):
            self._restart(deployment)

    def _delete(self, deployment: Document) -> None:
        claim = self._claim(deployment)
        if processes.starting(claim, deployment["emulator"].get("launched", 0.0)):
            return
        if not processes.send_signal(claim, signal.SIGKILL):
            self._store.delete("deployment", _key(deployment))
            self._end(deployment, "Succeeded")

    def _fail(self, deployment: Document, why: str) -> None:
        processes.send_signal(self._claim(deployment), signal.SIGKILL)
        message = f"User container has crashed or terminated: {why}. See the deployment's logs."
        self._set_state(deployment, "Failed", {"code": "ResourceNotReady", "message": message})

    def _set_state(self, deployment: Document, state: str, error: Document | None = None) -> None:
        deployment["properties"]["provisioningState"] = state
        self._store.put("deployment", _key(deployment), deployment)
        self._end(deployment, state, error)

    def _end(self, resource: Document, status: str, error: Document | None = None) -> None:
        id = resource["emulator"]["operation"]
        self._store.put("operation", id, {"id": id, "status": status, "error": error})

    def _launch(self, deployment: Document) -> None:
        environment = self._config.environment_of(deployment["properties"]["environmentId"])
        if environment is None:
            self._fail(deployment, "its environment is gone")
            return
        notes = deployment["emulator"]
        uri = self._models.uri(deployment["properties"]["model"])
        model = self._models.mounts.path(uri, self._place(deployment))
        notes |= {"port": free_port(None), "launched": time.time(), "folder": str(model)}
        fill = {"python": environment.python or sys.executable, "model": str(model), "port": notes["port"]}
        processes.launch(
            self._claim(deployment),
            [part.format_map(fill) for part in environment.serve],
            cwd=self._folder(deployment) / "wd",
            env={
                **processes.container(self._folder(deployment), environment.variables),
                "AZUREML_MODEL_DIR": str(model),
                **(deployment["properties"].get("environmentVariables") or {}),
            },
            log=self._folder(deployment) / "container.log",
        )
        self._store.put("deployment", _key(deployment), deployment)

    def _restart(self, deployment: Document) -> None:
        processes.send_signal(self._claim(deployment), signal.SIGKILL)
        deployment["emulator"]["attempt"] += 1
        self._launch(deployment)

    def _running(self, deployment: Document) -> bool:
        """A server that was only just launched counts, so that a restart happens at most once a second."""
        just_launched = processes.seconds_since(deployment["emulator"].get("launched", 0.0)) < 1.0
        return just_launched or processes.is_running(self._claim(deployment))

    def _dead(self, deployment: Document) -> bool:
        """Whether the liveness probe has failed as often in a row as it may, also once the server was ready."""
        claim, probe, now = self._claim(deployment), _probe(deployment, "liveness"), time.time()
        first = deployment["emulator"].get("launched", now) + seconds(str(probe["initialDelay"]))
        due, failed = self._liveness.get(claim, (first, 0))
        if now < due:
            return False
        failed = 0 if self._answers(deployment, seconds(str(probe["timeout"]))) else failed + 1
        self._liveness[claim] = (now + seconds(str(probe["period"])), failed)
        return failed >= int(probe["failureThreshold"])

    def _answers(self, deployment: Document, within_s: float) -> bool:
        environment = self._config.environment_of(deployment["properties"]["environmentId"])
        port = deployment["emulator"].get("port")
        if environment is None or port is None or not processes.is_running(self._claim(deployment)):
            return False
        try:
            url = f"http://127.0.0.1:{port}{environment.readiness}"
            return self._http.get(url, timeout=within_s).status_code == 200
        except httpx.HTTPError:
            return False

    def _folder(self, deployment: Document) -> Path:
        # The operation's id keeps the files of a deleted deployment apart from its successor's.
        first = deployment["properties"]["properties"]["AzureAsyncOperationUri"].split("deployment-")[1][:8]
        folder = f"{deployment['name']}-{first}"
        return self._config.root / "deployments" / str(deployment["emulator"]["endpoint"]) / folder

    def _place(self, deployment: Document) -> Path:
        return self._folder(deployment) / "files"

    def _claim(self, deployment: Document) -> Path:
        return self._folder(deployment) / "attempts" / str(deployment["emulator"]["attempt"])


class Proxy:
    """Scoring requests: authorized, split by traffic or pinned by a header, passed on."""

    def __init__(self, config: EmulatorConfig, endpoints: EndpointsResource, monitor: Monitor) -> None:
        self._config, self._endpoints, self._monitor = config, endpoints, monitor
        # Without a limit of its own: a request brings one.
        self._http = httpx.AsyncClient(verify=tls_context(), timeout=None, trust_env=False)  # noqa: S113
        self.busy: Counter[str] = Counter()
        self._credit: dict[str, Counter[str]] = defaultdict(Counter)

    async def close(self) -> None:
        await self._http.aclose()

    async def score(self, request: Request) -> Response:
        endpoint = request.path_params["endpoint"]
        deployment, began = self._choose(endpoint, request.headers.get(DEPLOYMENT_HEADER)), time.monotonic()
        answer: Response | ArmError
        try:
            answer = await self._answer(request, deployment)
            codes = answer.status_code, answer.headers.get(_CONTAINER_STATUS, "200")
        except ArmError as refused:
            answer, codes = refused, (refused.status, "")
        await run_in_threadpool(self._monitor.count, endpoint, deployment["name"], *codes, time.monotonic() - began)
        if isinstance(answer, ArmError):
            raise answer
        return answer

    async def _answer(self, request: Request, deployment: Document) -> Response:
        properties, key = deployment["properties"], _key(deployment)
        settings = properties.get("requestSettings") or {}
        allowed = settings.get("maxConcurrentRequestsPerInstance") or 1
        # Azure docs: at most twice the configured concurrency is queued per instance.
        if self.busy[key] >= 2 * allowed * deployment["sku"]["capacity"]:
            raise ArmError(429, "TooManyRequests", f"deployment '{deployment['name']}' is busy")
        body = await request.body()
        variables, folder = properties.get("environmentVariables") or {}, Path(deployment["emulator"].get("folder", ""))
        if refused := refusal(body, variables, folder):
            return JSONResponse(refused, 424, {_CONTAINER_STATUS: "400", DEPLOYMENT_HEADER: deployment["name"]})
        environment = self._config.environment_of(properties["environmentId"])
        outgoing = self._http.build_request(
            request.method,
            f"http://127.0.0.1:{deployment['emulator']['port']}/{request.path_params['path']}",
            params=request.query_params,
            headers={k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP},
            content=_for_server(body, environment),
            timeout=seconds(settings.get("requestTimeout") or "PT5S"),
        )
        return await self._forward(outgoing, key, deployment["name"])

    async def _forward(self, outgoing: httpx.Request, key: str, name: str) -> Response:
        self.busy[key] += 1
        try:
            answer = await self._http.send(outgoing, stream=True)
        except httpx.TimeoutException:
            self.busy[key] -= 1
            raise ArmError(408, "RequestTimeout", "the container did not answer in time") from None
        except httpx.HTTPError as error:
            self.busy[key] -= 1
            raise ArmError(503, "ServiceUnavailable", f"the container does not answer: {error}") from None
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
        headers[DEPLOYMENT_HEADER] = name
        status = answer.status_code
        if status >= 400:  # Azure docs: an error of the container is 424, its own status is in a header
            headers[_CONTAINER_STATUS] = str(status)
            status = 424

        async def body() -> AsyncIterator[bytes]:
            try:
                async for chunk in answer.aiter_raw():
                    yield chunk
            finally:
                self.busy[key] -= 1
                await answer.aclose()

        return StreamingResponse(body(), status_code=status, headers=headers)

    def _choose(self, endpoint: str, pinned: str | None) -> Document:
        if pinned is not None:
            return self._usable(endpoint, pinned)
        traffic = {k: v for k, v in self._endpoints.get(endpoint)["properties"]["traffic"].items() if v}
        if not traffic:
            raise ArmError(404, "NoTraffic", f"endpoint '{endpoint}' has no traffic")
        # Smooth weighted round robin (as in nginx): exact shares over every hundred requests.
        credit = self._credit[endpoint]
        for name in [name for name in credit if name not in traffic]:
            del credit[name]
        for name, share in traffic.items():
            credit[name] += share
        chosen = max(traffic, key=lambda name: (credit[name], name))
        credit[chosen] -= sum(traffic.values())
        return self._usable(endpoint, chosen)

    def _usable(self, endpoint: str, name: str) -> Document:
        deployment = self._endpoints.get_deployment(endpoint, name)
        if deployment["properties"]["provisioningState"] != "Succeeded":
            raise ArmError(503, "ServiceUnavailable", f"deployment '{name}' is not ready")
        return deployment


def _for_server(body: bytes, environment: Environment | None) -> bytes:
    if environment is None or not environment.any_model_name:
        return body
    try:
        fields = json.loads(body)
    except ValueError:
        return body
    if not isinstance(fields, dict) or "model" not in fields:
        return body
    return json.dumps({key: value for key, value in fields.items() if key != "model"}).encode()


def _key(deployment: Document) -> str:
    return f"{deployment['emulator']['endpoint']}/{deployment['name']}"


def _probe(deployment: Document, kind: str) -> Document:
    return {**_PROBE_DEFAULTS, **(deployment["properties"].get(f"{kind}Probe") or {})}


def _readiness_limit_s(deployment: Document) -> float:
    probe = _probe(deployment, "readiness")
    return seconds(str(probe["initialDelay"])) + seconds(str(probe["period"])) * int(probe["failureThreshold"])


_bundle = cache(read_bundle_folder)


def refusal(body: bytes, variables: Mapping[str, str], model: Path) -> dict[str, Any] | None:
    """The error of status 400 that a chat request to a deployment with these variables gets; None if it is served."""
    try:
        fields = json.loads(body)
        prompt = prompt_before(fields, None)
        answer = int(fields.get("max_completion_tokens") or fields.get("max_tokens") or 0)
        if prompt.tools and fields.get("tool_choice", "auto") == "auto" and "TOOL_CALL_PARSER" not in variables:
            return _error('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        served = int(variables["MAX_MODEL_LEN"])
        (tokens,) = tokenize(_bundle(model), [render_prompt(_bundle(model), prompt)])
    except Exception:  # no limit, no tokenizer, no request; a template may raise anything: the server says so
        return None
    least = max(0, served - answer) + 1
    if len(tokens) < least:
        return None
    return _error(
        f"This model's maximum context length is {served} tokens. However, you requested {answer} output tokens and "
        f"your prompt contains at least {least} input tokens, for a total of at least {least + answer} tokens. Please "
        "reduce the length of the input prompt or the number of requested output tokens. "
        f"(parameter=input_tokens, value={least})"
    )


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}
