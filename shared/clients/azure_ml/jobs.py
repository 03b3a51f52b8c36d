"""Azure ML jobs behind the port JobLauncher."""

import logging
from collections.abc import Mapping
from typing import Any

from shared.clients.azure_ml.errors import failure_class
from shared.clients.azure_ml.session import Session, there
from shared.clients.azure_ml.wire import core_quota, job_body, job_differences, status_of
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.jobs import RUN_TAG, CoreQuota, JobRole, JobSpec, JobStatus, JobView, MachineSize, MetricPoint

log = logging.getLogger(__name__)

Document = dict[str, Any]

_METRICS_PER_PAGE = 1000
_HISTORY = "api/2.0/mlflow/metrics/get-history"
_WHAT_IT_DOES = ("inputs", "outputs", "identity_client_id")
_COST_OR_RIGHTS = ("identity_client_id", "instance_type", "instances", "tier", "timeout_s")


class AzureMlJobs:
    """`client_ids`: the identities of jobs, by role."""

    def __init__(self, session: Session, client_ids: Mapping[JobRole, str | None], experiment: str) -> None:
        self.session, self._client_ids, self._experiment = session, client_ids, experiment

    def submit(self, spec: JobSpec) -> JobView:
        """See JobLauncher. PermanentFailure `job_name_taken` names the field that differs."""
        known = self._get_job(spec.name)
        return self._create_job(spec) if known is None else self._accepted(spec, known)

    def _accepted(self, spec: JobSpec, known: Document) -> JobView:
        run = spec.tags.get(RUN_TAG)
        # A host of another version submits the same attempt of a run with an environment of its own.
        same_attempt = run is not None and (known["properties"].get("tags") or {}).get(RUN_TAG) == run
        others, _ = job_differences(spec, known, self._client_ids[spec.role])
        for field in others:
            if field in _WHAT_IT_DOES or not same_attempt:
                message = f"job {spec.name} exists with another {field}"
                raise PermanentFailure(FailureClass.PLATFORM, "job_name_taken", message, field)
        return self._job_view(known)

    def _create_job(self, spec: JobSpec) -> JobView:
        try:
            body = job_body(spec, self.session.workspace, self._experiment, self._client_ids[spec.role])
            created = there(self.session.call("PUT", f"jobs/{spec.name}", body), "the workspace")
        except PermanentFailure:
            known = self._get_job(spec.name)
            if known is None:
                raise
            return self._accepted(spec, known)  # another host was faster
        # The service may accept without a word what it then does not do, and may write what it does in other words or
        # not at all: no echo of serverless compute was compared yet. Only what it says that costs more or gives other
        # rights stops the job.
        others, silent = job_differences(spec, created, self._client_ids[spec.role])
        if field := next((one for one in others if one in _COST_OR_RIGHTS), None):
            self.begin_cancel(spec.name)
            message = f"job {spec.name} was accepted with another {field} than asked for: {others[field]}"
            raise PermanentFailure(FailureClass.PLATFORM, "job_echo_differs", message, field)
        note = "; ".join(f"the job's {field} is {found}" for field, found in (others | silent).items())
        if note:
            log.warning("Azure ML accepted job %s otherwise than it was sent: %s", spec.name, note)
        return self._job_view(created).model_copy(update={"note": note})

    def get_job(self, name: str) -> JobView | None:
        """See JobLauncher. Error code and message of a failed job are those of its run history."""
        job = self._get_job(name)
        return None if job is None else self._job_view(job)

    def begin_cancel(self, name: str) -> None:
        try:
            self.session.call("POST", f"jobs/{name}/cancel")
        except PermanentFailure:
            job = self._get_job(name)
            if job is None or not status_of(job["properties"]["status"]).final:
                raise

    def metric_history(self, job_name: str, key: str) -> list[MetricPoint]:
        """See JobLauncher. Azure docs: MLflow REST `metrics/get-history`; the run id is the job's name."""
        points: list[MetricPoint] = []
        arguments = {"run_id": job_name, "metric_key": key, "max_results": str(_METRICS_PER_PAGE)}
        while True:
            page = self.session.ask("GET", f"{self._data_plane('mlflow/v2.0')}/{_HISTORY}", arguments)
            for item in (page or {}).get("metrics") or []:
                points.append(
                    MetricPoint(step=int(item["step"]), value=float(item["value"]), at=int(item["timestamp"]))
                )
            token = (page or {}).get("next_page_token")
            if not token:
                return sorted(points, key=lambda point: (point.step, point.at))
            arguments["page_token"] = token

    def environment_image(self, environment: str) -> str | None:
        name, version = environment.split(":")
        registered = self.session.call("GET", f"environments/{name}/versions/{version}")
        return (registered["properties"].get("image") or "") if registered is not None else None

    def machine_sizes(self) -> list[MachineSize]:
        sizes = self.session.in_region("vmSizes")
        return [MachineSize(name=size["name"], family=size["family"], cores=size["vCPUs"]) for size in sizes]

    def core_quotas(self) -> list[CoreQuota]:
        quotas = (core_quota(usage) for usage in self.session.in_region("usages"))
        return [quota for quota in quotas if quota is not None]

    def _get_job(self, name: str) -> Document | None:
        return self.session.call("GET", f"jobs/{name}")

    def _job_view(self, job: Document) -> JobView:
        properties = job["properties"]
        status = status_of(properties.get("status"))
        # A job stopped by its own time limit ends cancelled too; only its error tells it from a person's cancel.
        ended_badly = status in (JobStatus.FAILED, JobStatus.CANCELLED)
        code, message = None, None
        if ended_badly:
            try:
                code, message = self._run_error(job["name"])
            except Exception as error:  # refused, unreachable or of an unknown form: the status alone decides
                message = f"its details cannot be read: {error}"
        studio = (properties.get("services") or {}).get("Studio") or {}
        return JobView(
            name=job["name"],
            status=status,
            error_code=code,
            error_message=message,
            failure_class=failure_class(code, message or "") if code else None,
            studio_url=studio.get("endpoint"),
        )

    def _data_plane(self, service: str) -> str:
        return f"{self.session.data_plane()}/{service}{self.session.workspace.arm_id}"

    def _run_error(self, name: str) -> tuple[str | None, str | None]:
        """From the run history, where azure-ai-ml reads it too: the job resource itself carries no error.

        The code is the innermost one: Azure ML wraps the cause in `UserError` or `ServiceError`.
        """
        details = self.session.ask("GET", f"{self._data_plane('history/v1.0')}/runs/{name}/details")
        error = ((details or {}).get("error") or {}).get("error") or {}
        code, inner = error.get("code"), error.get("innerError")
        while inner:
            code, inner = inner.get("code") or code, inner.get("innerError")
        by = ((details or {}).get("lastModifiedBy") or {}).get("userName")
        return code, error.get("message") or (f"its run history was last changed by {by}" if by else None)
