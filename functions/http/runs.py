"""`/api/runs`: how a run stands."""

from __future__ import annotations

import asyncio
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from functions.dispatch import runner
from functions.http.auth import APPROVER, OPERATOR, READER, Caller, may
from functions.http.errors import ApiError
from shared.domain import paths
from shared.domain.commands import StartRun
from shared.domain.dataset import Report
from shared.domain.events import ApprovalDenied, ApprovalGranted, CancelRequested
from shared.domain.jobs import JobKind
from shared.domain.run import JobRef, Run, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import BlobInfo
from shared.records import outbox, runs
from shared.records.blob_documents import read_model
from shared.services import services
from shared.step_support.commands import message_of
from shared.step_support.outcome import Draft

router = APIRouter(prefix="/api/runs", tags=["runs"])

Reader = Annotated[Caller, Depends(may(READER))]
Operator = Annotated[Caller, Depends(may(OPERATOR))]
Approver = Annotated[Caller, Depends(may(APPROVER))]

POLL_S = 0.25
CURVES = ("train_loss", "eval_loss", "learning_rate", "tokens_per_s")
CURVES_OF_METHOD = {
    "dpo": ("reward_accuracy", "eval_reward_accuracy", "reward_margin", "eval_reward_margin"),
    "reinforcement": ("reward", "reward_spread", "share_equal_groups", "eval_reward", "eval_reward_gap"),
}
PROGRESS = ("step_total", "eta_s")


class RunRequest(BaseModel):
    """Start a run for a blob that is already in the drop zone."""

    dataset: str = Field(description="`<project>/<name>` in the drop zone")
    idempotency_key: str = Field(default="", description="another key for the same blob is another run")


class DecisionRequest(BaseModel):
    """A person's word on a candidate."""

    comment: str = Field(default="", max_length=2000)


