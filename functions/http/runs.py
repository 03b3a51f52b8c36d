"""`/api/runs`: how a run stands."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from functions.dispatch import runner
from functions.http.auth import OPERATOR, READER, Caller, may
from functions.http.errors import ApiError
from shared.domain.dataset import Report
from shared.domain.errors import BlobNotFound
from shared.domain.evaluation import SampleAnswer
from shared.domain.events import CancelRequested
from shared.domain.run import JobRef, Run, Status
from shared.runner import OUTBOX
from shared.services import services
from shared.steps import paths, submit_training
from shared.steps.blobs import read_model
from shared.steps.outcome import Fact
from shared.steps.receive_dataset import run_id_of_blob, starts_a_run
from shared.steps.reconcile import STORAGE_EVENTS, blob_hint

router = APIRouter(prefix="/api/runs", tags=["runs"])

Reader = Annotated[Caller, Depends(may(READER))]
Operator = Annotated[Caller, Depends(may(OPERATOR))]

POLL_S = 0.25
CURVES = ("train_loss", "eval_loss", "learning_rate", "tokens_per_s")
PROGRESS = ("step_total", "eta_s")


class RunRequest(BaseModel):
    """Start a run for a blob that is already in the drop zone."""

    dataset: str = Field(description="`<project>/<name>` in the drop zone")
    idempotency_key: str = Field(default="", description="another key for the same blob is another run")


@router.get("")
def list_runs(
    _: Reader,
    project: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> dict[str, Any]:
    """Newest first."""
    wanted = {"project": project, "status": status.value if status else None}
    equals: dict[str, str | int] = {key: value for key, value in wanted.items() if value is not None}
    page, cursor = services().store.query("run", equals, limit=limit, after=after)
    return {"data": [stored.document["run"] for stored in page], "next": cursor}


@router.post("", status_code=202)
def start_run(request: RunRequest, _: Operator) -> dict[str, str]:
    path = f"{paths.DATASETS}/{request.dataset}"
    info = services().blobs.info(path)
    if not starts_a_run(path) or info is None:
        raise ApiError(404, "dataset_not_found", f"no dataset {request.dataset} in the drop zone", "dataset")
    services().bus.send(STORAGE_EVENTS, [blob_hint(path, info.etag, request.idempotency_key)])
    return {"id": run_id_of_blob(path, info.etag, request.idempotency_key)}


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
        run = await run_in_threadpool(_run, run_id)
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
    _run(run_id)
    entries = [stored.document for stored in services().store.list_partition(run_id, OUTBOX)]
    entries.sort(key=lambda entry: (entry["revision"], entry["created_at"]))
    # A copy sent for another try has an id of its own; the fact was stated once.
    return {"data": [entry["body"] for entry in entries if entry["message_id"] == entry["body"].get("id")]}


@router.get("/{run_id}/metrics")
def get_metrics(run_id: str, _: Reader) -> dict[str, Any]:
    """The training job's curves so far, and how far it is."""
    job = training_job_of(_run(run_id))
    if job is None:
        return {"job": None, "series": {}, "progress": None}
    history = {key: services().launcher.metric_history(job.name, key) for key in (*CURVES, *PROGRESS)}
    series = {key: [[point.step, point.value] for point in history[key]] for key in CURVES}
    progress = None
    if history["step_total"] and history["eta_s"]:
        last = history["eta_s"][-1]
        progress = {
            "step": last.step,
            "total_steps": int(history["step_total"][-1].value),
            "eta_s": last.value,
        }
    return {"job": job.name, "series": series, "progress": progress}


def training_job_of(run: Run) -> JobRef | None:
    """The newest training job."""
    return next((job for job in reversed(run.jobs) if job.stage == submit_training.STAGE), None)


@router.get("/{run_id}/report")
def get_report(run_id: str, _: Reader) -> Report:
    """What validation found."""
    _run(run_id)
    report = read_model(services().blobs, paths.report(run_id), Report)
    if report is None:
        raise ApiError(404, "no_report", "the run has not been validated yet", run_id)
    return report


@router.get("/{run_id}/evaluation")
def get_evaluation(run_id: str, _: Reader) -> dict[str, Any]:
    """Scores, verdict and sample answers."""
    run = _run(run_id)
    if run.evaluation is None:
        raise ApiError(404, "no_evaluation", "the run has not been evaluated yet", run_id)
    return {
        "result": run.evaluation.model_dump(mode="json"),
        "verdict": run.verdict.model_dump(mode="json") if run.verdict else None,
        "samples": [sample.model_dump(mode="json") for sample in _samples(run_id)],
    }


@router.post("/{run_id}/cancel", status_code=202)
def cancel(run_id: str, caller: Operator) -> dict[str, str]:
    """Ask for the run to stop; it ends `cancelled` once its job is seen stopped."""
    run = _run(run_id)
    if run.terminal:
        raise ApiError(409, "run_finished", f"the run is {run.status.value}", run_id)
    runner().state(run, Fact(CancelRequested, by=caller.name))
    return {"id": run_id}


def _run(run_id: str) -> Run:
    run = runner().load(run_id)
    if run is None:
        raise ApiError(404, "run_not_found", f"no run {run_id}", "run_id")
    return run


def _samples(run_id: str) -> list[SampleAnswer]:
    try:
        text = b"".join(services().blobs.read(paths.run(run_id, "evaluation/samples.json")))
    except BlobNotFound:
        return []
    return [SampleAnswer.model_validate(sample) for sample in orjson.loads(text)]
