"""The timer that finds what was lost: unsent events, silent jobs, missed blobs, overdue runs, old claims."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import orjson

from shared.domain import paths
from shared.domain.errors import PermanentFailure, Transient
from shared.domain.events import ApprovalExpired, RunOverdue
from shared.domain.run import Run, Status
from shared.ports import Message, Services
from shared.records import claims, runs
from shared.records.release import release_dataset
from shared.step_support.outcome import Draft
from shared.steps.fail_run import undo_work
from shared.steps.inspect_job import IN_FLIGHT
from shared.steps.receive_dataset import BLOB_CREATED, run_id_of_blob, starts_a_run

log = logging.getLogger(__name__)

JOB_EVENTS = "job-events"
STORAGE_EVENTS = "storage-events"
WATERMARK_LAG = timedelta(minutes=10)
# Event Grid gets this long to deliver before a blob counts as missed.
EVENT_ALLOWANCE = timedelta(minutes=2)
OWNERLESS_CLAIM_AGE = timedelta(minutes=15)


def hint_silent_jobs(services: Services, last: datetime | None) -> int:
    """Ask `inspect_job` to look at jobs of which nothing was heard for `job_poll_s`, once in each such period."""
    now, poll_s = services.clock.now(), services.config.job_poll_s
    silent = 0
    for run in runs.unfinished(services.store):
        period = (now - run.updated_at).total_seconds() // poll_s
        looked = (last - run.updated_at).total_seconds() // poll_s if last else 0
        if run.job and run.status in IN_FLIGHT and period >= 1 and period > looked:
            hint = job_hint(run.job.name, f"{run.revision}.{int(period)}")
            services.bus.send(JOB_EVENTS, [hint])
            silent += 1
    return silent


def job_hint(job_name: str, poll: str) -> Message:
    """The shape of Azure ML's own event, so that `inspect_job` reads one form."""
    body = {
        "specversion": "1.0",
        "id": f"{job_name}.poll.{poll}",
        "type": "Microsoft.MachineLearningServices.RunStatusChanged",
        "source": "/droptune/reconcile",
        "subject": f"experiments/droptune/runs/{job_name}",
        "data": {"runId": job_name},
    }
    return Message(id=str(body["id"]), subject=str(body["type"]), body=orjson.dumps(body))


def blob_hint(
    path: str,
    etag: str,
    idempotency_key: str = "",
    *,
    requested_by: str | None = None,
    parent_run: str | None = None,
    due: datetime | None = None,
) -> Message:
    """The shape of Event Grid's BlobCreated event, with what only we add to it."""
    container, _, name = path.partition("/")
    body = {
        "specversion": "1.0",
        "id": run_id_of_blob(path, etag, idempotency_key),
        "type": BLOB_CREATED,
        "source": "/droptune/reconcile",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "data": {"eTag": etag},
        "idempotency_key": idempotency_key,
        "requested_by": requested_by,
        "parent_run": parent_run,
    }
    return Message(str(body["id"]), BLOB_CREATED, orjson.dumps(body), scheduled_at=due)


def hint_missed_blobs(services: Services, last: datetime | None) -> int:
    """Post an event for each blob of the drop zone that should have a run by now and has none.

    The last tick bounds how far back this one looks, with a lag so that clocks may differ.
    """
    now = services.clock.now()
    missed = [
        info
        for info in services.blobs.list(f"{paths.DATASETS}/")
        if starts_a_run(info.path)
        and (last is None or info.modified_at >= last - WATERMARK_LAG)
        and info.modified_at < now - EVENT_ALLOWANCE
        and not runs.exists(services.store, run_id_of_blob(info.path, info.etag))
    ]
    for info in missed:
        services.bus.send(STORAGE_EVENTS, [blob_hint(info.path, info.etag)])
    return len(missed)


def overdue(run: Run, now: datetime) -> Draft | None:
    """A status may not last; nobody's decision is a decision too."""
    if run.deadline_at is None or now < run.deadline_at:
        return None
    if run.status is Status.AWAITING_APPROVAL:
        return Draft(ApprovalExpired(deadline_at=run.deadline_at))
    return Draft(RunOverdue(status=run.status.value, deadline_at=run.deadline_at))


def sweep_claims(services: Services) -> int:
    """Undo what finished runs left behind, then give their claims back."""
    swept = 0
    for claim in claims.unsettled(services.store):
        try:
            swept += _sweep(claim, services)
        except (Transient, PermanentFailure) as error:
            log.warning("claim %s stays: %s", claim.name, error)  # the next tick tries again
    return swept


def _sweep(claim: claims.Claim, services: Services) -> bool:
    run = runs.load(services.store, claim.owner)
    if run is None:
        # A run whose creation follows its claim, or a rollback by order: both are done in minutes.
        expired = services.clock.now() - claim.created_at > OWNERLESS_CLAIM_AGE
        if expired:
            claims.release(services.store, claim.name, claim.owner)
        return expired
    if not run.terminal:
        return False
    if run.status is not Status.DEPLOYED:
        undo_work(run, services)
    if claim.kind == "dataset":
        release_dataset(services.store, run, services.clock.now())
    elif run.status is Status.DEPLOYED or not _still_there(run, services):
        claims.release(services.store, claim.name, run.id)
    else:
        return False  # the deletion takes a while; the claim keeps others away until it is gone
    return True


def _still_there(run: Run, services: Services) -> bool:
    if run.recipe is None:
        return False
    return services.models.get_deployment(run.recipe.endpoint, paths.deployment_name(run)) is not None
