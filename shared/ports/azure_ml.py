"""The ports for the machine-learning platform."""

from datetime import datetime
from typing import Protocol

from shared.domain import jobs
from shared.domain.prompts import Prompt


class JobLauncher(Protocol):
    """Command jobs of the machine-learning platform."""

    def submit(self, spec: jobs.JobSpec) -> jobs.JobView:
        """Submit once per name: the same spec again returns the same job, as does that of another version for the run.

        Raises PermanentFailure (quota, platform, recipe...) if refused, Transient if unanswered.
        """

    def get_job(self, name: str) -> jobs.JobView | None:
        """The job as the platform has it now; None if there is none of that name."""

    def begin_cancel(self, name: str) -> None:
        """Ask for the job to stop; a finished or unknown job is fine."""

    def metric_history(self, job_name: str, key: str) -> list[jobs.MetricPoint]:
        """The curve a job logged so far, ordered by step; empty if none."""

    def environment_image(self, environment: str) -> str | None:
        """The image of NAME:VERSION, empty if it is one that Azure ML builds; None if it is not registered."""

    def machine_sizes(self) -> list[jobs.MachineSize]:
        """What the workspace's region offers."""

    def core_quotas(self) -> list[jobs.CoreQuota]:
        """The subscription's in that region."""


class ModelHost(Protocol):
    """Registered models and managed online endpoints."""

    def register_model(self, spec: jobs.ModelSpec) -> None:
        """Create the version; the same again is fine. Raises PermanentFailure if it differs."""

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        """Ensure the endpoint; True once it is provisioned and usable."""

    def get_endpoint(self, name: str) -> jobs.EndpointView | None: ...

    def is_name_taken(self, endpoint: str) -> bool:
        """Of one that this workspace lacks: whether another of the region has it, as far as that is known."""

    def begin_deployment(self, spec: jobs.DeploymentSpec) -> None:
        """Start creating the deployment with no traffic; again is fine, unless it is one of another model."""

    def get_deployment(self, endpoint: str, name: str) -> jobs.DeploymentView | None: ...

    def set_autoscale(self, spec: jobs.DeploymentSpec) -> None:
        """Of a deployment that is there, as its spec has it; again is fine. Raises PermanentFailure if refused."""

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        """Of a deployment, gone or not: the platform keeps it otherwise. Absence is fine."""

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        """Ask for a split that sums to 100 or 0; seen later by `get_endpoint`."""

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        """Absence is fine."""

    def begin_delete_endpoint(self, name: str) -> None:
        """With its deployments. Absence is fine. Raises Transient while it changes, or is being deleted."""

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        """Whether requests came in, some minutes or more ago; None if the platform does not know."""

    def chat(
        self,
        endpoint: str,
        prompt: Prompt,
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float | None = None,
    ) -> jobs.ChatAnswer:
        """Greedy answer of the endpoint, or of one deployment past the traffic split, as the model wrote it.

        `timeout_s` follows `max_tokens` by default. Raises Transient if it does not answer in time or is busy,
        PermanentFailure `container_refused` if it never will.
        """
