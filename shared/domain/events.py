"""The events the pipeline publishes. One class for the data of each type, which also holds its wire type.

Envelope: CloudEvents 1.0 structured JSON with the extensions `severity` and `schemaversion`, and of a run `runid`,
`attempt` and `revision`.
"""

from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import Field

from shared.domain.errors import FailureClass, InvalidInput, Problem
from shared.domain.evaluation import EvaluationResult, Gain, GateCheck, Score, Verdict
from shared.domain.jobs import DeploymentState
from shared.domain.model import Comment, Frozen, Person, UtcTime
from shared.domain.results import CostEstimate
from shared.domain.upgrades import SCHEMA_VERSION, upgraded


class Severity(StrEnum):
    """How much an event asks for: nothing, a look, or that somebody acts. In ascending order."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return tuple(Severity).index(self)


class EventData(Frozen):
    """What an event says, without the envelope: one class for each type of event; those without one are bases."""

    wire_type: ClassVar[str] = ""
    # A person's request stays valid whatever the run did meanwhile; anything else is about one revision.
    about_any_revision: ClassVar[bool] = False
    about_run: ClassVar[bool] = True  # else about a subscription, whose id is in the place of the run's
    severity: ClassVar[Severity] = Severity.INFO

    def __init_subclass__(cls, type: str = "", severity: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.severity = Severity(severity) if severity else cls.severity
        if type:
            cls.wire_type = f"droptune.{type}.v1"
            EVENT_TYPES[cls.wire_type] = cls

    @classmethod
    def short_type(cls) -> str:
        """`validation.passed` of `droptune.validation.passed.v1`."""
        return cls.wire_type.removeprefix("droptune.").rsplit(".", 1)[0]


EVENT_TYPES: dict[str, type[EventData]] = {}

MAX_FAILED_CHECKS = 20
MAX_NAME = 100  # characters: an event's id is the id of its message and part of its mark in the store
IN_A_NAME = r"^[^/\\?#\x00-\x1f]*$"  # ids of Cosmos DB hold none of these

DataT = TypeVar("DataT", bound=EventData, covariant=True)


class Event(Frozen, Generic[DataT]):
    """An event of a run. `key` tells apart events of one type at one revision (attempts of a poll)."""

    data: DataT
    run_id: str = Field(max_length=MAX_NAME, pattern=IN_A_NAME)
    project: str
    attempt: int = Field(lt=2**31)
    revision: int = Field(lt=2**31, description="the run's revision this event belongs to")
    time: UtcTime
    key: str = Field(default="", max_length=MAX_NAME, pattern=IN_A_NAME)

    def short_type(self) -> str:
        return self.data.short_type()

    @property
    def wire_type(self) -> str:
        return self.data.wire_type

    @property
    def id(self) -> str:
        """Deterministic, so that a repeat is recognizable."""
        suffix = f".{self.key}" if self.key else ""
        return f"{self.run_id}.{self.short_type()}.{self.revision}{suffix}"

    def to_cloudevent(self) -> dict[str, Any]:
        data = self.data.model_dump(mode="json")
        of_run = {"runid": self.run_id, "attempt": self.attempt, "revision": self.revision}
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.wire_type,
            "source": f"/projects/{self.project}",
            "subject": self.run_id,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "schemaversion": SCHEMA_VERSION,
            "severity": self.data.severity.value,
            **(of_run if self.data.about_run else {}),
            "data": {**data, "key": self.key} if self.key else data,
        }


class AboutJob(EventData):
    """About a job, by its name."""

    job: str


class RefusalEvent(EventData):
    """What failed, and how."""

    failure_class: FailureClass
    problem: Problem


class DatasetUploaded(EventData, type="dataset.uploaded"):
    """A dataset was received and pinned."""

    path: str
    sha256: str
    size_bytes: int


class ValidationStarted(AboutJob, type="validation.started"):
    """The data is too large for a function; a job runs the same validator."""


class ValidationCompleted(AboutJob, type="validation.completed"):
    """The validation job ended with a report, good or bad."""


class ValidationPassed(EventData, type="validation.passed"):
    """The dataset is valid and its curated version is written."""

    version: str
    train_rows: int
    eval_rows: int


class ValidationFailed(EventData, type="validation.failed", severity="error"):
    """The dataset or the recipe was rejected."""

    codes: tuple[str, ...]
    errors: int
    report: str = Field(description="path of the report in the API")


class TrainingStarted(AboutJob, type="training.started"):
    """The training job was submitted."""

    estimate: CostEstimate


class TrainingCompleted(AboutJob, type="training.completed"):
    """The training job ended with a model. Losses in nats, `seconds` of the job."""

    train_loss: float | None
    eval_loss: float | None
    processed_tokens: int
    seconds: float


class EvaluationDue(EventData, type="evaluation.due"):
    """The endpoint is free for a trained model that waited: it is evaluated now."""

    endpoint: str


class EvaluationStarted(AboutJob, type="evaluation.started"):
    """The evaluation job was submitted."""


class EvaluationCompleted(AboutJob, type="evaluation.completed"):
    """The evaluation job ended with a report."""


class GateDecision(EventData):
    """The gate's decision with its numbers."""

    base: Score
    candidate: Score
    champion: Score | None
    gains: tuple[Gain, ...]
    passed: bool
    checks: int = Field(description="how many the gate made; `GET /api/runs/{id}/evaluation` has them all")
    failed_checks: int
    failed: tuple[GateCheck, ...] = Field(description=f"the first {MAX_FAILED_CHECKS} checks that failed")

    @classmethod
    def of(cls, result: EvaluationResult, verdict: Verdict) -> Self:
        failed = tuple(check for check in verdict.checks if check.blocks)
        return cls(
            base=result.base,
            candidate=result.candidate,
            champion=result.champion,
            gains=result.gains,
            passed=verdict.passed,
            checks=len(verdict.checks),
            failed_checks=len(failed),
            failed=failed[:MAX_FAILED_CHECKS],
        )


