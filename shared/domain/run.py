"""A run: one dataset's way through the pipeline. Frozen; only the runner makes a new revision."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, ConfigDict, Field
from typing_extensions import TypedDict

from shared.domain.dataset import Beside, CuratedVersion, DatasetRef
from shared.domain.errors import FailureClass, Problem
from shared.domain.evaluation import EvaluationResult, Verdict
from shared.domain.jobs import JobKind
from shared.domain.model import Frozen
from shared.domain.policy import PolicyInForce
from shared.domain.recipe import Deployment, ResolvedRecipe
from shared.domain.results import CostEstimate, JobMetrics


class Status(StrEnum):
    RECEIVED = "received"
    VALIDATING = "validating"
    VALIDATED = "validated"
    APPROVED = "approved"
    TRAINING = "training"
    TRAINED = "trained"
    EVALUATING = "evaluating"
    AWAITING_APPROVAL = "awaiting_approval"
    DEPLOYING = "deploying"
    ROLLING_BACK = "rolling_back"
    CANCELLING = "cancelling"
    DEPLOYED = "deployed"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    DECLINED = "declined"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STOPPED = {Status.FAILED, Status.CANCELLED, Status.ROLLED_BACK}
TERMINAL = frozenset({Status.DEPLOYED, Status.REJECTED, Status.DUPLICATE, Status.DECLINED, *_STOPPED})
NON_TERMINAL = frozenset(Status) - TERMINAL
# The name in `attention` for a run that could not begin its evaluation in its turn and waits behind the others.
PASSED_OVER = "turn"


class Transition(Frozen):
    """One line of history."""

    status: Status
    at: AwareDatetime
    event_id: str = Field(description="the event that caused it")
    event_type: str
    note: str = ""


class JobRef(Frozen):
    """An Azure ML job of this run."""

    name: str
    kind: JobKind
    attempt: int
    submitted_at: AwareDatetime
    studio_url: str | None = None


class RolloutRef(Frozen):
    """The deployment being rolled out or that went live; `traffic` is what was last asked for."""

    endpoint: str
    deployment: str
    model: str
    previous: dict[str, int] = Field(description="traffic before the rollout began")
    traffic: dict[str, int]
    step: int = Field(ge=0, description="index of the next entry of recipe.deployment.rollout")
    scoring_uri: str | None = None
    unreachable_since: AwareDatetime | None = Field(default=None, description="first of the probes without answer")
    failing_since: AwareDatetime | None = Field(
        default=None, description="first of the probes that found it flaky or slow"
    )
    back_since: AwareDatetime | None = Field(default=None, description="when a rollback's traffic was first seen")


class ValidationSummary(Frozen):
    passed: bool
    errors: int
    warnings: int
    codes: tuple[str, ...]


class Decision(Frozen):
    """A person's word on a candidate that passed the gate."""

    granted: bool
    by: str
    by_id: str = Field(default="", description="what never changes of that person: Entra's object id")
    by_as: tuple[str, ...] = Field(default=(), description="what made them an approver; empty in earlier versions")
    at: AwareDatetime
    comment: str = ""


class Rollback(Frozen):
    """Why a model lost its traffic, and who asked for it."""

    reason: Problem
    by: str | None = Field(description="the person who asked; None if the probes decided")
    at: AwareDatetime


class RunError(Frozen):
    """Why the run failed: the class decides about retries, the problem carries the root cause."""

    failure_class: FailureClass
    problem: Problem


class Attention(Frozen):
    """What a timer fails at with a run, at each of its ticks since then."""

    timer: str
    problem: str
    since: AwareDatetime


