"""The pipeline as data: which event wakes which function, what it may do to a run, what it publishes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shared.domain import events as e
from shared.domain.run import NON_TERMINAL, Run, Status
from shared.domain.topology import DELIVERIES, JOB_EVENTS, STORAGE_EVENTS, TOPIC, Subscription, Topology
from shared.step_support.outcome import Step
from shared.steps.advance_rollout import advance_rollout
from shared.steps.apply_gate import apply_gate
from shared.steps.cancel_run import WITH_JOB, WITHOUT_JOB, cancel_run
from shared.steps.conclude_validation import conclude_validation
from shared.steps.deploy_model import deploy_model
from shared.steps.fail_run import fail_run
from shared.steps.notify import notify
from shared.steps.record_decision import record_decision
from shared.steps.roll_back import roll_back
from shared.steps.submit_evaluation import submit_evaluation
from shared.steps.submit_training import submit_training
from shared.steps.validate_dataset import validate_dataset

# None before: no run yet.
Move = tuple[Status | None, Status]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One function: what wakes it, which transitions it may write and what it may publish.

    The runner refuses anything else. The function's name, description and trigger, the topology of the bus and
    docs/reference/events.md are made of it. `step` is None where no single run is moved: those functions call their
    step themselves. A stage without `moves` leaves every run as it is.
    """

    name: str
    description: str
    wakes: tuple[type[e.EventData], ...] = ()
    queue: str | None = None
    timer: str | None = None
    moves: frozenset[Move] = frozenset()
    publishes: tuple[type[e.EventData], ...] = ()
    step: Step | None = None

    @property
    def before(self) -> frozenset[Status]:
        """Statuses of a run it may move."""
        return frozenset(before for before, _ in self.moves if before is not None)


def _from(before: Status | None, *after: Status) -> frozenset[Move]:
    return frozenset((before, status) for status in after)


# A failed stage is tried again from here: the status stays, the attempt is the next one.
RETRIED = (
    Status.RECEIVED,
    Status.VALIDATING,
    Status.VALIDATED,
    Status.TRAINING,
    Status.TRAINED,
    Status.EVALUATING,
    Status.APPROVED,
)