class EvaluationPassed(GateDecision, type="evaluation.passed"):
    """The gate passed the candidate and, where approval is required, a person approved it."""


class EvaluationFailed(GateDecision, type="evaluation.failed", severity="warning"):
    """The gate's decision with its numbers: what runs today stays."""


class ApprovalRequested(GateDecision, type="approval.requested", severity="warning"):
    """The gate passed; a person decides. The numbers they need are here."""


class ApprovalReminder(EventData, type="approval.reminder", severity="warning"):
    """A quarter of the time for the decision is left."""

    deadline_at: UtcTime


class PersonsDecision(EventData):
    """What a person decided about a candidate."""

    about_any_revision = True
    by: Person
    by_id: Person = Field(default="", description="what never changes of that person: Entra's object id")
    by_as: tuple[Person, ...] = Field(default=(), description="what made them an approver: object id, groups, app role")
    candidate: str = Field(default="", description="hash of the model, rows and verdict that were looked at")
    comment: Comment = ""


class ApprovalGranted(PersonsDecision, type="approval.granted"):
    """A person approved the candidate. If it counts, the events of the run have it."""


class ApprovalDenied(PersonsDecision, type="approval.denied"):
    """A person denied the candidate. If it counts, the events of the run have it."""


class ApprovalExpired(EventData, type="approval.expired", severity="warning"):
    """No decision was made in time."""

    deadline_at: UtcTime


class PromotionRequested(EventData, type="promotion.requested"):
    """A person wants the model of a run that ended in production; others approve it as a candidate."""

    about_any_revision = True
    by: Person
    by_id: Person = Field(default="", description="what never changes of that person: Entra's object id")
    comment: Comment = ""


class ModelDeclined(EventData, type="model.declined", severity="warning"):
    """What the gate had passed was declined: by a person, or because no decision was made in time."""

    by: Person
    comment: Comment