@router.get("")
def list_runs(
    _: Reader,
    project: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> dict[str, Any]:
    """Newest first."""
    page, cursor = runs.page(services().store, project=project, status=status, limit=limit, after=after)
    return {"data": [run.model_dump(mode="json") for run in page], "next": cursor}


@router.post("", status_code=202)
def start_run(request: RunRequest, caller: Operator) -> dict[str, str]:
    path = f"{paths.DATASETS}/{request.dataset}"
    info = services().blobs.info(path)
    if not paths.starts_a_run(path) or info is None:
        raise ApiError(404, "dataset_not_found", f"no dataset {request.dataset} in the drop zone", "dataset")
    return {"id": post_run(info, request.idempotency_key, caller)}


@router.get("/{run_id}", response_model=None)
async def get_run(
    run_id: str,
    response: Response,
    _: Reader,
    wait_s: Annotated[float, Query(ge=0, le=60)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> dict[str, Any] | Response:
    """The run. With `wait_s` and If-None-Match: answers when it changes, or 304."""
    end = asyncio.get_running_loop().time() + wait_s
    while True:
        run = await run_in_threadpool(find_run, run_id)
        etag = f'"{run.revision}"'
        if etag != if_none_match:
            response.headers["ETag"] = etag
            return run.model_dump(mode="json")
        if asyncio.get_running_loop().time() >= end:
            return Response(status_code=304, headers={"ETag": etag})
        await asyncio.sleep(POLL_S)


@router.get("/{run_id}/events")
def get_events(run_id: str, _: Reader) -> dict[str, Any]:
    """The facts published about the run, oldest first, as CloudEvents."""
    find_run(run_id)
    return {"data": outbox.events_of(services().store, run_id)}


@router.get("/{run_id}/metrics")
def get_metrics(run_id: str, _: Reader) -> dict[str, Any]:
    """The training job's curves so far, and how far it is."""
    run = find_run(run_id)
    job = training_job_of(run)
    if job is None:
        return {"job": None, "series": {}, "progress": None}
    curves = CURVES + (CURVES_OF_METHOD.get(run.recipe.requested.method.type, ()) if run.recipe else ())
    history = {key: services().launcher.metric_history(job.name, key) for key in curves}
    series = {key: [[point.step, point.value] for point in history[key]] for key in curves}
    return {"job": job.name, "series": series, "progress": progress_of(run)}


def progress_of(run: Run) -> dict[str, float] | None:
    """Step, steps in all and seconds left of the training job, once it has logged them as finite numbers."""
    job = training_job_of(run)
    if job is None:
        return None
    totals, left = (services().launcher.metric_history(job.name, key) for key in PROGRESS)
    if not totals or not left or not isfinite(totals[-1].value) or not isfinite(left[-1].value):
        return None
    return {"step": left[-1].step, "total_steps": int(totals[-1].value), "eta_s": left[-1].value}


def training_job_of(run: Run) -> JobRef | None:
    """The newest training job."""
    return next((job for job in reversed(run.jobs) if job.kind is JobKind.TRAINING), None)


@router.get("/{run_id}/report")
def get_report(run_id: str, _: Reader) -> Report:
    """What validation found."""
    find_run(run_id)
    report = read_model(services().blobs, paths.report(run_id), Report)
    if report is None:
        raise ApiError(404, "no_report", "the run has not been validated yet", run_id)
    return report


@router.post("/{run_id}/cancel", status_code=202)
def cancel(run_id: str, caller: Operator) -> dict[str, str]:
    """Ask for the run to stop; it ends `cancelled` once its job is seen stopped."""
    stop_run(run_id, caller)
    return {"id": run_id}


def stop_run(run_id: str, caller: Caller) -> None:
    """Raises ApiError 404, or 409 if the run is over."""
    run = find_run(run_id)
    if run.terminal:
        raise ApiError(409, "run_finished", f"the run is {run.status.value}", run_id)
    runner().publish(run, Draft(CancelRequested(by=caller.name)))


@router.post("/{run_id}/approve", status_code=202)
def approve(run_id: str, caller: Approver, request: DecisionRequest | None = None) -> dict[str, str]:
    """Let a candidate that passed the gate go live. Whoever asked for the run may not be the one."""
    run = _awaiting_approval(run_id)
    if caller.is_surely(run.requested_by):
        raise ApiError(403, "self_approval", f"{caller.name} asked for this run, somebody else decides", run_id)
    runner().publish(run, Draft(ApprovalGranted(by=caller.name, comment=_comment(request))))
    return {"id": run_id}


@router.post("/{run_id}/deny", status_code=202)
def deny(run_id: str, caller: Approver, request: DecisionRequest | None = None) -> dict[str, str]:
    """Decline a candidate that passed the gate; what runs today stays."""
    run = _awaiting_approval(run_id)
    runner().publish(run, Draft(ApprovalDenied(by=caller.name, comment=_comment(request))))
    return {"id": run_id}


def _awaiting_approval(run_id: str) -> Run:
    run = find_run(run_id)
    if run.status is not Status.AWAITING_APPROVAL:
        raise ApiError(409, "not_awaiting_approval", f"the run is {run.status.value}", run_id)
    return run


def _comment(request: DecisionRequest | None) -> str:
    return request.comment if request else ""


@router.post("/{run_id}/retry", status_code=202)
def retry(run_id: str, caller: Operator) -> dict[str, str]:
    """Start another run with the file's present content. Asked twice before it exists, it is one run."""
    run = find_run(run_id)
    if not run.terminal:
        raise ApiError(409, "run_not_finished", f"the run is {run.status.value}", run_id)
    if run.status is Status.DEPLOYED:
        raise ApiError(409, "run_deployed", "the run reached its end, there is nothing to try again", run_id)
    path = run.dataset.path
    info = services().blobs.info(path)
    if info is None:
        raise ApiError(404, "dataset_gone", f"{path} is no longer in the drop zone", "dataset")
    earlier = runs.count_children(services().store, run)
    key = f"retry-{run_id}-{earlier + 1}" if earlier else f"retry-{run_id}"
    return {"id": post_run(info, key, caller, parent_run=run_id)}


def post_run(info: BlobInfo, key: str, caller: Caller, parent_run: str | None = None) -> str:
    """Ask for a run of the blob; returns the id it will have."""
    command = StartRun(path=info.path, etag=info.etag, key=key, requested_by=caller.name, parent_run=parent_run)
    services().bus.send(STORAGE_EVENTS, [message_of(command)])
    return command.id


def find_run(run_id: str) -> Run:
    """The run. Raises ApiError 404."""
    run = runner().load(run_id)
    if run is None:
        raise ApiError(404, "run_not_found", f"no run {run_id}", "run_id")
    return run
