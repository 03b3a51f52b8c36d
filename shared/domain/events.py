"""The facts the pipeline states. One class per fact; the wire type is written once, on the class.

Envelope: CloudEvents 1.0 structured JSON with the extensions `runid`, `attempt`, `revision`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from shared.domain.cost import CostEstimate
from shared.domain.errors import FailureClass, InvalidInput, Problem
from shared.domain.evaluation import Gain, Score, Verdict
from shared.domain.model import Frozen


class Event(Frozen):
    """A fact about a run. `key` tells apart events of one fact at one revision (attempts of a poll)."""

    wire_type: ClassVar[str]
    # A wish or an order stays valid whatever the run did meanwhile; a fact is about one revision.
    about_any_revision: ClassVar[bool] = False

    run_id: str
    project: str
    attempt: int
    revision: int = Field(description="the run's revision this fact belongs to")
    time: datetime
    key: str = ""

    @classmethod
    def fact(cls) -> str:
        """`validation.passed` of `droptune.validation.passed.v1`."""
        return cls.wire_type.removeprefix("droptune.").rsplit(".", 1)[0]

    @property
    def id(self) -> str:
        """Deterministic, so that a repeat is recognizable."""
        suffix = f".{self.key}" if self.key else ""
        return f"{self.run_id}.{self.fact()}.{self.revision}{suffix}"

    def to_cloudevent(self) -> dict[str, Any]:
        data = self.model_dump(mode="json", exclude=_ENVELOPE)
        return {
            "specversion": "1.0",
            "id": self.id,
            "type": self.wire_type,
            "source": f"/projects/{self.project}",
            "subject": self.run_id,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "runid": self.run_id,
            "attempt": self.attempt,
            "revision": self.revision,
            "data": {**data, "key": self.key} if self.key else data,
        }


_ENVELOPE = {"run_id", "project", "attempt", "revision", "time", "key"}


class DatasetUploaded(Event):
    """A dataset was received and pinned."""

    wire_type = "droptune.dataset.uploaded.v1"
    path: str
    sha256: str
    size_bytes: int


class ValidationStarted(Event):
    """The data is too large for a function; a job runs the same validator."""

    wire_type = "droptune.validation.started.v1"
    job: str


class ValidationCompleted(Event):
    """The validation job ended with a report, good or bad."""

    wire_type = "droptune.validation.completed.v1"
    job: str


class ValidationPassed(Event):
    """The dataset is valid and its curated version is written."""

    wire_type = "droptune.validation.passed.v1"
    version: str
    train_rows: int
    eval_rows: int


class ValidationFailed(Event):
    """The dataset or the recipe was rejected."""

    wire_type = "droptune.validation.failed.v1"
    codes: tuple[str, ...]
    errors: int
    report: str = Field(description="path of the report in the API")


class TrainingStarted(Event):
    """The training job was submitted."""

    wire_type = "droptune.training.started.v1"
    job: str
    estimate: CostEstimate


class TrainingCompleted(Event):
    """The training job ended with a model. Losses in nats, `seconds` of the job."""

    wire_type = "droptune.training.completed.v1"
    job: str
    train_loss: float | None
    eval_loss: float | None
    processed_tokens: int
    seconds: float


class EvaluationStarted(Event):
    """The evaluation job was submitted."""

    wire_type = "droptune.evaluation.started.v1"
    job: str


class EvaluationCompleted(Event):
    """The evaluation job ended with a report."""

    wire_type = "droptune.evaluation.completed.v1"
    job: str


class EvaluationPassed(Event):
    """The gate's decision with its numbers."""

    wire_type = "droptune.evaluation.passed.v1"
    base: Score
    candidate: Score
    champion: Score | None
    gains: tuple[Gain, ...]
    verdict: Verdict


class EvaluationFailed(Event):
    """The gate's decision with its numbers: what runs today stays."""

    wire_type = "droptune.evaluation.failed.v1"
    base: Score
    candidate: Score
    champion: Score | None
    gains: tuple[Gain, ...]
    verdict: Verdict


class ApprovalRequested(Event):
    """The gate passed; a person decides. The numbers they need are here."""

    wire_type = "droptune.approval.requested.v1"
    base: Score
    candidate: Score
    champion: Score | None
    gains: tuple[Gain, ...]
    verdict: Verdict


class ApprovalGranted(Event):
    """A person approved the candidate."""

    wire_type = "droptune.approval.granted.v1"
    by: str
    comment: str = ""


class ApprovalDenied(Event):
    """A person denied the candidate."""

    wire_type = "droptune.approval.denied.v1"
    by: str
    comment: str = ""


class ApprovalExpired(Event):
    """Nobody decided in time."""

    wire_type = "droptune.approval.expired.v1"
    deadline_at: datetime


