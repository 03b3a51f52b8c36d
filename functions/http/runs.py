"""`/api/runs`: the runs, what is known of each, and commands; `/v1` shares what finds, orders and cancels one."""

import asyncio
import hashlib
from collections import Counter
from itertools import count
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from functions.http.auth import APPROVER, Access, Approver, CurrentRunner, CurrentServices, Operator, Reader
from functions.http.errors import ApiError, existing
from shared.api import models
from shared.domain import paths
from shared.domain.commands import StartRun
from shared.domain.dataset import Report
from shared.domain.drop_zone import starts_a_run
from shared.domain.errors import LaterVersion, PermanentFailure, UnreadableDocument
from shared.domain.events import ApprovalDenied, ApprovalGranted, CancelRequested, PromotionRequested
from shared.domain.jobs import JobKind
from shared.domain.run import JobRef, Run, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import BlobInfo, JobLauncher, Publisher, Services
from shared.records import endpoints, outbox, waits
from shared.records import runs as records
from shared.records.blob_documents import read_model
from shared.runner import Runner
from shared.step_support.candidate import approvals_missing, candidate_sha256, objection, require_same_model
from shared.step_support.outcome import Draft, message_of

router = APIRouter(prefix="/api/runs", tags=["runs"])

CURVES = ("train_loss", "eval_loss", "learning_rate", "tokens_per_s")
CURVES_OF_METHOD = {
    "dpo": ("reward_accuracy", "eval_reward_accuracy", "reward_margin", "eval_reward_margin"),
    "reinforcement": ("reward", "reward_spread", "share_equal_groups", "eval_reward", "eval_reward_gap"),
}
PROGRESS = ("step_total", "eta_s")

POLL_S = 0.25
IfMatch = Annotated[str | None, Header(max_length=400)]
MAX_POLLED = 4  # so many requests of a caller look at their run every POLL_S; with more each looks less often
_waiting: Counter[str] = Counter()


def _comment(request: models.CommentRequest | None = None) -> str:
    return request.comment if request else ""


Comment = Annotated[str, Depends(_comment)]


