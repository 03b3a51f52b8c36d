"""What several routes read of a run, and commands for runs that `/api` and `/v1` share."""

from math import isfinite
from typing import Annotated

from fastapi import Depends

from functions.http.auth import Access
from functions.http.errors import ApiError
from shared.api.models import CommentRequest, Metrics, Progress
from shared.domain.commands import StartRun
from shared.domain.events import CancelRequested
from shared.domain.jobs import JobKind
from shared.domain.run import JobRef, Run
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import BlobInfo, JobLauncher, Publisher, Services
from shared.records import runs, waits
from shared.runner import Runner
from shared.step_support.outcome import Draft, message_of

CURVES = ("train_loss", "eval_loss", "learning_rate", "tokens_per_s")
CURVES_OF_METHOD = {
    "dpo": ("reward_accuracy", "eval_reward_accuracy", "reward_margin", "eval_reward_margin"),
    "reinforcement": ("reward", "reward_spread", "share_equal_groups", "eval_reward", "eval_reward_gap"),
}
PROGRESS = ("step_total", "eta_s")


def _comment(request: CommentRequest | None = None) -> str:
    return request.comment if request else ""


Comment = Annotated[str, Depends(_comment)]


def find_run(services: Services, run_id: str, access: Access) -> Run:
    """The run. Raises ApiError 404, also for one of a project that the caller may not read, 403, and 409 `run_waits`:
    it was asked for, and the project has as many under way as it may."""
    run = runs.load(services.store, run_id)
    wait = None if run else waits.read(services.store, run_id)
    if wait is not None and not access.hides(wait.project):
        message = f"{wait.reason}: it waits, and is looked at again at {wait.again_at.isoformat(timespec='seconds')}"
        raise ApiError(409, "run_waits", message, run_id)
    return access.existing(run, "run_not_found", f"no run {run_id}", "run_id", run.project if run else None)


def shown(run: Run) -> Run:
    """As readers may see it."""
    return run.model_copy(update={"recipe": run.recipe.masked()}) if run.recipe else run


def metrics_of(run: Run, launcher: JobLauncher) -> Metrics:
    """The curves of the newest training job; none before there is one."""
    job = _training_job(run)
    if job is None:
        return Metrics()
    names = CURVES + (CURVES_OF_METHOD.get(run.recipe.requested.method.type, ()) if run.recipe else ())
    curves = {name: launcher.metric_history(job.name, name) for name in names}
    series = {name: [(point.step, point.value) for point in curve] for name, curve in curves.items()}
    return Metrics(job=job.name, series=series, progress=progress_of(run, launcher))


def progress_of(run: Run, launcher: JobLauncher) -> Progress | None:
    """How far the newest training job is; None until it has logged that as finite numbers."""
    job = _training_job(run)
    if job is None:
        return None
    totals, left = (launcher.metric_history(job.name, key) for key in PROGRESS)
    if not totals or not left or not isfinite(totals[-1].value) or not isfinite(left[-1].value):
        return None
    return Progress(step=left[-1].step, total_steps=int(totals[-1].value), eta_s=left[-1].value)


def _training_job(run: Run) -> JobRef | None:
    return next((job for job in reversed(run.jobs) if job.kind is JobKind.TRAINING), None)


def start_run(bus: Publisher, info: BlobInfo, key: str, access: Access, parent_run: str | None = None) -> str:
    """Ask for a run of the blob; returns the id it will have. Raises ApiError 403."""
    access.require(info.path.split("/")[1])
    by = {"requested_by": access.caller.name, "requester_id": access.caller.person_id}
    command = StartRun(path=info.path, etag=info.etag, key=key, parent_run=parent_run, **by)
    bus.send(STORAGE_EVENTS, [message_of(command)])
    return command.id


def cancel_run(runner: Runner, run_id: str, access: Access) -> None:
    """Raises ApiError as `find_run`, or 409 if the run is over."""
    run = find_run(runner.services, run_id, access)
    if run.terminal:
        raise ApiError(409, "run_finished", f"the run is {run.status.value}", run_id)
    runner.publish(run, Draft(CancelRequested(by=access.caller.name)))