class DeploymentStarted(EventData, type="deployment.started"):
    """The deployment is being created, without traffic."""

    endpoint: str
    deployment: str
    model: str


class DeploymentProbed(EventData, type="deployment.probed"):
    """What a probe of a rollout found. `traffic` is what the platform reports now."""

    endpoint: str
    deployment: str
    state: DeploymentState
    traffic: dict[str, int]
    answers_requested: int = 0
    answers_failed: int = Field(default=0, description="without an answer; why the first of them: `problem`")
    answers_as_evaluated: int = 0
    answers_unlike_base: int = 0
    prompts_unlike_evaluated: int = Field(default=0, description="rendered to another number of tokens")
    latency_s: float | None = Field(default=None, description="median over the questions asked")
    previous_latency_s: float | None = Field(default=None, description="of the old deployment, same questions")
    problem: Problem | None = None
    scoring_uri: str | None = None


class TrafficShifted(EventData, type="traffic.shifted"):
    """The endpoint was asked for a new traffic split (percent by deployment).

    The next probe shows whether it is in effect.
    """

    endpoint: str
    traffic: dict[str, int]


class ModelPromoted(EventData, type="model.promoted"):
    """The model is in production: all traffic was seen on it."""

    endpoint: str
    deployment: str
    model: str
    scoring_uri: str
    candidate: Score | None = Field(default=None, description="its score in the evaluation that it passed")
    gains: tuple[Gain, ...] = ()


class RollbackStarted(EventData, type="rollback.started", severity="warning"):
    """A rollout is being rolled back."""

    endpoint: str
    reason: Problem
    by: Person | None = Field(default=None, description="the person who asked; None if the probes decided")


class ModelRolledBack(EventData, type="model.rolled_back", severity="error"):
    """The traffic is back on the previous deployment (percent by deployment)."""

    endpoint: str
    traffic: dict[str, int]
    reason: Problem
    by: Person | None = Field(default=None, description="the person who asked; None if the probes decided")


class EndpointOrder(EventData):
    """A person wants something of an endpoint; the run is the one in production."""

    about_any_revision = True
    endpoint: str
    project: str = Field(default="", description="the endpoint's owner when it was asked for; empty: the run's")
    by: Person
    comment: Comment = ""


class RollbackRequested(EndpointOrder, type="rollback.requested"):
    """A person, or the monitor (`by` is empty), wants the previous deployment back; the run is in production."""

    deployment: str = Field(description="the one to leave; a repeat finds it left")
    to: str = Field(default="", description="the one to get the traffic")
    reason: Problem | None = Field(default=None, description="why the monitor wants it; null: a person does")


class EndpointOrdered(EndpointOrder, type="endpoint.ordered"):
    """A person wants the model of a stopped endpoint deployed again, or an endpoint deleted."""

    to: Literal["restored", "deleted"]


class EndpointChanged(EventData, type="endpoint.changed"):
    """The deployment of an idle endpoint was deleted, its model is deployed again, or the endpoint was deleted."""

    endpoint: str
    state: Literal["stopped", "restored", "deleted"]
    by: Person
    comment: Comment


class EndpointProbed(EventData):
    """About the run in production, once for each change of state: what probes in a row found of its deployment."""

    endpoint: str
    deployment: str
    probes: int = Field(description="in a row that found it so")


class EndpointUnwell(EndpointProbed):
    """What is wrong, with its numbers: a share, or seconds (`too_slow`)."""

    problem: Problem
    before: float | None = Field(description="at the promotion; null: not known")
    now: float | None
    limit: float | None = Field(description="what would just be well")
    rolls_back_to: str | None = Field(default=None, description="the previous deployment, if it was asked for")


class EndpointDegraded(EndpointUnwell, type="endpoint.degraded", severity="warning"):
    """The deployment in production answers wrongly, too slowly, or not all that it is asked."""


class EndpointDown(EndpointUnwell, type="endpoint.down", severity="error"):
    """The deployment in production does not answer."""


