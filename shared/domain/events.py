"""The events the pipeline publishes. One class for the data of each type, which also holds its wire type.

Envelope: CloudEvents 1.0 structured JSON with the extensions `runid`, `attempt`, `revision` and `schemaversion`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field

from shared.domain.cost import CostEstimate
from shared.domain.errors import FailureClass, InvalidInput, Problem
from shared.domain.evaluation import EvaluationResult, Gain, GateCheck, Score, Verdict
from shared.domain.jobs import DeploymentState
from shared.domain.model import Comment, Frozen, Person, UtcTime
from shared.domain.upgrades import SCHEMA_VERSION, upgraded


class EventData(Frozen):
    """What an event says, without the envelope: one class for each type of event."""

    wire_type: ClassVar[str]
    # A person's request stays valid whatever the run did meanwhile; anything else is about one revision.
    about_any_revision: ClassVar[bool] = False

    @classmethod
    def short_type(cls) -> str:
        """`validation.passed` of `droptune.validation.passed.v1`."""
        return cls.wire_type.removeprefix("droptune.").rsplit(".", 1)[0]


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
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.wire_type,
            "source": f"/projects/{self.project}",
            "subject": self.run_id,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "schemaversion": SCHEMA_VERSION,
            "runid": self.run_id,
            "attempt": self.attempt,
            "revision": self.revision,
            "data": {**data, "key": self.key} if self.key else data,
        }


class DatasetUploaded(EventData):
    """A dataset was received and pinned."""

    wire_type = "droptune.dataset.uploaded.v1"
    path: str
    sha256: str
    size_bytes: int


class ValidationStarted(EventData):
    """The data is too large for a function; a job runs the same validator."""

    wire_type = "droptune.validation.started.v1"
    job: str


class ValidationCompleted(EventData):
    """The validation job ended with a report, good or bad."""

    wire_type = "droptune.validation.completed.v1"
    job: str


class ValidationPassed(EventData):
    """The dataset is valid and its curated version is written."""

    wire_type = "droptune.validation.passed.v1"
    version: str
    train_rows: int
    eval_rows: int


class ValidationFailed(EventData):
    """The dataset or the recipe was rejected."""

    wire_type = "droptune.validation.failed.v1"
    codes: tuple[str, ...]
    errors: int
    report: str = Field(description="path of the report in the API")


class TrainingStarted(EventData):
    """The training job was submitted."""

    wire_type = "droptune.training.started.v1"
    job: str
    estimate: CostEstimate


class TrainingCompleted(EventData):
    """The training job ended with a model. Losses in nats, `seconds` of the job."""

    wire_type = "droptune.training.completed.v1"
    job: str
    train_loss: float | None
    eval_loss: float | None
    processed_tokens: int
    seconds: float


class EvaluationDue(EventData):
    """The endpoint is free for a trained model that waited: it is evaluated now."""

    wire_type = "droptune.evaluation.due.v1"
    endpoint: str


class EvaluationStarted(EventData):
    """The evaluation job was submitted."""

    wire_type = "droptune.evaluation.started.v1"
    job: str


class EvaluationCompleted(EventData):
    """The evaluation job ended with a report."""

    wire_type = "droptune.evaluation.completed.v1"
    job: str


class GateDecision(EventData):
    """The gate's decision with its numbers."""

    wire_type = ""
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


class EvaluationPassed(GateDecision):
    """The gate passed the candidate and, where approval is required, a person approved it."""

    wire_type = "droptune.evaluation.passed.v1"


class EvaluationFailed(GateDecision):
    """The gate's decision with its numbers: what runs today stays."""

    wire_type = "droptune.evaluation.failed.v1"


class ApprovalRequested(GateDecision):
    """The gate passed; a person decides. The numbers they need are here."""

    wire_type = "droptune.approval.requested.v1"


class ApprovalGranted(EventData):
    """A person approved the candidate."""

    wire_type = "droptune.approval.granted.v1"
    by: Person
    comment: Comment = ""


class ApprovalDenied(EventData):
    """A person denied the candidate."""

    wire_type = "droptune.approval.denied.v1"
    by: Person
    comment: Comment = ""


class ApprovalExpired(EventData):
    """No decision was made in time."""

    wire_type = "droptune.approval.expired.v1"
    deadline_at: UtcTime


class ModelDeclined(EventData):
    """What the gate had passed was declined: by a person, or because no decision was made in time."""

    wire_type = "droptune.model.declined.v1"
    by: Person
    comment: Comment


