"""Requests to the machine-learning platform and its answers, without any SDK."""

from enum import StrEnum

from pydantic import Field

from shared.domain.errors import FailureClass
from shared.domain.model import Frozen
from shared.domain.recipe import Tier


class JobKind(StrEnum):
    """What a job of a run does; part of its name."""

    VALIDATION = "validation"
    TRAINING = "training"
    EVALUATION = "evaluation"


class JobStatus(StrEnum):
    """Merged from Azure ML's fourteen states; only the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class JobRole(StrEnum):
    """Whose identity a job has, and so what it may write."""

    RUN = "run"
    IMPORT = "import"


RUN_TAG = "droptune_run"  # of a job: the run it belongs to


class JobSpec(Frozen):
    """One command job. `inputs` and `outputs` map a name to a URI; the command refers to `${{inputs.NAME}}`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$", description="idempotency key")
    command: str
    environment: str = Field(description="registered environment, NAME:VERSION")
    inputs: dict[str, str]
    outputs: dict[str, str]
    instance_type: str
    instances: int = Field(default=1, ge=1, description="machines that run the command together")
    processes: int = Field(default=1, ge=1, description="per machine; several find each other as PyTorch's do")
    tier: Tier
    timeout_s: int
    role: JobRole = JobRole.RUN
    tags: dict[str, str] = Field(default_factory=dict)


class JobView(Frozen):
    """A job as the platform reports it."""

    name: str
    status: JobStatus
    error_code: str | None = None
    error_message: str | None = None
    failure_class: FailureClass | None = Field(default=None, description="of the error, where it is known")
    studio_url: str | None = None
    note: str = Field(default="", description="in what it was accepted otherwise than it was sent")


class MachineSize(Frozen):
    """A machine size that the workspace's region offers."""

    name: str
    family: str
    cores: int


class CoreQuota(Frozen):
    """Cores of one family, by its name in lower case, or of all families (None). `limit` None: no limit."""

    family: str | None
    spot: bool
    used: int
    limit: int | None

    @property
    def free(self) -> float:
        return float("inf") if self.limit is None else self.limit - self.used


class MetricPoint(Frozen):
    """One point of a curve; `at` is Unix time in milliseconds."""

    step: int
    value: float
    at: int


class ModelSpec(Frozen):
    """A model version to register; the same name and version with another URI is a conflict."""

    name: str
    version: str
    uri: str
    tags: dict[str, str] = Field(default_factory=dict)


class DeploymentState(StrEnum):
    CREATING = "creating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DeploymentSpec(Frozen):
    """One deployment of a registered model behind an endpoint; created with no traffic."""

    endpoint: str
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$")
    model: str = Field(description="registered model, NAME:VERSION")
    weights_bytes: int = Field(description="of the model: how long a server may take to start follows from it")
    environment: str
    instance_type: str
    instance_count: int = 1
    max_instances: int | None = Field(default=None, description="to which it may scale; None: it does not")
    scale_out_above: float | None = Field(default=None, description="percent of utilization; None: 70")
    environment_variables: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)


class DeploymentView(Frozen):
    name: str
    state: DeploymentState
    model: str | None = Field(default=None, description="registered model, NAME:VERSION")
    instances: int | None = Field(default=None, description="its machines now, where the platform reports them")
    error_code: str | None = None
    error_message: str | None = None


class RequestStats(Frozen):
    """Requests that a deployment got, the app's own questions among them, by the minutes that are measured so far."""

    requests: int
    failed: int = Field(description="without an answer, and not through what was asked, nor because it was busy")
    latency_s: float | None = Field(default=None, description="median of the minutes' medians")


class EndpointView(Frozen):
    """An endpoint, its scoring URI and the percentage of traffic per deployment (those with 0 left out)."""

    name: str
    scoring_uri: str
    traffic: dict[str, int]
    deployments: tuple[str, ...]
    is_changing: bool = Field(default=False, description="by the platform: created, updated or deleted")


REQUEST_TIMEOUT_S = 180  # Azure docs: the most that an endpoint allows; its default is 5


def answer_timeout_s(max_tokens: int) -> float:
    """How long an answer may take, at 20 tokens a second on a machine that answers others beside it."""
    return min(REQUEST_TIMEOUT_S, max(30.0, 10.0 + max_tokens / 20))


SCORING_SCOPE = "https://ml.azure.com/.default"
DEPLOYMENT_HEADER = "azureml-model-deployment"  # of a request: which one shall answer; of the answer: which one did


def chat_url(scoring_uri: str) -> str:
    """Azure docs: an endpoint forwards any path to the container; its scoring URI may end in `/score`."""
    return scoring_uri.rstrip("/").removesuffix("/score") + "/v1/chat/completions"


class ChatAnswer(Frozen):
    """What an endpoint answered to one chat request."""

    text: str
    deployment: str | None = Field(description="which deployment answered, if the endpoint reports it")
    latency_s: float
    prompt_tokens: int | None = Field(default=None, description="as the server counted them, if it reports them")
