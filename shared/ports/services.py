"""The ports together, with the settings that steps need."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from shared.domain import jobs
from shared.domain.prompts import Prompt
from shared.domain.subscriptions import Subscription, Target
from shared.ports.blobs import BlobStore
from shared.ports.bus import EventBus
from shared.ports.store import RunStore


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

    def request_stats(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> jobs.RequestStats:
        """Of the minutes of that time that the platform knows yet; none if it knows nothing."""

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


# The code of a PermanentFailure that says that the target wants no more of anything.
GONE = "target_gone"
# The code of a Transient: nothing was sent, since enough calls to the target, or for the project, are in progress.
BUSY = "target_busy"


class Notifier(Protocol):
    """Delivery of one CloudEvent to the target of one subscription."""

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        """Send once; the status of the answer.

        Raises Transient (worth another attempt) or PermanentFailure (refused for good); their `param` is the status of
        the answer, if there was one.
        """

    def problem(self, target: Target) -> str | None:
        """Why nothing would be delivered there, as far as a connection shows; the URL is not quoted."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the steps need of the settings."""

    default_base_model: str
    inline_validation_max_bytes: int
    max_file_bytes: int
    training_environment: str
    serving_environment: str
    cpu_instance_type: str
    job_poll_s: float
    retry_wait_s: float
    debounce_s: float
    project_monthly_usd: float | None
    endpoint_idle_hours: float
    run_retention_days: int
    blob_store_url: str = ""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a step may use of the outside world."""

    clock: Clock
    store: RunStore
    bus: EventBus
    blobs: BlobStore
    launcher: JobLauncher
    models: ModelHost
    notifier: Notifier
    config: Config