class DeploymentStarted(EventData):
    """The deployment is being created, without traffic."""

    wire_type = "droptune.deployment.started.v1"
    endpoint: str
    deployment: str
    model: str


class DeploymentProbed(EventData):
    """What a probe of a rollout found. `traffic` is what the platform reports now."""

    wire_type = "droptune.deployment.probed.v1"
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


class TrafficShifted(EventData):
    """The endpoint was asked for a new traffic split (percent by deployment).

    The next probe shows whether it is in effect.
    """

    wire_type = "droptune.traffic.shifted.v1"
    endpoint: str
    traffic: dict[str, int]


class ModelPromoted(EventData):
    """The model is in production: all traffic was seen on it."""

    wire_type = "droptune.model.promoted.v1"
    endpoint: str
    deployment: str
    model: str
    scoring_uri: str


class RollbackStarted(EventData):
    """A rollout is being rolled back."""

    wire_type = "droptune.rollback.started.v1"
    endpoint: str
    reason: Problem
    by: Person | None = Field(default=None, description="the person who asked; None if the probes decided")


class ModelRolledBack(EventData):
    """The traffic is back on the previous deployment (percent by deployment)."""

    wire_type = "droptune.model.rolled_back.v1"
    endpoint: str
    traffic: dict[str, int]
    reason: Problem
    by: Person | None = Field(default=None, description="the person who asked; None if the probes decided")


class RollbackRequested(EventData):
    """A person wants the previous deployment of an endpoint back; the run is the one in production."""

    wire_type = "droptune.rollback.requested.v1"
    about_any_revision = True
    endpoint: str
    deployment: str = Field(description="the one to leave; a repeat finds it left")
    to: str = Field(default="", description="the one to get the traffic")
    by: Person
    comment: Comment = ""


class DeploymentRetired(EventData):
    """A deployment that is not needed any more was deleted."""

    wire_type = "droptune.deployment.retired.v1"
    endpoint: str
    deployment: str
    reason: str


class JobFailed(EventData):
    """A job ended without its result, as its result file or the platform says."""

    wire_type = "droptune.job.failed.v1"
    job: str
    failure_class: FailureClass
    problem: Problem


class JobStopped(EventData):
    """A job that we asked to stop has stopped."""

    wire_type = "droptune.job.stopped.v1"
    job: str


class StageRefused(EventData):
    """A step found that it cannot do its work."""

    wire_type = "droptune.stage.refused.v1"
    stage: str
    failure_class: FailureClass
    problem: Problem


class RetryDue(EventData):
    """A stage is worth another attempt; scheduled, so it comes when the wait is over. `attempt` is the new one."""

    wire_type = ""
    failure_class: FailureClass
    problem: Problem


class ValidationRetryDue(RetryDue):
    """Validation is tried again."""

    wire_type = "droptune.validation.retry_due.v1"


class TrainingRetryDue(RetryDue):
    """Training is tried again."""

    wire_type = "droptune.training.retry_due.v1"


class EvaluationRetryDue(RetryDue):
    """Evaluation is tried again."""

    wire_type = "droptune.evaluation.retry_due.v1"


class DeploymentRetryDue(RetryDue):
    """The deployment is tried again."""

    wire_type = "droptune.deployment.retry_due.v1"


class RunOverdue(EventData):
    """The run passed the deadline of its status."""

    wire_type = "droptune.run.overdue.v1"
    status: str
    deadline_at: UtcTime


class RunFailed(EventData):
    """The run ended `failed`."""

    wire_type = "droptune.run.failed.v1"
    failure_class: FailureClass
    problem: Problem


class CancelRequested(EventData):
    """Somebody asked for the run to stop."""

    wire_type = "droptune.run.cancel_requested.v1"
    about_any_revision = True
    by: Person


class RunCancelled(EventData):
    """The run was stopped."""

    wire_type = "droptune.run.cancelled.v1"
    by: Person


def _concrete(cls: type[EventData]) -> Iterator[type[EventData]]:
    for child in cls.__subclasses__():
        if child.wire_type:
            yield child
        yield from _concrete(child)


EVENT_TYPES: dict[str, type[EventData]] = {cls.wire_type: cls for cls in _concrete(EventData)}


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
        key = data.pop("key", "")
        return Event.model_validate(
            {
                "data": cls.model_validate(data, extra="ignore"),
                "run_id": body.get("runid"),
                "project": str(body.get("source", "")).removeprefix("/projects/"),
                "attempt": body.get("attempt"),
                "revision": body.get("revision"),
                "time": body.get("time"),
                "key": key,
            }
        )
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput("malformed_event", str(error), "data") from error
