"""A run as OpenAI's fine-tuning job, its events and its checkpoint; and OpenAI's lists: newest first, `after` names the
last item seen."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from functions.http.errors import ApiError
from functions.http.runs import progress_of
from shared.api.openai import Checkpoint, CheckpointMetrics, FineTuningJob, FineTuningStatus, JobEvent
from shared.domain import paths
from shared.domain.dataset import Report
from shared.domain.errors import PermanentFailure, Problem, Transient, UnreadableDocument
from shared.domain.model import utc
from shared.domain.run import Run, Status
from shared.ports import BlobStore, Clock, RunStore, Services
from shared.records import outbox
from shared.records.api_objects import Job
from shared.records.blob_documents import read_model

# A run's command waits on the bus for seconds; one that was lost is not found again, for its files start nothing.
RECEIVED_WITHIN = timedelta(hours=1)

VALIDATING: FineTuningStatus = "validating_files"
FAILED: FineTuningStatus = "failed"
STATUS: dict[Status, FineTuningStatus] = {
    Status.RECEIVED: VALIDATING,
    Status.VALIDATING: VALIDATING,
    Status.VALIDATED: "queued",
    Status.DEPLOYED: "succeeded",
    Status.CANCELLED: "cancelled",
    **dict.fromkeys((Status.REJECTED, Status.DECLINED, Status.ROLLED_BACK, Status.FAILED, Status.DUPLICATE), FAILED),
}
WRONG_FILE = {
    "train": ("invalid_training_file", "training_file"),
    "eval": ("invalid_validation_file", "validation_file"),
}
ERRORS = frozenset({"validation.failed", "evaluation.failed", "model.declined", "run.failed", "stage.refused"})
WARNINGS = frozenset({"run.overdue", "run.cancelled", "rollback.started", "model.rolled_back", "job.failed"})


def job_object(job: Job, run: Run | None, services: Services) -> FineTuningJob:
    """The job, as its run stands."""
    problem = _problem(run, services.blobs) if run else _lost(job, services.clock)
    status = STATUS.get(run.status, "running") if run else "failed" if problem else VALIDATING
    ended = run is not None and run.terminal
    return FineTuningJob(
        id=job.id,
        created_at=int(job.created_at.timestamp()),
        finished_at=int(run.ended_at.timestamp()) if run and run.ended_at else None,
        estimated_finish=_estimated_finish(run, services) if run else None,
        model=job.model,
        # What an endpoint calls the model it serves, whichever run's it is.
        fine_tuned_model=job.project if status == "succeeded" else None,
        organization_id=job.project,
        status=status,
        training_file=job.training_file,
        validation_file=job.validation_file,
        # OpenAI's key for the tokens that were billed, which are those processed.
        trained_tokens=run.training.processed_tokens if run and ended and run.training else None,
        seed=job.seed,
        method=job.method,
        hyperparameters=job.method[job.method["type"]]["hyperparameters"],
        metadata=job.metadata,
        error=problem,
    )


def _lost(job: Job, clock: Clock) -> Problem | None:
    if clock.now() - job.created_at < RECEIVED_WITHIN:
        return None
    return Problem(code="not_received", message="the order for this job was lost; create it again", param=None)


def _problem(run: Run, blobs: BlobStore) -> Problem | None:
    """Why there is no model."""
    match run.status:
        case Status.FAILED if run.error:
            return run.error.problem
        case Status.REJECTED:
            return _rejection(run, blobs)
        case Status.DECLINED if run.decision and not run.decision.granted:
            why = f": {run.decision.comment}" if run.decision.comment else ""
            return Problem(code="declined", message=f"declined by {run.decision.by}{why}", param=None)
        case Status.DECLINED:
            checks = run.verdict.checks if run.verdict else ()
            failed = ", ".join(f"{check.name} ({check.detail})" for check in checks if check.blocks)
            message = f"the model is not better than the one it would replace: {failed}"
            return Problem(code="declined", message=message, param=None)
        case Status.ROLLED_BACK:
            return Problem(code="rolled_back", message=run.rollback_reason.message, param=None)
        case Status.DUPLICATE:
            return Problem(code="duplicate", message=f"the same as {run.duplicate_of}", param="training_file")
    return None


def _rejection(run: Run, blobs: BlobStore) -> Problem:
    report = read_model(blobs, paths.run(run.id, "report.json"), Report)
    wrong = [group for group in report.problems if group.severity == "error"] if report else []
    code, param = WRONG_FILE.get(wrong[0].file, ("invalid_request", None)) if wrong else WRONG_FILE["train"]
    message = " ".join(f"{group.message} ({group.count}x)" for group in wrong)
    return Problem(code=code, message=f"{message} Everything: /api/runs/{run.id}/report".strip(), param=param)


def _estimated_finish(run: Run, services: Services) -> int | None:
    """When the training will be over; what comes after it takes minutes more."""
    if run.status is not Status.TRAINING:
        return None
    try:
        progress = progress_of(run, services.launcher)
    except Transient:
        return None  # the other fields are still shown
    return int(services.clock.now().timestamp() + progress.eta_s) if progress and progress.eta_s is not None else None


def events_of(store: RunStore, run_id: str, unreadable: list[UnreadableDocument]) -> Iterable[JobEvent]:
    """Newest first; none before the run exists."""
    return reversed(outbox.events_of(store, run_id, _job_event, unreadable))


def _job_event(fact: dict[str, Any]) -> JobEvent:
    name = str(fact["type"]).removeprefix("droptune.").rsplit(".", 1)[0]
    return JobEvent(
        id=fact["id"],
        created_at=int(utc(datetime.fromisoformat(fact["time"])).timestamp()),
        level="error" if name in ERRORS else "warn" if name in WARNINGS or name.endswith("_due") else "info",
        message=name.replace(".", " ").replace("_", " ").capitalize(),
        data={"type": fact["type"], **fact["data"]},
    )


def checkpoints_of(run: Run) -> list[Checkpoint]:
    """The one whose weights became the model, under the name it is registered by; others are not kept."""
    trained = run.training
    if trained is None:
        return []
    step = trained.best_step or trained.last_step
    return [
        Checkpoint(
            id=f"{run.id}-step-{step}",
            created_at=int(run.updated_at.timestamp()),
            fine_tuning_job_id=run.id,
            fine_tuned_model_checkpoint=f"{run.project}:{paths.model_version(run)}",
            step_number=step,
            metrics=CheckpointMetrics(step=step, train_loss=trained.train_loss, valid_loss=trained.eval_loss),
        )
    ]


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=HasId)


def require_cursor(after: str | None, find: Callable[[str], object]) -> None:
    """Raises ApiError 400 for what the caller does not find: that it is there is nobody else's to know."""
    if after is not None:
        try:
            find(after)
        except (ApiError, PermanentFailure) as error:
            raise _unknown(after) from error


def _unknown(after: str) -> ApiError:
    return ApiError(400, "unknown_cursor", f"the list has no {after}", "after")


def page(items: Iterable[Listed], limit: int, after: str | None = None) -> tuple[tuple[Listed, ...], dict[str, Any]]:
    """The first `limit` items behind `after`, and the fields of OpenAI's list object without `data`.

    Raises ApiError 400 if no item has that id.
    """
    found = tuple(itertools.islice(_behind(items, after) if after else items, limit + 1))
    ids: list[str | None] = [item.id for item in found[:limit]] or [None]
    return found[:limit], {"first_id": ids[0], "last_id": ids[-1], "has_more": len(found) > limit}


def _behind(items: Iterable[Listed], after: str) -> Iterator[Listed]:
    rest = itertools.dropwhile(lambda item: item.id != after, items)
    if next(rest, None) is None:
        raise _unknown(after)
    return rest