STAGES: tuple[Stage, ...] = (
    Stage(
        name="receive_dataset",
        description="Receives a blob of the drop zone: pins it and creates its run.",
        queue=STORAGE_EVENTS,
        moves=_from(None, Status.RECEIVED, Status.DUPLICATE, Status.FAILED),
        publishes=(e.DatasetUploaded, e.RunFailed),
    ),
    Stage(
        name="validate_dataset",
        description="Validates data and recipe and plans the run; a large file is validated by a job.",
        wakes=(e.DatasetUploaded, e.ValidationRetryDue),
        moves=_from(Status.RECEIVED, Status.VALIDATED, Status.REJECTED, Status.VALIDATING)
        | _from(Status.VALIDATING, Status.VALIDATED, Status.REJECTED, Status.VALIDATING),
        publishes=(e.ValidationPassed, e.ValidationFailed, e.ValidationStarted),
        step=validate_dataset,
    ),
    Stage(
        name="conclude_validation",
        description="Reads what the validation job found and plans the run.",
        wakes=(e.ValidationCompleted,),
        moves=_from(Status.VALIDATING, Status.VALIDATED, Status.REJECTED),
        publishes=(e.ValidationPassed, e.ValidationFailed),
        step=conclude_validation,
    ),
    Stage(
        name="submit_training",
        description="Submits the training job.",
        wakes=(e.ValidationPassed, e.TrainingRetryDue),
        moves=_from(Status.VALIDATED, Status.TRAINING) | _from(Status.TRAINING, Status.TRAINING),
        publishes=(e.TrainingStarted,),
        step=submit_training,
    ),
    Stage(
        name="inspect_job",
        description="Reads the job that an event is about and publishes how it ended.",
        queue=JOB_EVENTS,
        publishes=(e.ValidationCompleted, e.TrainingCompleted, e.EvaluationCompleted, e.JobFailed, e.JobStopped),
    ),
    Stage(
        name="submit_evaluation",
        description="Submits the evaluation job: base model, candidate and the model in production. One candidate "
        "of an endpoint at a time; the others wait.",
        wakes=(e.TrainingCompleted, e.EvaluationDue, e.EvaluationRetryDue),
        moves=_from(Status.TRAINING, Status.EVALUATING, Status.TRAINED)
        | _from(Status.TRAINED, Status.EVALUATING)
        | _from(Status.EVALUATING, Status.EVALUATING, Status.TRAINED),
        publishes=(e.EvaluationStarted,),
        step=submit_evaluation,
    ),
    Stage(
        name="apply_gate",
        description="Applies the gate to the evaluation's result.",
        wakes=(e.EvaluationCompleted,),
        moves=_from(Status.EVALUATING, Status.APPROVED, Status.AWAITING_APPROVAL, Status.DECLINED),
        publishes=(e.EvaluationPassed, e.ApprovalRequested, e.EvaluationFailed),
        step=apply_gate,
    ),
    Stage(
        name="record_decision",
        description="Records what a person decided, or that no decision was made in time.",
        wakes=(e.ApprovalGranted, e.ApprovalDenied, e.ApprovalExpired),
        moves=_from(Status.AWAITING_APPROVAL, Status.APPROVED, Status.DECLINED),
        publishes=(e.EvaluationPassed, e.ModelDeclined),
        step=record_decision,
    ),
    Stage(
        name="deploy_model",
        description="Registers the model and creates its deployment without traffic; evaluates again if the model "
        "in production changed.",
        wakes=(e.EvaluationPassed, e.DeploymentRetryDue),
        moves=_from(Status.APPROVED, Status.DEPLOYING, Status.EVALUATING, Status.TRAINED),
        publishes=(e.DeploymentStarted, e.EvaluationStarted),
        step=deploy_model,
    ),
    Stage(
        name="probe_deployments",
        description="Probes every rollout and publishes what it saw.",
        timer="PROBE_SCHEDULE",
        publishes=(e.DeploymentProbed,),
    ),
    Stage(
        name="advance_rollout",
        description="Moves traffic one step on, promotes the model or rolls it back.",
        wakes=(e.DeploymentProbed,),
        moves=_from(Status.DEPLOYING, Status.DEPLOYING, Status.DEPLOYED, Status.ROLLING_BACK)
        | _from(Status.ROLLING_BACK, Status.ROLLING_BACK, Status.ROLLED_BACK),
        publishes=(e.TrafficShifted, e.ModelPromoted, e.RollbackStarted, e.ModelRolledBack),
        step=advance_rollout,
    ),
    Stage(
        name="fail_run",
        description="Schedules the next attempt of a failed stage, or fails the run.",
        wakes=(e.JobFailed, e.StageRefused, e.RunOverdue),
        moves=frozenset((status, Status.FAILED) for status in NON_TERMINAL)
        | frozenset((status, status) for status in RETRIED),
        publishes=(e.RunFailed, e.ValidationRetryDue, e.TrainingRetryDue, e.EvaluationRetryDue, e.DeploymentRetryDue),
        step=fail_run,
    ),
    Stage(
        name="cancel_run",
        description="Stops a run's job, takes its rollout back or cancels it at once.",
        wakes=(e.CancelRequested, e.JobStopped),
        moves=frozenset((status, Status.CANCELLING) for status in WITH_JOB)
        | frozenset((status, Status.CANCELLED) for status in WITHOUT_JOB)
        | _from(Status.CANCELLING, Status.CANCELLED)
        | _from(Status.DEPLOYING, Status.ROLLING_BACK),
        publishes=(e.RunCancelled, e.RollbackStarted),
        step=cancel_run,
    ),
    Stage(
        name="roll_back",
        description="Gives an endpoint's traffic back to its previous deployment.",
        wakes=(e.RollbackRequested,),
        moves=_from(Status.DEPLOYED, Status.DEPLOYED),
        publishes=(e.ModelRolledBack,),
        step=roll_back,
    ),
    Stage(
        name="retire_deployments",
        description="Deletes deployments that are not needed any more.",
        timer="RETIRE_SCHEDULE",
        publishes=(e.DeploymentRetired,),
    ),
    Stage(
        name="notify",
        description="Writes one delivery for each channel that wants the event.",
        wakes=tuple(e.EVENT_TYPES.values()),
        step=notify,
    ),
    Stage(
        name="deliver_notification",
        description="Tries one delivery, and schedules the next try if it failed.",
        queue=DELIVERIES,
    ),
    Stage(
        name="reconcile",
        description="Finds unsent events, silent jobs, missed blobs, overdue runs and claims of finished runs; starts "
        "the next evaluation at each free endpoint.",
        timer="RECONCILE_SCHEDULE",
        publishes=(e.RunOverdue, e.ApprovalExpired, e.EvaluationDue),
    ),
    Stage(
        name="retrain",
        description="Asks for a run on the newest data of each project whose recipe wants regular training.",
        timer="RETRAIN_SCHEDULE",
    ),
)

BY_NAME = {stage.name: stage for stage in STAGES}

# Facts that a timer or the next look at a job states again while they hold.
RESTATED = tuple(fact for stage in STAGES if not stage.moves for fact in stage.publishes)

TOPOLOGY = Topology(
    queues=tuple(stage.queue for stage in STAGES if stage.queue),
    topics={
        TOPIC: tuple(
            Subscription(
                stage.name, None if stage.name == "notify" else frozenset(cls.wire_type for cls in stage.wakes)
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
    # As long as the candidates before it may take.
    Status.TRAINED: timedelta(days=14),
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
