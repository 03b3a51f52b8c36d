"""The timer that finds what was lost: unsent events, silent jobs, missed blobs, overdue runs, old claims."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import orjson

from shared.domain.errors import StoreConflict
from shared.domain.events import RunOverdue
from shared.domain.run import Run, Status
from shared.ports import Message, RunStore, Services, Stored, Write
from shared.steps import claims, paths
from shared.steps.fail_run import undo_work
from shared.steps.inspect_job import IN_FLIGHT
from shared.steps.outcome import Fact
from shared.steps.receive_dataset import BLOB_CREATED, run_id_of_blob, starts_a_run

JOB_EVENTS = "job-events"
STORAGE_EVENTS = "storage-events"
PAGE = 100
WATERMARK = "drop-zone-watermark"
WATERMARK_LAG = timedelta(minutes=10)
# Event Grid gets this long to deliver before a blob counts as missed.
EVENT_ALLOWANCE = timedelta(minutes=2)
# Ends after which the same data may be dropped again and starts a new run: they say nothing about it.
RELEASING = frozenset({Status.FAILED, Status.CANCELLED, Status.ROLLED_BACK})


def runs_in(store: RunStore, status: Status) -> Iterator[Run]:
    for stored in pages(store, "run", {"status": status.value}):
        yield Run.model_validate(stored.document["run"])


def live_runs(store: RunStore) -> Iterator[Run]:
    for stored in pages(store, "run", {"finished": 0}):
        yield Run.model_validate(stored.document["run"])


def pages(store: RunStore, type: str, equals: dict[str, str | int]) -> Iterator[Stored]:
    cursor: str | None = None
    while True:
        page, cursor = store.query(type, equals, limit=PAGE, after=cursor)
        yield from page
        if cursor is None:
            return


def hint_silent_jobs(services: Services) -> int:
    """Ask `inspect_job` to look at jobs of which nothing was heard for `job_poll_s`."""
    now = services.clock.now()
    silent = [
        run
        for run in live_runs(services.store)
        if run.job and run.status in IN_FLIGHT and _poll_is_due(run, now, services.config.job_poll_s)
    ]
    for run in silent:
        assert run.job is not None
        poll = int((now - run.updated_at).total_seconds() // services.config.job_poll_s)
        services.bus.send(JOB_EVENTS, [job_hint(run.job.name, f"{run.revision}.{poll}")])
    return len(silent)


def _poll_is_due(run: Run, now: datetime, poll_s: float) -> bool:
    """True in the first seconds of each period, so that a tick a second does not flood the queue."""
    silent_s = (now - run.updated_at).total_seconds()
    return silent_s >= poll_s and silent_s % poll_s < max(1.5, poll_s / 30)


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


def blob_hint(path: str, etag: str, idempotency_key: str = "") -> Message:
    """The shape of Event Grid's BlobCreated event."""
    container, _, name = path.partition("/")
    body = {
        "specversion": "1.0",
        "id": f"{path}.{etag}.{idempotency_key}",
        "type": BLOB_CREATED,
        "source": "/droptune/reconcile",
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "data": {"eTag": etag},
        "idempotency_key": idempotency_key,
    }
    return Message(id=str(body["id"]), subject=BLOB_CREATED, body=orjson.dumps(body))


def hint_missed_blobs(services: Services) -> int:
    """Post an event for each blob of the drop zone that should have a run by now and has none.

    The watermark bounds how far back a tick looks; it lags so that clocks may differ.
    """
    now = services.clock.now()
    stored = services.store.get(WATERMARK, WATERMARK)
    since = datetime.fromisoformat(stored.document["seen_until"]) - WATERMARK_LAG if stored else None
    missed = [
        info
        for info in services.blobs.list(f"{paths.DATASETS}/")
        if starts_a_run(info.path)
        and (since is None or info.modified_at >= since)
        and info.modified_at < now - EVENT_ALLOWANCE
        and services.store.get(run_id_of_blob(info.path, info.etag), "run") is None
    ]
    for info in missed:
        services.bus.send(STORAGE_EVENTS, [blob_hint(info.path, info.etag)])
    document = {"id": WATERMARK, "type": WATERMARK, "seen_until": now.isoformat()}
    try:
        kind = "replace" if stored else "create"
        services.store.batch(WATERMARK, [Write(kind, WATERMARK, document, stored.etag if stored else None)])
    except StoreConflict:
        return len(missed)  # another host's tick moved it; both looked
    return len(missed)


def overdue(run: Run, now: datetime) -> Fact | None:
    if run.deadline_at is None or now < run.deadline_at:
        return None
    return Fact(RunOverdue, status=run.status.value, deadline_at=run.deadline_at)


def sweep_claims(services: Services) -> int:
    """Undo what finished runs left behind, then give their claims back."""
    swept = 0
    for stored in pages(services.store, claims.CLAIM, {}):
        claim = stored.document
        owner = services.store.get(claim["owner"], "run")
        if owner is None:
            continue  # the run is being created; its claim comes first
        run = Run.model_validate(owner.document["run"])
        if not run.terminal or (claim["kind"] == "dataset" and run.status not in RELEASING):
            continue
        if run.status is not Status.DEPLOYED:
            undo_work(run, services)
        claims.release(services.store, claim["name"], run.id)
        swept += 1
    return swept