class EndpointRecovered(EndpointProbed, type="endpoint.recovered"):
    """What is in production answers well again."""

    was: str
    seconds: float = Field(description="since the endpoint was said not to be well")


class DeploymentRetired(EventData, type="deployment.retired"):
    """A deployment that is not needed any more was deleted."""

    endpoint: str
    deployment: str
    reason: str


class JobFailed(RefusalEvent, AboutJob, type="job.failed", severity="warning"):
    """A job ended without its result, as its result file or the platform says."""


class JobStopped(AboutJob, type="job.stopped"):
    """A job that we asked to stop has stopped."""


class StageRefused(RefusalEvent, type="stage.refused", severity="warning"):
    """A step found that it cannot do its work."""

    stage: str


class RetryDue(RefusalEvent):
    """A stage is worth another attempt; scheduled, so it comes when the wait is over. `attempt` is the new one."""


class ValidationRetryDue(RetryDue, type="validation.retry_due"):
    """Validation is tried again."""


class TrainingRetryDue(RetryDue, type="training.retry_due"):
    """Training is tried again."""


class EvaluationRetryDue(RetryDue, type="evaluation.retry_due"):
    """Evaluation is tried again."""


class DeploymentRetryDue(RetryDue, type="deployment.retry_due"):
    """The deployment is tried again."""


class QuotaMissing(EventData, type="quota.missing", severity="warning"):
    """The run waits until somebody has asked for quota and got it; it is tried again until then."""

    problem: Problem
    until: UtcTime


class BudgetWarning(EventData, type="budget.warning", severity="warning"):
    """With this run more than the policy's `warn_at_percent` of a month's budget is taken."""

    budget: str = Field(description="a project, `team NAME`, or `all projects`")
    taken_usd: float
    limit_usd: float


class RunOverdue(EventData, type="run.overdue", severity="warning"):
    """The run passed the deadline of its status."""

    status: str
    deadline_at: UtcTime


class RunFailed(RefusalEvent, type="run.failed", severity="error"):
    """The run ended `failed`."""


class CancelRequested(EventData, type="run.cancel_requested"):
    """Somebody asked for the run to stop."""

    about_any_revision = True
    by: Person


class RunCancelled(EventData, type="run.cancelled"):
    """The run was stopped."""

    by: Person


class AboutSubscription(EventData):
    """About a subscription, in the place of a run."""

    about_run = False
    subscription: str = Field(description="its name")
    target: str = Field(description="type of its target")


class SubscriptionTest(AboutSubscription, type="subscription.test"):
    """A person tries whether a subscription's target takes events."""

    by: Person


class SubscriptionDisabled(AboutSubscription, type="subscription.disabled", severity="error"):
    """A subscription gets nothing until a person enables it: its target wants nothing, or took nothing for days."""

    reason: Problem


def parse_event(body: dict[str, Any]) -> Event[EventData]:
    """The event in a CloudEvents envelope, of this version or an earlier one; fields it does not know are ignored.

    Raises InvalidInput: `unknown_event_type`, `malformed_event`. Raises LaterVersion.
    """
    try:
        body = upgraded("event", body, body.get("schemaversion"))
        cls = EVENT_TYPES.get(str(body.get("type")))
        if cls is None:
            raise InvalidInput("unknown_event_type", f"no event of type {body.get('type')!r}", "type")
        data = dict(body.get("data", {}))
        fields = {name: body.get(name) for name in ("attempt", "revision", "time")} | {"key": data.pop("key", "")}
        if not cls.about_run:
            fields |= {"attempt": 0, "revision": 0}
        fields |= {"run_id": body.get("runid") if cls.about_run else body.get("subject")}
        fields |= {"project": str(body.get("source", "")).removeprefix("/projects/")}
        return Event.model_validate({**fields, "data": cls.model_validate(data, extra="ignore")})
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput("malformed_event", str(error), "data") from error
