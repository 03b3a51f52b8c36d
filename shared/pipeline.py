"""The pipeline as data: which event wakes which function, what it may do to a run, what it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.domain import events as e
from shared.domain.run import NON_TERMINAL, Run, Status
from shared.domain.topology import Subscription, Topology
from shared.step_support.outcome import Step
from shared.steps.advance_rollout import advance_rollout
from shared.steps.cancel_run import cancel_run
from shared.steps.deploy_model import deploy_model
from shared.steps.fail_run import fail_run
from shared.steps.judge_evaluation import judge_evaluation
from shared.steps.judge_validation import judge_validation
from shared.steps.notify import DELIVERIES, notify
from shared.steps.reconcile import JOB_EVENTS, STORAGE_EVENTS
from shared.steps.record_decision import record_decision
from shared.steps.roll_back import roll_back
from shared.steps.submit_evaluation import submit_evaluation
from shared.steps.submit_training import submit_training
from shared.steps.validate_dataset import validate_dataset

TOPIC = "pipeline"


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the table in docs/reference/events.md.

    `wakes` empty means a queue or a timer wakes it. `step` is None where no single run is moved: those
    functions call their step themselves.
    """

    name: str
    wakes: tuple[type[e.Event], ...]
    before: frozenset[Status]
    after: frozenset[Status]
    publishes: tuple[type[e.Event], ...]
    step: Step | None = None
    queue: str | None = None
    timer: str | None = None


def _stage(
    step: Step,
    wakes: tuple[type[e.Event], ...],
    before: set[Status] | frozenset[Status],
    after: set[Status],
    publishes: tuple[type[e.Event], ...],
) -> Stage:
    return Stage(step.__name__, wakes, frozenset(before), frozenset(after), publishes, step)


_NOTHING: frozenset[Status] = frozenset()