@router.get("")
def list_runs(
    access: Reader,
    services: CurrentServices,
    project: str | None = None,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> models.RunPage:
    """Newest first. A page has what the caller may see."""
    page = records.page(
        services.store,
        project=project,
        status=status,
        limit=limit,
        after=after,
        may_see=lambda run: access.allows(run.project),
    )
    unreadable = page.unreadable if access.allows(None) else ()
    return models.RunPage(data=page.runs, unreadable=unreadable, next=page.next)


@router.post("", status_code=202)
def start_run(request: models.StartRunRequest, access: Operator, services: CurrentServices) -> models.RunReference:
    """Start a run for a blob in the drop zone."""
    path = f"{paths.DATASETS}/{request.dataset}"
    info, message = services.blobs.info(path), f"no dataset {request.dataset} in the drop zone"
    found = info if starts_a_run(path) else None
    info = access.existing(found, "dataset_not_found", message, "dataset", request.dataset.split("/")[0])
    return models.RunReference(id=order_run(services.bus, info, request.idempotency_key, access))


@router.get("/{run_id}", response_model=Run, responses={304: {"description": "The run has not changed"}})
async def get_run(
    run_id: str,
    response: Response,
    access: Reader,
    services: CurrentServices,
    wait_s: Annotated[float, Query(ge=0, le=60)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Run | Response:
    """The run. With `wait_s` and If-None-Match: answers when it changes, or 304."""
    end = asyncio.get_running_loop().time() + wait_s
    while True:
        run = await run_in_threadpool(find_run, services, run_id, access)
        etag = _etag(run)
        if etag != if_none_match:
            response.headers["ETag"] = etag
            return run
        if asyncio.get_running_loop().time() >= end:
            return Response(status_code=304, headers={"ETag": etag})
        _waiting[access.caller.id] += 1
        try:
            await asyncio.sleep(POLL_S * max(1, _waiting[access.caller.id] / MAX_POLLED))
        finally:
            _waiting[access.caller.id] -= 1


def _etag(run: Run) -> str:
    return f'"{"-".join([str(run.revision), *(one.timer for one in run.attention)])}"'


@router.get("/{run_id}/events")
def get_events(run_id: str, access: Reader, services: CurrentServices) -> models.EventList:
    """The facts published about the run, oldest first, as CloudEvents."""
    try:
        find_run(services, run_id, access)
    except (PermanentFailure, LaterVersion):  # one that cannot be read has events too, and no project that is known
        access.require(None)
    unreadable: list[UnreadableDocument] = []
    data = outbox.events_of(services.store, run_id, models.CloudEvent.model_validate, unreadable)
    return models.EventList(data=tuple(data), unreadable=tuple(unreadable))


@router.get("/{run_id}/metrics")
def get_metrics(run_id: str, access: Reader, services: CurrentServices) -> models.Metrics:
    """The training job's curves so far, and how far it is."""
    return metrics_of(find_run(services, run_id, access), services.launcher)


@router.get("/{run_id}/report")
def get_report(run_id: str, access: Reader, services: CurrentServices) -> Report:
    """What validation found."""
    find_run(services, run_id, access)
    report = read_model(services.blobs, paths.run(run_id, "report.json"), Report)
    return existing(report, "no_report", "the run has no report: it is not validated", run_id)


@router.post("/{run_id}/cancel", status_code=202)
def cancel_run(run_id: str, access: Operator, runner: CurrentRunner) -> models.RunReference:
    """Ask for the run to stop; it ends `cancelled` once its job is seen stopped."""
    order_cancel(runner, run_id, access)
    return models.RunReference(id=run_id)


@router.post("/{run_id}/approve", status_code=202)
def approve_run(
    run_id: str, access: Approver, runner: CurrentRunner, comment: Comment, if_match: IfMatch = None
) -> models.Approved:
    """Approve a candidate that passed the gate. Not by who asked for the run or uploaded a file of it; where a file did
    not come over the API, or an app asked, two persons must, or as many as the policy says. If-Match: the ETag seen."""
    run = _awaiting_approval(runner.services, run_id, access, if_match)
    candidate = candidate_sha256(run)
    if problem := objection(run, access.caller.person_id, candidate, access.policy):
        raise ApiError(403, problem.code, problem.message, run_id)
    _require_same_model(run, runner.services)
    granted = ApprovalGranted.model_validate({**_by(run, access), "candidate": candidate, "comment": comment})
    runner.publish(run, Draft(granted, key=_key(access)))
    return models.Approved(id=run_id, missing=max(0, approvals_missing(run, access.policy) - 1))


@router.post("/{run_id}/deny", status_code=202)
def deny_run(
    run_id: str, access: Approver, runner: CurrentRunner, comment: Comment, if_match: IfMatch = None
) -> models.RunReference:
    """Decline a candidate that passed the gate; what runs today stays. If-Match: the ETag of the run looked at."""
    run = _awaiting_approval(runner.services, run_id, access, if_match)
    about = {"candidate": candidate_sha256(run), "comment": comment}
    runner.publish(run, Draft(ApprovalDenied.model_validate({**_by(run, access), **about}), key=_key(access)))
    return models.RunReference(id=run_id)


def _by(run: Run, access: Access) -> dict[str, Any]:
    """Who decides, and what the step can look up in the policy of then."""
    membership = access.policy.membership(run.project, APPROVER, access.caller.names)
    return {"by": access.caller.name, "by_id": access.caller.person_id, "by_as": membership}


def _awaiting_approval(services: Services, run_id: str, access: Access, if_match: str | None) -> Run:
    run = find_run(services, run_id, access)
    if if_match not in (None, "*", _etag(run)):
        raise ApiError(412, "run_changed", "the run has changed since it was looked at: look again", run_id)
    if run.status is not Status.AWAITING_APPROVAL:
        raise ApiError(409, "not_awaiting_approval", f"the run is {run.status.value}", run_id)
    if not access.caller.person_id:
        raise ApiError(403, "unknown_person", "only a person decides, signed in as a user and known by `oid`", run_id)
    return run


def _key(access: Access) -> str:
    """Two persons' decisions about one revision are two events."""
    return hashlib.sha256(access.caller.id.encode()).hexdigest()[:8]


@router.post("/{run_id}/promote", status_code=202)
def promote_run(run_id: str, access: Operator, runner: CurrentRunner, comment: Comment) -> models.PromotionAccepted:
    """Ask for the model of a run that ended in production. Its candidate passed the gate then, against the model of
    then; others than who asks approve it. The model of before the present one is back at once by a rollback."""
    run, services = find_run(runner.services, run_id, access), runner.services
    if run.status not in (Status.DEPLOYED, Status.DECLINED, Status.ROLLED_BACK):
        raise ApiError(409, "run_not_finished", f"the run is {run.status.value}", run_id)
    if run.verdict is None or not run.verdict.passed or run.evaluation is None:
        raise ApiError(409, "gate_not_passed", "its candidate did not pass the gate", run_id)
    if (record := endpoints.read(services.store, run.resolved.endpoint)) is not None:
        if record.champion == run_id:
            raise ApiError(409, "in_production", f"its model is in production at {record.endpoint}", run_id)
        if record.previous is not None and record.previous.champion == run_id:
            message = f"its deployment is warm: `droptune rollback {record.endpoint}` gives it the traffic"
            raise ApiError(409, "previous_is_warm", message, run_id)
    _require_same_model(run, services)
    order = PromotionRequested(by=access.caller.name, by_id=access.caller.person_id, comment=comment)
    runner.publish(run, Draft(order, key=str(run.revision)))
    return models.PromotionAccepted(id=run_id, evaluation=run.evaluation, verdict=run.verdict)


def _require_same_model(run: Run, services: Services) -> None:
    try:
        require_same_model(run, services.blobs)
    except PermanentFailure as error:
        raise ApiError(409, error.problem.code, error.problem.message, run.id) from error


@router.post("/{run_id}/retry", status_code=202)
def retry_run(run_id: str, access: Operator, services: CurrentServices) -> models.RunReference:
    """Start another run with the file's present content. Asked twice before it exists, it is one run."""
    run = find_run(services, run_id, access)
    if not run.terminal:
        raise ApiError(409, "run_not_finished", f"the run is {run.status.value}", run_id)
    if run.status is Status.DEPLOYED:
        raise ApiError(409, "run_deployed", "the run reached its end, there is nothing to try again", run_id)
    path = run.dataset.path
    info = existing(services.blobs.info(path), "dataset_gone", f"{path} is no longer in the drop zone", "dataset")
    keys = (f"retry-{run_id}-{n}" if n > 1 else f"retry-{run_id}" for n in count(1))
    key = next(key for key in keys if not records.exists(services.store, paths.run_id_of_blob(path, info.etag, key)))
    return models.RunReference(id=order_run(services.bus, info, key, access, parent_run=run_id))


def find_run(services: Services, run_id: str, access: Access) -> Run:
    """The run. Raises ApiError 404, also for one of a project that the caller may not read, 403, and 409 `run_waits`:
    it was asked for, and the project has as many under way as it may."""
    run = records.load(services.store, run_id)
    wait = None if run else waits.read(services.store, run_id)
    if wait is not None and not access.hides(wait.project):
        message = f"{wait.reason}: it waits, and is looked at again at {wait.again_at.isoformat(timespec='seconds')}"
        raise ApiError(409, "run_waits", message, run_id)
    return access.existing(run, "run_not_found", f"no run {run_id}", "run_id", run.project if run else None)


def metrics_of(run: Run, launcher: JobLauncher) -> models.Metrics:
    """The curves of the newest training job; none before there is one."""
    job = _training_job(run)
    if job is None:
        return models.Metrics()
    names = CURVES + (CURVES_OF_METHOD.get(run.recipe.requested.method.type, ()) if run.recipe else ())
    curves = {name: launcher.metric_history(job.name, name) for name in names}
    series = {name: [(point.step, point.value) for point in curve] for name, curve in curves.items()}
    return models.Metrics(job=job.name, series=series, progress=progress_of(run, launcher))


def progress_of(run: Run, launcher: JobLauncher) -> models.Progress | None:
    """How far the newest training job is; None until it has logged that as finite numbers."""
    job = _training_job(run)
    if job is None:
        return None
    totals, left = (launcher.metric_history(job.name, key) for key in PROGRESS)
    if not totals or not left or not isfinite(totals[-1].value) or not isfinite(left[-1].value):
        return None
    return models.Progress(step=left[-1].step, total_steps=int(totals[-1].value), eta_s=left[-1].value)


def _training_job(run: Run) -> JobRef | None:
    return next((job for job in reversed(run.jobs) if job.kind is JobKind.TRAINING), None)


def order_run(bus: Publisher, info: BlobInfo, key: str, access: Access, parent_run: str | None = None) -> str:
    """Ask for a run of the blob; returns the id it will have. Raises ApiError 403."""
    access.require(info.path.split("/")[1])
    by = {"requested_by": access.caller.name, "requester_id": access.caller.person_id}
    command = StartRun(path=info.path, etag=info.etag, key=key, parent_run=parent_run, **by)
    bus.send(STORAGE_EVENTS, [message_of(command)])
    return command.id


def order_cancel(runner: Runner, run_id: str, access: Access) -> None:
    """Raises ApiError as `find_run`, or 409 if the run is over."""
    run = find_run(runner.services, run_id, access)
    if run.terminal:
        raise ApiError(409, "run_finished", f"the run is {run.status.value}", run_id)
    runner.publish(run, Draft(CancelRequested(by=access.caller.name)))
