"""Functions of timers: each looks at everything there is and does what is due."""

from __future__ import annotations

import logging
from dataclasses import replace

import azure.functions as func

from functions.dispatch import Dispatcher
from shared.domain.errors import DroptuneError, PermanentFailure, Transient
from shared.domain.run import Run, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.pipeline import Stage
from shared.records import runs, ticks
from shared.records.endpoints import all_records
from shared.step_support.commands import message_of
from shared.steps import reconcile as reconcile_step
from shared.steps import retire_deployments as retire_step
from shared.steps import retrain as retrain_step
from shared.steps.probe_deployments import probe_deployment

log = logging.getLogger(__name__)


def probe_deployments(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    for status in (Status.DEPLOYING, Status.ROLLING_BACK):
        for run in runs.with_status(dispatcher.services.store, status):
            _probe(run, stage, dispatcher)


def _probe(run: Run, stage: Stage, dispatcher: Dispatcher) -> None:
    try:
        draft = probe_deployment(run, dispatcher.services)
    except (Transient, PermanentFailure) as error:
        log.warning("probe of %s: %s", run.id, error)  # the next tick looks again, until the deadline
        return
    if draft is not None:
        poll = int(dispatcher.services.clock.now().timestamp())
        dispatcher.runner.publish(run, replace(draft, key=str(poll)), by=stage)


def retire_deployments(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    for record in all_records(dispatcher.services.store):
        champion = dispatcher.runner.load(record.champion)
        if champion is None:
            continue
        try:
            for draft in retire_step.retire_deployments(record, dispatcher.services):
                dispatcher.runner.publish(champion, draft, by=stage)
        except DroptuneError as error:
            log.warning("retiring at %s: %s", record.endpoint, error)


def reconcile(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    services = dispatcher.services
    last, now = ticks.previous(services.store), services.clock.now()
    found = {
        "unsent": dispatcher.runner.publish_all_unsent(),
        "silent_jobs": reconcile_step.inspect_silent_jobs(services, last),
        "missed_blobs": reconcile_step.start_missed_runs(services, last),
        "overdue": _publish_overdue(stage, dispatcher),
        "claims": reconcile_step.release_claims(services),
    }
    ticks.record(services.store, now)
    if any(found.values()):
        log.info("reconcile found %s", found)


def _publish_overdue(stage: Stage, dispatcher: Dispatcher) -> int:
    now = dispatcher.services.clock.now()
    unfinished = runs.unfinished(dispatcher.services.store)
    late = [(run, draft) for run in unfinished if (draft := reconcile_step.overdue(run, now))]
    for run, draft in late:
        dispatcher.runner.publish(run, draft, by=stage)
    return len(late)


def retrain(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    """`receive_dataset` sees whether anything is new."""
    for record in all_records(dispatcher.services.store):
        champion = dispatcher.runner.load(record.champion)
        command = retrain_step.retrain(record, champion, dispatcher.services) if champion else None
        if command is not None:
            dispatcher.services.bus.send(STORAGE_EVENTS, [message_of(command)])