class Run(Frozen):
    """State of one run. Times are aware UTC; `revision` counts transitions; `deadline_at` is None at the end."""

    id: str
    project: str
    status: Status
    revision: int = Field(ge=0)
    attempt: int = Field(ge=1, description="of the present stage, from 1")
    created_at: AwareDatetime
    updated_at: AwareDatetime
    deadline_at: AwareDatetime | None
    dataset: DatasetRef
    fingerprint: str = Field(description="hash of recipe (or default base model) and held-out set at receipt")
    beside: Beside | None = Field(default=None, description="the same files, pinned; None of an earlier version's run")
    duplicate_of: str | None = None
    parent_run: str | None = None
    recipe: ResolvedRecipe | None = None
    curated: CuratedVersion | None = None
    validation: ValidationSummary | None = None
    jobs: tuple[JobRef, ...] = ()
    training: JobMetrics | None = Field(default=None, description="of the training job")
    evaluation: EvaluationResult | None = None
    verdict: Verdict | None = None
    model_sha256: str | None = Field(
        default=None, description="hash of the list of the merged model's files when its evaluation began"
    )
    approvals: tuple[Decision, ...] = Field(default=(), description="of this candidate; the last is `decision`")
    decision: Decision | None = None
    champion: str | None = Field(default=None, description="run in production when evaluation began")
    held_out_attempt: int | None = Field(
        default=None, description="which evaluation of the project against these held-out rows, from 1, it is"
    )
    rollout: RolloutRef | None = None
    rollback: Rollback | None = Field(default=None, description="the newest, during the rollout or later")
    cost: CostEstimate | None = None
    error: RunError | None = None
    requested_by: str | None = Field(default=None, description="who asked over the API; None for a dropped blob")
    requester_id: str | None = Field(default=None, description="what never changes of that person: Entra's object id")
    uploader_ids: tuple[str, ...] | None = Field(
        default=None,
        description="who uploaded data, recipe and held-out rows; None if that is not known of each, or an app asked",
    )
    known_uploader_ids: tuple[str, ...] = Field(default=(), description="the same, of those files of which it is known")
    promotion_requester_id: str | None = Field(default=None, description="who asked for its model after it ended")
    cancel_requested_by: str | None = None
    policy: PolicyInForce | None = Field(default=None, description="what validation, training or deployment last read")
    retention_days: int = Field(
        default=0, ge=0, description="days after its end in which it is kept if it deployed nothing; 0: for ever"
    )
    history: tuple[Transition, ...] = ()
    attention: tuple[Attention, ...] = ()

    @property
    def resolved(self) -> ResolvedRecipe:
        """The recipe, which a run has from `validated` on."""
        assert self.recipe is not None
        return self.recipe

    @property
    def deployment(self) -> Deployment:
        """As its recipe has it, or as a recipe without a word of it: a repair may have lost the recipe."""
        return self.recipe.requested.deployment if self.recipe else Deployment()

    @property
    def pinned(self) -> tuple[DatasetRef, ...]:
        """Data, held-out rows and recipe as they were received."""
        return (self.dataset, *(self.beside.files if self.beside else ()))

    @property
    def received(self) -> Beside:
        """What lay beside its data, which a run has in its validation."""
        assert self.beside is not None
        return self.beside

    @property
    def pinned_sha256(self) -> str:
        return ",".join(one.sha256 for one in self.pinned)

    @property
    def requester_ids(self) -> frozenset[str]:
        """Ids of who asked for it, or for its promotion, or uploaded a file of it: their approval does not count."""
        ids = (self.requester_id, self.promotion_requester_id, *(self.uploader_ids or ()), *self.known_uploader_ids)
        return frozenset(id for id in ids if id)

    @property
    def terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def ended_at(self) -> datetime | None:
        """When the run reached its end. A later rollback of its model changes `updated_at` only."""
        return next((line.at for line in self.history if line.status in TERMINAL), None)

    @property
    def rollback_reason(self) -> Problem:
        """Why its model lost the traffic."""
        if self.rollback is None:
            return Problem(code="rolled_back", message="the reason was not recorded")
        return self.rollback.reason

    @property
    def job(self) -> JobRef | None:
        """The newest job."""
        return self.jobs[-1] if self.jobs else None

    def evolve(self, **changes: Any) -> Self:
        """A copy with fields replaced, validated again."""
        return type(self).model_validate({**dict(self), **changes})

    def log_context(self) -> dict[str, Any]:
        return {"run_id": self.id, "status": self.status.value, "revision": self.revision}


class RunChanges(TypedDict, total=False):
    """The fields of a run that a step may set; the runner sets status, revision, times and history."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    attempt: int
    recipe: ResolvedRecipe | None
    curated: CuratedVersion | None
    validation: ValidationSummary | None
    jobs: tuple[JobRef, ...]
    training: JobMetrics | None
    evaluation: EvaluationResult | None
    verdict: Verdict | None
    model_sha256: str | None
    approvals: tuple[Decision, ...]
    decision: Decision | None
    champion: str | None
    held_out_attempt: int | None
    rollout: RolloutRef | None
    rollback: Rollback | None
    cost: CostEstimate | None
    policy: PolicyInForce | None
    error: RunError | None
    promotion_requester_id: str | None
    cancel_requested_by: str | None
