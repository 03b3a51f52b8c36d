"""Azure ML behind the ports JobLauncher and ModelHost, over one connection: the control plane, plain HTTP, tokens."""

import logging
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RequestIdPolicy, RetryPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from shared.clients.azure_ml import wire
from shared.clients.azure_ml.connection import ARM_HOST, ARM_SCOPE, Workspace, default_credential, parse_url
from shared.clients.azure_ml.errors import deployment_failure, failure_class, translated
from shared.domain import jobs
from shared.domain.beside import read_beside
from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, Transient
from shared.domain.prompts import Prompt
from shared.tls import tls_context

T = TypeVar("T")

log = logging.getLogger(__name__)

_METRICS_PER_PAGE = 1000
_HISTORY = "api/2.0/mlflow/metrics/get-history"
_WHAT_IT_DOES = ("inputs", "outputs", "identity_client_id")
_COST_OR_RIGHTS = ("identity_client_id", "instance_type", "instances", "tier", "timeout_s")
_HTTP_TIMEOUT_S = 30.0
_LONGEST_WAIT_S, _ALL_TRIES_S = 5, 60  # a function may take a minute
_VERSIONS: Mapping[str, str] = read_beside(__file__)["api_versions"]


class Retries(RetryPolicy[Any, Any]):
    """Leaves to the caller's own retry what Azure asks a longer wait for: azure-core sleeps as long as it is told, and
    Azure Resource Manager tells minutes (Azure docs, "Understand how Azure Resource Manager throttles requests")."""

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        return (self.get_retry_after(response) or 0) <= _LONGEST_WAIT_S and super().is_retry(settings, response)