STAGES: tuple[Stage, ...] = (
    Stage(
        "receive_dataset",
        (),
        _NOTHING,
        frozenset({Status.RECEIVED, Status.DUPLICATE}),
        (e.DatasetUploaded,),
        queue=STORAGE_EVENTS,
    ),
    _stage(
        validate_dataset,
        (e.DatasetUploaded, e.ValidationRetryDue),
        {Status.RECEIVED, Status.VALIDATING},
        {Status.VALIDATED, Status.REJECTED, Status.VALIDATING},
        (e.ValidationPassed, e.ValidationFailed, e.ValidationStarted),
    ),
    _stage(
        judge_validation,
        (e.ValidationCompleted,),
        {Status.VALIDATING},
        {Status.VALIDATED, Status.REJECTED},
        (e.ValidationPassed, e.ValidationFailed),
    ),
    _stage(
        submit_training,
        (e.ValidationPassed, e.TrainingRetryDue),
        {Status.VALIDATED, Status.TRAINING},
        {Status.TRAINING},
        (e.TrainingStarted,),
    ),
    Stage(
        "inspect_job",
        (),
        _NOTHING,
        _NOTHING,
        (e.ValidationCompleted, e.TrainingCompleted, e.EvaluationCompleted, e.JobFailed, e.JobStopped),
        queue=JOB_EVENTS,
    ),
    _stage(
        submit_evaluation,
        (e.TrainingCompleted, e.EvaluationRetryDue),
        {Status.TRAINING, Status.EVALUATING},
        {Status.EVALUATING},
        (e.EvaluationStarted,),
    ),
    _stage(
        judge_evaluation,
        (e.EvaluationCompleted,),
        {Status.EVALUATING},
        {Status.APPROVED, Status.AWAITING_APPROVAL, Status.DECLINED},
        (e.EvaluationPassed, e.ApprovalRequested, e.EvaluationFailed),
    ),
    _stage(
        record_decision,
        (e.ApprovalGranted, e.ApprovalDenied, e.ApprovalExpired),
        {Status.AWAITING_APPROVAL},
        {Status.APPROVED, Status.DECLINED},
        (e.EvaluationPassed, e.ModelDeclined),
    ),
    _stage(
        deploy_model,
        (e.EvaluationPassed, e.DeploymentRetryDue),
        {Status.APPROVED},
        {Status.DEPLOYING, Status.EVALUATING},
        (e.DeploymentStarted, e.EvaluationStarted),
    ),
    Stage("probe_deployments", (), _NOTHING, _NOTHING, (e.DeploymentProbed,), timer="PROBE_SCHEDULE"),
    _stage(
        advance_rollout,
        (e.DeploymentProbed,),
        {Status.DEPLOYING, Status.ROLLING_BACK},
        {Status.DEPLOYING, Status.DEPLOYED, Status.ROLLING_BACK, Status.ROLLED_BACK},
        (e.TrafficShifted, e.ModelPromoted, e.RollbackStarted, e.ModelRolledBack),
    ),
    _stage(
        fail_run,
        (e.JobFailed, e.StageRefused, e.RunOverdue),
        NON_TERMINAL,
        {
            Status.FAILED,
            Status.RECEIVED,
            Status.VALIDATING,
            Status.VALIDATED,
            Status.TRAINING,
            Status.EVALUATING,
            Status.APPROVED,
        },
        (
            e.RunFailed,
            e.ValidationRetryDue,
            e.TrainingRetryDue,
            e.EvaluationRetryDue,
            e.DeploymentRetryDue,
        ),
    ),
    _stage(
        cancel_run,
        (e.CancelRequested, e.JobStopped),
        NON_TERMINAL,
        {Status.CANCELLING, Status.CANCELLED, Status.ROLLING_BACK},
        (e.RunCancelled, e.RollbackStarted),
    ),
    _stage(roll_back, (e.RollbackRequested,), frozenset(Status), set(), (e.ModelRolledBack,)),
    Stage("retire_deployments", (), _NOTHING, _NOTHING, (e.DeploymentRetired,), timer="RETIRE_SCHEDULE"),
    Stage("notify", tuple(e.EVENT_TYPES.values()), frozenset(Status), _NOTHING, (), notify),
    Stage("deliver_notification", (), _NOTHING, _NOTHING, (), queue=DELIVERIES),
    Stage(
        "reconcile",
        (),
        _NOTHING,
        _NOTHING,
        (e.RunOverdue, e.ApprovalExpired),
        timer="RECONCILE_SCHEDULE",
    ),
    Stage("retrain", (), _NOTHING, _NOTHING, (), timer="RETRAIN_SCHEDULE"),
)

BY_NAME = {stage.name: stage for stage in STAGES}

TOPOLOGY = Topology(
    queues=tuple(stage.queue for stage in STAGES if stage.queue),
    topics={
        TOPIC: tuple(
            Subscription(
                stage.name,
                None if stage.name == "notify" else frozenset(cls.wire_type for cls in stage.wakes),
            )
            for stage in STAGES
            if stage.wakes
        )
    },
)

# Every non-terminal status ends by itself: in a move, or here. Two are set by the recipe: see `deadline`.
DEADLINES = {
    Status.RECEIVED: timedelta(hours=1),
    Status.VALIDATING: timedelta(hours=12),
    Status.VALIDATED: timedelta(hours=24),
    Status.EVALUATING: timedelta(hours=36),
    Status.APPROVED: timedelta(hours=24),
    Status.DEPLOYING: timedelta(hours=2),
    Status.ROLLING_BACK: timedelta(hours=2),
    Status.CANCELLING: timedelta(hours=1),
}
# A spot job may wait for capacity this long before its own time limit starts to run.
QUEUE_ALLOWANCE = timedelta(hours=24)


def deadline(run: Run, status: Status) -> timedelta:
    """How long a run may stay in a non-terminal status."""
    if status is Status.TRAINING:
        assert run.recipe is not None
        return timedelta(hours=run.recipe.requested.budget.deadline_hours) + QUEUE_ALLOWANCE
    if status is Status.AWAITING_APPROVAL:
        assert run.recipe is not None
        return timedelta(hours=run.recipe.requested.deployment.approval_hours)
    return DEADLINES[status]