class ModelDeclined(Event):
    """A person, or nobody in time, declined what the gate had passed."""

    wire_type = "droptune.model.declined.v1"
    by: str
    comment: str


class DeploymentStarted(Event):
    """The deployment is being created, without traffic."""

    wire_type = "droptune.deployment.started.v1"
    endpoint: str
    deployment: str
    model: str


class DeploymentProbed(Event):
    """What a look at a rollout saw. `traffic` is what the platform reports now."""

    wire_type = "droptune.deployment.probed.v1"
    endpoint: str
    deployment: str
    state: str = Field(description="creating, succeeded or failed")
    traffic: dict[str, int]
    answers_asked: int = 0
    answers_failed: int = Field(default=0, description="without an answer; why the first of them: `problem`")
    answers_as_evaluated: int = 0
    answers_unlike_base: int = 0
    prompts_unlike_evaluated: int = Field(default=0, description="rendered to another number of tokens")
    latency_s: float | None = Field(default=None, description="median over the questions asked")
    previous_latency_s: float | None = Field(default=None, description="of the old deployment, same questions")
    problem: Problem | None = None
    scoring_uri: str | None = None


class TrafficShifted(Event):
    """The endpoint was asked for a new traffic split (percent by deployment).

    The next probe shows whether it is in effect.
    """

    wire_type = "droptune.traffic.shifted.v1"
    endpoint: str
    traffic: dict[str, int]


class ModelPromoted(Event):
    """The model is in production: all traffic was seen on it."""

    wire_type = "droptune.model.promoted.v1"
    endpoint: str
    deployment: str
    model: str
    scoring_uri: str


class RollbackStarted(Event):
    """A rollout is being taken back."""

    wire_type = "droptune.rollback.started.v1"
    endpoint: str
    reason: Problem


class ModelRolledBack(Event):
    """The traffic is back on the previous deployment (percent by deployment)."""

    wire_type = "droptune.model.rolled_back.v1"
    endpoint: str
    traffic: dict[str, int]


class RollbackRequested(Event):
    """A person wants the previous deployment of an endpoint back; the run is the one in production."""

    wire_type = "droptune.rollback.requested.v1"
    about_any_revision = True
    endpoint: str
    deployment: str = Field(description="the one to leave; a repeat finds it left")
    by: str


class DeploymentRetired(Event):
    """A deployment that nobody needs any more was deleted."""

    wire_type = "droptune.deployment.retired.v1"
    endpoint: str
    deployment: str
    reason: str


class JobFailed(Event):
    """A job ended without its result: by its own word, or because the platform says so."""

    wire_type = "droptune.job.failed.v1"
    job: str
    failure_class: FailureClass
    problem: Problem


class JobStopped(Event):
    """A job that we asked to stop has stopped."""

    wire_type = "droptune.job.stopped.v1"
    job: str


class StageRefused(Event):
    """A step found that it cannot do its work."""

    wire_type = "droptune.stage.refused.v1"
    stage: str
    failure_class: FailureClass
    problem: Problem


class RetryDue(Event):
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


class RunOverdue(Event):
    """The run passed the deadline of its status."""

    wire_type = "droptune.run.overdue.v1"
    status: str
    deadline_at: datetime


class RunFailed(Event):
    """The run ended `failed`."""

    wire_type = "droptune.run.failed.v1"
    failure_class: FailureClass
    problem: Problem


class CancelRequested(Event):
    """Somebody asked for the run to stop."""

    wire_type = "droptune.run.cancel_requested.v1"
    about_any_revision = True
    by: str


class RunCancelled(Event):
    """The run was stopped."""

    wire_type = "droptune.run.cancelled.v1"
    by: str


def _concrete(cls: type[Event]) -> Iterator[type[Event]]:
    for child in cls.__subclasses__():
        if child.wire_type:
            yield child
        yield from _concrete(child)


EVENT_TYPES: dict[str, type[Event]] = {cls.wire_type: cls for cls in _concrete(Event)}


def parse_event(body: dict[str, Any]) -> Event:
    """The event in a CloudEvents envelope.

    Raises InvalidInput: `unknown_event_type`, `malformed_event`.
    """
    cls = EVENT_TYPES.get(str(body.get("type")))
    if cls is None:
        raise InvalidInput("unknown_event_type", f"no event of type {body.get('type')!r}", "type")
    try:
        return cls.model_validate(
            {
                **body.get("data", {}),
                "run_id": body.get("runid"),
                "project": str(body.get("source", "")).removeprefix("/projects/"),
                "attempt": body.get("attempt"),
                "revision": body.get("revision"),
                "time": body.get("time"),
            }
        )
    except (ValidationError, TypeError) as error:
        raise InvalidInput("malformed_event", str(error), "data") from error
