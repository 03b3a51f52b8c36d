"""Azure ML behind the ports JobLauncher and ModelHost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
from azure.core.exceptions import AzureError

from shared.clients.azure_ml.connection import (
    ARM_SCOPE,
    SCORING_SCOPE,
    Credential,
    Workspace,
    default_credential,
    load_sdk,
    make_ml_client,
    parse_url,
)
from shared.clients.azure_ml.errors import failure_class, translate, translated
from shared.clients.azure_ml.wire import (
    chat_text,
    core_quota,
    deployment_difference,
    folded_status,
    job_difference,
    job_of,
    lowered,
    machine_size,
    managed_deployment,
    name_version,
    short_uri,
)
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import (
    ChatAnswer,
    CoreQuota,
    DeploymentSpec,
    DeploymentState,
    DeploymentView,
    EndpointView,
    JobRole,
    JobSpec,
    JobStatus,
    JobView,
    MachineSize,
    MetricPoint,
    ModelSpec,
    chat_url,
)

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

log = logging.getLogger(__name__)

_METRICS_PER_PAGE = 1000
_HTTP_TIMEOUT_S = 30.0
_DEPLOYMENT_HEADER = "azureml-model-deployment"


class AzureMLClient:
    """JobLauncher and ModelHost over the unmodified `MLClient`, in Azure and against the emulator alike.

    `url`: see `azure_ml_connection.parse_url`. `identity_client_id`: the user-assigned identity of this
    process. `job_client_id`, `import_client_id`: those of its jobs, by role. `endpoint_identity_id`: resource id of
    the endpoints' identity; without one an endpoint gets a system-assigned identity. `endpoint_is_public`: false makes
    endpoints that answer through a private endpoint only. `emulator_secret`: what an emulator signs tokens with. The
    SDK (2 s, 110 MB) is loaded on first use. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None = None,
        *,
        identity_client_id: str | None = None,
        job_client_id: str | None = None,
        import_client_id: str | None = None,
        endpoint_identity_id: str | None = None,
        endpoint_is_public: bool = True,
        emulator_secret: str | None = None,
        experiment: str = "droptune",
    ) -> None:
        self._url = url
        self._workspace: Workspace = parse_url(url)
        self._given_credential = credential
        self._identity_client_id = identity_client_id
        self._client_ids = {JobRole.RUN: job_client_id, JobRole.IMPORT: import_client_id}
        self._endpoint_identity_id = endpoint_identity_id
        self._endpoint_is_public = endpoint_is_public
        self._emulator_secret = emulator_secret
        self._experiment = experiment
        self._lock = threading.RLock()
        self._credential: Credential | None = None
        self._client: MLClient | None = None
        self._data_plane_url: str | None = None
        self._scoring_uris: dict[str, str] = {}
        self._http = httpx.Client(timeout=_HTTP_TIMEOUT_S, trust_env=self._workspace.emulator is None)

    def close(self) -> None:
        """Give the connections back; the client is not used afterwards."""
        self._http.close()

    # Jobs

    def submit(self, spec: JobSpec) -> JobView:
        """See JobLauncher. PermanentFailure `job_name_taken` names the field that differs."""
        known = self._get_job(spec.name)
        if known is None:
            known = self._create_job(spec)
        elif field := job_difference(spec, known, self._client_ids[spec.role]):
            message = f"job {spec.name} exists with another {field}"
            raise PermanentFailure(FailureClass.PLATFORM, "job_name_taken", message, field)
        return self._job_view(known)

    def _create_job(self, spec: JobSpec) -> Any:
        with translated("the workspace"):
            created = self._ml.jobs.create_or_update(job_of(spec, self._experiment, self._client_ids[spec.role]))
        # The service has been seen to accept without a word what it then did not do.
        if field := job_difference(spec, created, self._client_ids[spec.role]):
            self.begin_cancel(spec.name)
            message = f"job {spec.name} was accepted with another {field} than asked for"
            raise PermanentFailure(FailureClass.PLATFORM, "job_echo_differs", message, field)
        return created

    def get_job(self, name: str) -> JobView | None:
        """See JobLauncher. Error code and message of a failed job are those of its run history."""
        job = self._get_job(name)
        return None if job is None else self._job_view(job)

    def begin_cancel(self, name: str) -> None:
        """See JobLauncher."""
        try:
            self._if_found(lambda: self._ml.jobs.begin_cancel(name, polling=False))
        except PermanentFailure:
            job = self._get_job(name)
            if job is None or not folded_status(job.status).final:
                raise

    def metric_history(self, job_name: str, key: str) -> list[MetricPoint]:
        """See JobLauncher. Azure docs: MLflow REST `metrics/get-history`; the run id is the job's name."""
        points: list[MetricPoint] = []
        arguments = {"run_id": job_name, "metric_key": key, "max_results": str(_METRICS_PER_PAGE)}
        while True:
            page = self._get_json(
                f"{self._data_plane()}/mlflow/v2.0{self._workspace.arm_id}/api/2.0/mlflow/metrics/get-history",
                arguments,
            )
            for item in (page or {}).get("metrics") or []:
                points.append(
                    MetricPoint(step=int(item["step"]), value=float(item["value"]), at=int(item["timestamp"]))
                )
            token = (page or {}).get("next_page_token")
            if not token:
                return sorted(points, key=lambda point: (point.step, point.at))
            arguments["page_token"] = token

    def environment_image(self, environment: str) -> str | None:
        """See JobLauncher."""
        name, version = environment.split(":")
        registered = self._if_found(lambda: self._ml.environments.get(name, version))
        return (registered.image or "") if registered is not None else None

    def machine_sizes(self) -> list[MachineSize]:
        """See JobLauncher."""
        with translated("the workspace"):
            return [machine_size(size) for size in self._ml.compute.list_sizes()]

    def core_quotas(self) -> list[CoreQuota]:
        """See JobLauncher."""
        with translated("the workspace"):
            quotas = [core_quota(usage) for usage in self._ml.compute.list_usage()]
        return [quota for quota in quotas if quota is not None]

    def _get_job(self, name: str) -> Any | None:
        return self._if_found(lambda: self._ml.jobs.get(name))

    def _job_view(self, job: Any) -> JobView:
        status = folded_status(job.status)
        # A job stopped by its own time limit ends cancelled too; only its error tells it from a person's cancel.
        ended_badly = status in (JobStatus.FAILED, JobStatus.CANCELLED)
        code, message = self._run_error(job.name) if ended_badly else (None, None)
        studio = (job.services or {}).get("Studio")
        return JobView(
            name=job.name,
            status=status,
            error_code=code,
            error_message=message,
            failure_class=failure_class(code, message or "") if code else None,
            studio_url=studio.endpoint if studio else None,
        )

    def _run_error(self, name: str) -> tuple[str | None, str | None]:
        """From the run history, where the SDK reads it too: the job resource itself carries no error.

        The code is the innermost one: Azure ML wraps the cause in `UserError` or `ServiceError`.
        """
        details = self._get_json(f"{self._data_plane()}/history/v1.0{self._workspace.arm_id}/runs/{name}/details", {})
        error = ((details or {}).get("error") or {}).get("error") or {}
        code, inner = error.get("code"), error.get("innerError")
        while inner:
            code, inner = inner.get("code") or code, inner.get("innerError")
        return code, error.get("message")

    # Models and endpoints

    def register_model(self, spec: ModelSpec) -> None:
        """See ModelHost. PermanentFailure `model_version_taken` if the version has another URI."""
        load_sdk()
        from azure.ai.ml.entities import Model

        known = self._if_found(lambda: self._ml.models.get(spec.name, spec.version))
        if known is None:
            model = Model(name=spec.name, version=spec.version, path=spec.uri, type="custom_model", tags=spec.tags)
            with translated(f"the folder of model {spec.name}"):
                known = self._ml.models.create_or_update(model)
        if short_uri(known.path) != short_uri(spec.uri):
            message = f"model {spec.name}:{spec.version} is registered with another path"
            raise PermanentFailure(FailureClass.PLATFORM, "model_version_taken", message, "uri")

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        """See ModelHost. PermanentFailure `endpoint_failed` if its creation failed."""
        load_sdk()
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        endpoint = self._get_endpoint(name)
        if endpoint is None:
            wanted = ManagedOnlineEndpoint(
                name=name,
                auth_mode="aad_token",
                tags=tags,
                identity=self._endpoint_identity(),
                # Unless it is told otherwise an endpoint of a private workspace is public all the same.
                public_network_access=None if self._endpoint_is_public else "disabled",
            )
            with translated("the workspace"):
                self._ml.online_endpoints.begin_create_or_update(wanted)
            return False
        state = lowered(endpoint.provisioning_state)
        if state in ("failed", "canceled"):
            message = f"endpoint {name} is {state}; delete it to try again"
            raise PermanentFailure(FailureClass.PLATFORM, "endpoint_failed", message)
        return state == "succeeded"

    def get_endpoint(self, name: str) -> EndpointView | None:
        """See ModelHost."""
        endpoint = self._get_endpoint(name)
        if endpoint is None:
            return None
        traffic = {key: int(value) for key, value in (endpoint.traffic or {}).items()}
        return EndpointView(
            name=name,
            scoring_uri=endpoint.scoring_uri or "",
            traffic={key: value for key, value in traffic.items() if value},
            # SDK source: it adds every deployment without traffic as 0.
            deployments=tuple(sorted(traffic)),
        )

    def begin_deployment(self, spec: DeploymentSpec) -> None:
        """See ModelHost. PermanentFailure `deployment_name_taken` names the field that differs."""
        known = self._get_deployment(spec.endpoint, spec.name)
        if known is None:
            with translated(f"endpoint {spec.endpoint}"):
                self._ml.online_deployments.begin_create_or_update(managed_deployment(spec))
        elif field := deployment_difference(spec, known):
            message = f"deployment {spec.name} of {spec.endpoint} exists with another {field}"
            raise PermanentFailure(FailureClass.PLATFORM, "deployment_name_taken", message, field)

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        """See ModelHost. The error is that of the operation that created it, where Azure still has it."""
        deployment = self._get_deployment(endpoint, name)
        if deployment is None:
            return None
        state = lowered(deployment.provisioning_state)
        if state == "succeeded":
            return DeploymentView(name=name, state=DeploymentState.SUCCEEDED, model=name_version(deployment.model))
        if state not in ("failed", "canceled"):
            return DeploymentView(name=name, state=DeploymentState.CREATING)
        operation = (deployment.properties or {}).get("AzureAsyncOperationUri")
        error = ((self._get_json(operation, {}) or {}).get("error") or {}) if operation else {}
        return DeploymentView(
            name=name,
            state=DeploymentState.FAILED,
            error_code=error.get("code"),
            error_message=error.get("message") or f"deployment {name} is {state}; see its logs",
        )

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        """See ModelHost. Transient while another change of the endpoint is in progress."""
        known = self._get_endpoint(endpoint)
        if known is None:
            message = f"endpoint {endpoint} does not exist"
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", message)
        known.traffic = dict(traffic)
        with translated(f"endpoint {endpoint}"):
            self._ml.online_endpoints.begin_create_or_update(known)

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        """See ModelHost."""
        self._if_found(lambda: self._ml.online_deployments.begin_delete(name, endpoint))

    def deployment_logs(self, endpoint: str, name: str, *, lines: int = 100) -> str:
        """See ModelHost."""
        return self._if_found(lambda: self._ml.online_deployments.get_logs(name, endpoint, lines)) or ""

    def chat(
        self,
        endpoint: str,
        messages: list[dict[str, Any]],
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float = 30.0,
    ) -> ChatAnswer:
        """See ModelHost. No `model` in the body: the server has one, and is served under its own name.

        A plain request, because the SDK's `invoke` keeps a deployment's header for every later call.
        """
        headers = {"Authorization": f"Bearer {self._token(SCORING_SCOPE)}"}
        if deployment is not None:
            headers[_DEPLOYMENT_HEADER] = deployment
        body = {"messages": messages, "temperature": 0, "max_tokens": max_tokens}
        url = self._workspace.reachable(chat_url(self._scoring_uri(endpoint)))
        started = time.monotonic()
        try:
            answer = self._http.post(url, json=body, headers=headers, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise Transient("endpoint_unreachable", f"{endpoint}: {type(error).__name__}") from error
        text, prompt_tokens = chat_text(endpoint, answer)
        return ChatAnswer(
            text=text,
            deployment=answer.headers.get(_DEPLOYMENT_HEADER) or deployment,
            latency_s=time.monotonic() - started,
            prompt_tokens=prompt_tokens,
        )

    def _scoring_uri(self, endpoint: str) -> str:
        """Asked for once: it is made of the endpoint's name and the region."""
        if endpoint not in self._scoring_uris:
            known = self._get_endpoint(endpoint)
            if known is None or not known.scoring_uri:
                message = f"endpoint {endpoint} does not exist"
                raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", message)
            self._scoring_uris[endpoint] = known.scoring_uri
        return self._scoring_uris[endpoint]

    def _get_endpoint(self, name: str) -> Any | None:
        return self._if_found(lambda: self._ml.online_endpoints.get(name))

    def _get_deployment(self, endpoint: str, name: str) -> Any | None:
        return self._if_found(lambda: self._ml.online_deployments.get(name, endpoint))

    def _endpoint_identity(self) -> Any | None:
        if self._endpoint_identity_id is None:
            return None
        load_sdk()
        from azure.ai.ml.entities import IdentityConfiguration, ManagedIdentityConfiguration

        identity = ManagedIdentityConfiguration(resource_id=self._endpoint_identity_id)
        return IdentityConfiguration(type="user_assigned", user_assigned_identities=[identity])

    # The connection

    @property
    def _ml(self) -> MLClient:
        with self._lock:
            if self._client is None:
                self._client = make_ml_client(self._url, self._identity())
            return self._client

    def _identity(self) -> Credential:
        with self._lock:
            if self._credential is None:
                self._credential = self._given_credential or default_credential(
                    self._workspace, self._identity_client_id, self._emulator_secret
                )
            return self._credential

    def _token(self, scope: str) -> str:
        with translated("the identity"):
            return str(self._identity().get_token(scope).token)

    def _data_plane(self) -> str:
        """Base URL of run history and MLflow, found as the SDK finds it: the workspace names its discovery
        document, which names the regional API."""
        with self._lock:
            if self._data_plane_url is None:
                with translated("the workspace"):
                    discovery = self._ml.workspaces.get(self._workspace.name).discovery_url
                found = self._get_json(str(discovery), {}) or {}
                self._data_plane_url = str(found["api"]).rstrip("/")
            return self._data_plane_url

    def _get_json(self, url: str, arguments: Mapping[str, str]) -> dict[str, Any] | None:
        """GET with the management token; None for 404. Raises Transient, or PermanentFailure if refused."""
        headers = {"Authorization": f"Bearer {self._token(ARM_SCOPE)}"}
        target = httpx.URL(self._workspace.reachable(url)).copy_merge_params(dict(arguments))
        try:
            answer = self._http.get(target, headers=headers)
        except httpx.HTTPError as error:
            raise Transient("azure_ml_unreachable", f"{type(error).__name__} at {target.host}") from error
        if answer.status_code == 404:
            return None
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise Transient("azure_ml_busy", f"{answer.status_code} from {target.path}")
        if answer.status_code >= 300:
            message = f"{answer.status_code} from {target.path}: {answer.text[:300]}"
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", message)
        body: dict[str, Any] = answer.json()
        return body

    def _if_found(self, call: Any) -> Any | None:
        """The call's result, or None for 404."""
        try:
            return call()
        except (AzureError, ValueError, TypeError) as error:
            found = translate(error)
            if found is None:
                return None
            raise found from error