class Session:
    """`url`: see `connection.parse_url`. `identity_client_id`: the user-assigned identity of this process.

    `emulator_secret`: what an emulator signs tokens with. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        credential: TokenCredential | None = None,
        *,
        identity_client_id: str | None = None,
        emulator_secret: str | None = None,
    ) -> None:
        self.workspace: Workspace = parse_url(url)
        is_azure = self.workspace.emulator is None
        self.http = httpx.Client(verify=tls_context(), timeout=_HTTP_TIMEOUT_S, trust_env=is_azure)
        self._credential = credential or default_credential(self.workspace, identity_client_id, emulator_secret)
        policies = [
            RequestIdPolicy(),
            UserAgentPolicy("droptune"),
            Retries(retry_total=3, retry_backoff_max=_LONGEST_WAIT_S, timeout=_ALL_TRIES_S),
            BearerTokenCredentialPolicy(self._credential, ARM_SCOPE),
        ]
        transport = RequestsTransport(connection_timeout=10, read_timeout=60, use_env_settings=is_azure)
        self._arm: PipelineClient[Any, Any] = PipelineClient("", policies=policies, transport=transport)
        self._lock = threading.Lock()
        self._workspace_resource: dict[str, Any] | None = None
        self._data_plane_url: str | None = None

    def close(self) -> None:
        """Give the connections back; the session is not used afterwards."""
        self.http.close()
        self._arm.close()

    def token(self, scope: str) -> str:
        with translated():
            return str(self._credential.get_token(scope).token)

    def workspace_resource(self) -> dict[str, Any]:
        """The workspace as Azure describes it, asked for once: its region, and where its discovery document is."""
        if self._workspace_resource is None:
            self._workspace_resource = there(self.call("GET", ""), "the workspace")
        return self._workspace_resource

    def data_plane(self, service: str) -> str:
        """URL of the workspace's run history or MLflow, found as azure-ai-ml 1.35.2 finds it: the workspace names its
        discovery document, which names the regional API."""
        with self._lock:
            if self._data_plane_url is None:
                found = self.ask("GET", self.workspace_resource()["properties"]["discoveryUrl"])
                self._data_plane_url = str(there(found, "the discovery document")["api"]).rstrip("/")
            return f"{self._data_plane_url}/{service}{self.workspace.arm_id}"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """See `ask`; `path` is that of a resource of the workspace, and "" the workspace itself."""
        parts = path.split("/")
        kind = "deployments" if parts[2:3] == ["deployments"] else parts[0] or "workspaces"
        url = f"https://{ARM_HOST}{self.workspace.arm_id}/{path}".rstrip("/")
        return self.ask(method, url, {"api-version": _VERSIONS[kind]}, body)

    def items(self, page: dict[str, Any] | None) -> list[dict[str, Any]] | None:
        """The items of this page of a list and of those after it; None if there is no such list."""
        found: list[dict[str, Any]] = []
        while page is not None:
            found += page["value"]
            if not (url := page.get("nextLink")):
                return found
            page = self.ask("GET", url)
        return None

    def in_region(self, what: str) -> list[dict[str, Any]]:
        """The items of a list that Azure ML keeps for the region."""
        provider = f"/subscriptions/{self.workspace.subscription}/providers/Microsoft.MachineLearningServices"
        url = f"https://{ARM_HOST}{provider}/locations/{self.workspace_resource()['location']}/{what}"
        page = self.ask("GET", url, {"api-version": _VERSIONS["workspaces"]})
        return there(self.items(page), "the region")

    def ask(
        self, method: str, url: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> dict[str, Any] | None:
        """With the management token; None for 404 but of a PUT. Raises Transient, or PermanentFailure if refused."""
        quoted = {name: quote(value, safe="") for name, value in (query or {}).items()}  # azure-core does not
        request = HttpRequest(method, self.workspace.reachable(url), params=quoted, json=body)
        with translated():
            answer = self._arm.send_request(request, enforce_https=self.workspace.emulator is None)
            if answer.status_code == 404 and method != "PUT":
                return None
            if answer.status_code >= 300:
                raise HttpResponseError(response=answer)
        if not answer.content:
            return {}
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise Transient("azure_ml_unreachable", f"what {request.url} answered cannot be read: {error}") from error
        return found


def there(found: T | None, what: str) -> T:
    """What was found, or PermanentFailure `azure_ml_not_found`, which says what is not there."""
    if found is None:
        raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"{what} does not exist")
    return found


def resolves_alone(name: str, domain: str) -> bool:
    """Whether DNS knows NAME.DOMAIN but not a name that nobody has: a domain may answer any. Waits as the resolver does
    (Linux: twice 5 s for each server)."""

    def known(host: str) -> bool:
        with suppress(OSError):
            return bool(socket.getaddrinfo(f"{host}.{domain}", 443))
        return False

    return known(name) and not known(f"x{secrets.token_hex(15)}")


class AzureMLClient:
    """JobLauncher and ModelHost over the REST API, in Azure and against the emulator alike.

    `url`, `credential`, `identity_client_id`, `emulator_secret`: see Session. `job_client_id`, `import_client_id`: the
    identities of its jobs, by role. `endpoint_identity_id`: resource id of the endpoints' identity; without one an
    endpoint gets a system-assigned identity. `endpoint_is_public`: false makes endpoints that answer through a private
    endpoint only. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        credential: TokenCredential | None = None,
        *,
        identity_client_id: str | None = None,
        job_client_id: str | None = None,
        import_client_id: str | None = None,
        endpoint_identity_id: str | None = None,
        endpoint_is_public: bool = True,
        emulator_secret: str | None = None,
    ) -> None:
        self.session = Session(url, credential, identity_client_id=identity_client_id, emulator_secret=emulator_secret)
        self._client_ids = {jobs.JobRole.RUN: job_client_id, jobs.JobRole.IMPORT: import_client_id}
        self._endpoint_identity_id, self._is_public = endpoint_identity_id, endpoint_is_public
        self._scoring_uris = dict[str, str]()

    def close(self) -> None:
        """Give the connections back; the client is not used afterwards."""
        self.session.close()

    # Jobs.

    def submit(self, spec: jobs.JobSpec) -> jobs.JobView:
        """See JobLauncher. PermanentFailure `job_name_taken` names the field that differs."""
        known = self._get_job(spec.name)
        return self._create_job(spec) if known is None else self._accepted(spec, known)

    def _accepted(self, spec: jobs.JobSpec, known: wire.Document) -> jobs.JobView:
        run = spec.tags.get(jobs.RUN_TAG)
        # A host of another version submits the same attempt of a run with an environment of its own.
        same_attempt = run is not None and (known["properties"].get("tags") or {}).get(jobs.RUN_TAG) == run
        others, _ = wire.job_differences(spec, known, self._client_ids[spec.role])
        for field in others:
            if field in _WHAT_IT_DOES or not same_attempt:
                message = f"job {spec.name} exists with another {field}"
                raise PermanentFailure(FailureClass.PLATFORM, "job_name_taken", message, field)
        return self._job_view(known)

    def _create_job(self, spec: jobs.JobSpec) -> jobs.JobView:
        try:
            body = wire.job_body(spec, self.session.workspace, self._client_ids[spec.role])
            created = there(self.session.call("PUT", f"jobs/{spec.name}", body), "the workspace")
        except PermanentFailure:
            known = self._get_job(spec.name)
            if known is None:
                raise
            return self._accepted(spec, known)  # another host was faster
        # The service may accept without a word what it then does not do, and may write what it does in other words or
        # not at all: no echo of serverless compute was compared yet. Only what it says that costs more or gives other
        # rights stops the job.
        others, silent = wire.job_differences(spec, created, self._client_ids[spec.role])
        if field := next((one for one in others if one in _COST_OR_RIGHTS), None):
            self.begin_cancel(spec.name)
            message = f"job {spec.name} was accepted with another {field} than asked for: {others[field]}"
            raise PermanentFailure(FailureClass.PLATFORM, "job_echo_differs", message, field)
        note = "; ".join(f"the job's {field} is {found}" for field, found in (others | silent).items())
        if note:
            log.warning("Azure ML accepted job %s otherwise than it was sent: %s", spec.name, note)
        return self._job_view(created).model_copy(update={"note": note})

    def get_job(self, name: str) -> jobs.JobView | None:
        """See JobLauncher. Error code and message of a failed job are those of its run history."""
        job = self._get_job(name)
        return None if job is None else self._job_view(job)

    def begin_cancel(self, name: str) -> None:
        try:
            self.session.call("POST", f"jobs/{name}/cancel")
        except PermanentFailure:
            job = self._get_job(name)
            if job is None or not wire.status_of(job["properties"]["status"]).final:
                raise

    def metric_history(self, job_name: str, key: str) -> list[jobs.MetricPoint]:
        """See JobLauncher. Azure docs: MLflow REST `metrics/get-history`; the run id is the job's name."""
        points: list[jobs.MetricPoint] = []
        arguments = {"run_id": job_name, "metric_key": key, "max_results": str(_METRICS_PER_PAGE)}
        while True:
            page = self.session.ask("GET", f"{self.session.data_plane('mlflow/v2.0')}/{_HISTORY}", arguments)
            for item in (page or {}).get("metrics") or []:
                points.append(
                    jobs.MetricPoint(step=int(item["step"]), value=float(item["value"]), at=int(item["timestamp"]))
                )
            token = (page or {}).get("next_page_token")
            if not token:
                return sorted(points, key=lambda point: (point.step, point.at))
            arguments["page_token"] = token

    def environment_image(self, environment: str) -> str | None:
        name, version = environment.split(":")
        registered = self.session.call("GET", f"environments/{name}/versions/{version}")
        return (registered["properties"].get("image") or "") if registered is not None else None

    def machine_sizes(self) -> list[jobs.MachineSize]:
        sizes = self.session.in_region("vmSizes")
        return [jobs.MachineSize(name=size["name"], family=size["family"], cores=size["vCPUs"]) for size in sizes]

    def core_quotas(self) -> list[jobs.CoreQuota]:
        return list(filter(None, map(wire.core_quota, self.session.in_region("usages"))))

    def _get_job(self, name: str) -> wire.Document | None:
        return self.session.call("GET", f"jobs/{name}")

    def _job_view(self, job: wire.Document) -> jobs.JobView:
        properties = job["properties"]
        status = wire.status_of(properties.get("status"))
        # A job stopped by its own time limit ends cancelled too; only its error tells it from a person's cancel.
        ended_badly = status in (jobs.JobStatus.FAILED, jobs.JobStatus.CANCELLED)
        code, message = None, None
        if ended_badly:
            try:
                code, message = self._run_error(job["name"])
            except Exception as error:  # refused, unreachable or of an unknown form: the status alone decides
                message = f"its details cannot be read: {error}"
        studio = (properties.get("services") or {}).get("Studio") or {}
        return jobs.JobView(
            name=job["name"],
            status=status,
            error_code=code,
            error_message=message,
            failure_class=failure_class(code, message or "") if code else None,
            studio_url=studio.get("endpoint"),
        )

    def _run_error(self, name: str) -> tuple[str | None, str | None]:
        """From the run history, where azure-ai-ml reads it too: the job resource itself carries no error.

        The code is the innermost one: Azure ML wraps the cause in `UserError` or `ServiceError`.
        """
        details = self.session.ask("GET", f"{self.session.data_plane('history/v1.0')}/runs/{name}/details")
        error = ((details or {}).get("error") or {}).get("error") or {}
        code, inner = error.get("code"), error.get("innerError")
        while inner:
            code, inner = inner.get("code") or code, inner.get("innerError")
        by = ((details or {}).get("lastModifiedBy") or {}).get("userName")
        return code, error.get("message") or (f"its run history was last changed by {by}" if by else None)

    # Models and managed online endpoints.

    def register_model(self, spec: jobs.ModelSpec) -> None:
        """See ModelHost. PermanentFailure `model_version_taken` if the version has another URI."""
        path = f"models/{spec.name}/versions/{spec.version}"
        known = self.session.call("GET", path)
        if known is None:
            body = wire.model_body(spec, self.session.workspace)
            known = there(self.session.call("PUT", path, body), f"the folder of model {spec.name}")
        if wire.short_uri(known["properties"].get("modelUri")) != wire.short_uri(spec.uri):
            message = f"model {spec.name}:{spec.version} is registered with another path"
            raise PermanentFailure(FailureClass.PLATFORM, "model_version_taken", message, "uri")

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        """See ModelHost. PermanentFailure `endpoint_failed` if its creation or a change failed."""
        endpoint = self._get_endpoint(name)
        if endpoint is None:
            body = wire.endpoint_body(self._region(), self._endpoint_identity_id, tags, is_public=self._is_public)
            self.session.call("PUT", f"onlineEndpoints/{name}", body)
            return False
        state = wire.lowered(endpoint["properties"].get("provisioningState"))
        if state in ("failed", "canceled"):
            message = f"endpoint {name} is {state}: update it in Azure ML, or delete it if it answers nothing"
            raise PermanentFailure(FailureClass.PLATFORM, "endpoint_failed", message)
        return state == "succeeded"

    def get_endpoint(self, name: str) -> jobs.EndpointView | None:
        endpoint = self._get_endpoint(name)
        if endpoint is None:
            return None
        deployments = self.session.items(self.session.call("GET", f"onlineEndpoints/{name}/deployments"))
        if deployments is None:  # it went meanwhile
            return None
        traffic = endpoint["properties"].get("traffic") or {}
        return jobs.EndpointView(
            name=name,
            scoring_uri=endpoint["properties"].get("scoringUri") or "",
            traffic={key: int(value) for key, value in traffic.items() if value},
            deployments=tuple(sorted(one["name"] for one in deployments)),
            is_changing=wire.lowered(endpoint["properties"].get("provisioningState")) in wire.CHANGING,
        )

    def is_name_taken(self, endpoint: str) -> bool:
        """See ModelHost. Azure has no request for it; an endpoint has an address of its own, which DNS tells."""
        domain = f"{self._region()}.inference.ml.azure.com"
        return self.session.workspace.emulator is None and resolves_alone(endpoint, domain)

    def begin_deployment(self, spec: jobs.DeploymentSpec) -> None:
        """See ModelHost. PermanentFailure `deployment_name_taken` if it is one of another model.

        One of the same model in another environment is what a host of another version has begun for the same run.
        """
        known = self._get_deployment(spec.endpoint, spec.name)
        if known is None:
            body = wire.deployment_body(spec, self.session.workspace, self._region())
            self.session.call("PUT", _path(spec.endpoint, spec.name), body)
            return
        if wire.lowered(known["properties"].get("provisioningState")) == "deleting":
            raise Transient("azure_ml_busy", f"an earlier deployment {spec.name} of {spec.endpoint} is being deleted")
        if (model := wire.name_version(known["properties"].get("model"))) != spec.model:
            message = f"deployment {spec.name} of {spec.endpoint} exists with another model: {model}"
            raise PermanentFailure(FailureClass.PLATFORM, "deployment_name_taken", message, "model")

    def get_deployment(self, endpoint: str, name: str) -> jobs.DeploymentView | None:
        """See ModelHost. The error is that of the operation that created it, where Azure still has it."""
        deployment = self._get_deployment(endpoint, name)
        if deployment is None:
            return None
        properties = deployment["properties"]
        state = wire.lowered(properties.get("provisioningState"))
        # REST reference, Online Deployments: `sku` is there for autoscale, which changes its capacity.
        fields: dict[str, Any] = {"name": name, "instances": (deployment.get("sku") or {}).get("capacity")}
        if state == "succeeded":
            return jobs.DeploymentView(
                state=jobs.DeploymentState.SUCCEEDED, model=wire.name_version(properties["model"]), **fields
            )
        if state not in ("failed", "canceled"):
            return jobs.DeploymentView(state=jobs.DeploymentState.CREATING, **fields)
        error = self._error_of((properties.get("properties") or {}).get("AzureAsyncOperationUri"))
        code, message = deployment_failure(error.get("code"), error.get("message"))
        message = message or f"deployment {name} is {state}; see its logs"
        return jobs.DeploymentView(**fields, state=jobs.DeploymentState.FAILED, error_code=code, error_message=message)

    def set_autoscale(self, spec: jobs.DeploymentSpec) -> None:
        endpoint = there(self._get_endpoint(spec.endpoint), f"endpoint {spec.endpoint}")
        body = wire.autoscale(spec, f"{endpoint['id']}/deployments/{spec.name}", endpoint["location"])
        self.session.ask("PUT", self._autoscale_url(spec.endpoint, spec.name), body=body)

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        self.session.ask("DELETE", self._autoscale_url(endpoint, name))

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        """See ModelHost. Transient while another change of the endpoint is in progress. The license in the endpoint's
        tags becomes that of the deployment with the largest share."""
        known = there(self._get_endpoint(endpoint), f"endpoint {endpoint}")
        if any(traffic.values()):
            main = self._get_deployment(endpoint, max(traffic, key=traffic.__getitem__)) or {}
            kept = {name: text for name, text in (known.get("tags") or {}).items() if not name.startswith("license")}
            license = {name: text for name, text in (main.get("tags") or {}).items() if name.startswith("license")}
            known = {**known, "tags": kept | license}
        self.session.call("PUT", f"onlineEndpoints/{endpoint}", wire.with_traffic(known, traffic))

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.session.call("DELETE", _path(endpoint, name))

    def begin_delete_endpoint(self, name: str) -> None:
        self.session.call("DELETE", f"onlineEndpoints/{name}")

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        """See ModelHost. Azure docs, supported metrics of onlineEndpoints/deployments: of a minute without requests
        there may be no `RequestsPerMinute`. `DeploymentCapacity` shows whether Azure Monitor measures at all.
        """
        names = "RequestsPerMinute,DeploymentCapacity"
        return wire.requests_in(self._metrics(_path(endpoint, deployment), names, since, until))

    def request_stats(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> jobs.RequestStats:
        """See ModelHost. Azure docs, supported metrics: `RequestsPerMinute` has the dimensions `statusCode` (what the
        client got) and `modelStatusCode` (what the container said) at the endpoint alone; of the latency of one
        deployment, the deployment itself has no dimension.
        """
        by_code = f"deployment eq '{deployment}' and statusCode eq '*' and modelStatusCode eq '*'"
        more = {"$filter": by_code, "top": "100"}  # Azure docs, Metrics - List: of more than ten series it answers ten
        counts = self._metrics(f"onlineEndpoints/{endpoint}", "RequestsPerMinute", since, until, **more)
        return wire.request_stats(
            counts, self._metrics(_path(endpoint, deployment), "RequestLatency_P50", since, until)
        )

    def _metrics(self, resource: str, names: str, since: datetime, until: datetime, **more: str) -> wire.Document:
        grain = "PT1M" if until - since <= timedelta(days=1) else "PT1H"
        span = "/".join(f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for time in (since, until))
        arguments = {"api-version": "2024-02-01", "aggregation": "Average", "interval": grain, "timespan": span}
        url = f"https://{ARM_HOST}{self.session.workspace.arm_id}/{resource}/providers/Microsoft.Insights/metrics"
        return self.session.ask("GET", url, {**arguments, "metricnames": names, **more}) or {}

    def chat(
        self,
        endpoint: str,
        prompt: Prompt,
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float | None = None,
    ) -> jobs.ChatAnswer:
        """See ModelHost. No `model` in the body: the server has one, and is served under its own name."""
        headers = {"Authorization": f"Bearer {self.session.token(jobs.SCORING_SCOPE)}"}
        if deployment is not None:
            headers[jobs.DEPLOYMENT_HEADER] = deployment
        body = {**prompt.body(), "temperature": 0, "max_tokens": max_tokens}
        url = self.session.workspace.reachable(jobs.chat_url(self._scoring_uri(endpoint)))
        started = time.monotonic()
        try:
            answer = self.session.http.post(
                url, json=body, headers=headers, timeout=timeout_s or jobs.answer_timeout_s(max_tokens)
            )
        except httpx.HTTPError as error:
            raise Transient("endpoint_unreachable", f"{endpoint}: {type(error).__name__}") from error
        text, prompt_tokens = wire.chat_text(endpoint, answer)
        return jobs.ChatAnswer(
            text=text,
            deployment=answer.headers.get(jobs.DEPLOYMENT_HEADER) or deployment,
            latency_s=time.monotonic() - started,
            prompt_tokens=prompt_tokens,
        )

    def _scoring_uri(self, endpoint: str) -> str:
        """Asked for once: it is made of the endpoint's name and the region."""
        if endpoint not in self._scoring_uris:
            uri = there(self._get_endpoint(endpoint), f"endpoint {endpoint}")["properties"].get("scoringUri") or None
            self._scoring_uris[endpoint] = there(uri, f"the address of endpoint {endpoint}")
        return self._scoring_uris[endpoint]

    def _error_of(self, operation: str | None) -> wire.Document:
        """Empty where Azure has it no more. A deployment whose operation may not be read has failed all the same."""
        try:
            found = self.session.ask("GET", operation) if operation else None
        except (InvalidInput, PermanentFailure) as refused:
            return {"message": f"its operation cannot be read: {refused}"}
        return (found or {}).get("error") or {}

    def _autoscale_url(self, endpoint: str, name: str) -> str:
        workspace = self.session.workspace
        group = f"https://{ARM_HOST}{workspace.arm_id.split('/providers/')[0]}/providers/Microsoft.Insights"
        return f"{group}/autoscaleSettings/{workspace.name}-{endpoint}-{name}?api-version=2022-10-01"

    def _region(self) -> str:
        return str(self.session.workspace_resource()["location"])

    def _get_endpoint(self, name: str) -> wire.Document | None:
        return self.session.call("GET", f"onlineEndpoints/{name}")

    def _get_deployment(self, endpoint: str, name: str) -> wire.Document | None:
        return self.session.call("GET", _path(endpoint, name))


def _path(endpoint: str, deployment: str) -> str:
    return f"onlineEndpoints/{endpoint}/deployments/{deployment}"
