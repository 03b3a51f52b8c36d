"""What ends a run early, and what finds the lost ones."""

from __future__ import annotations

import logging

import azure.functions as func

from functions.dispatch import CONNECTION, handle, runner
from shared.pipeline import TOPIC
from shared.records import runs, ticks
from shared.services import services
from shared.steps.reconcile import (
    hint_missed_blobs,
    hint_silent_jobs,
    overdue,
    sweep_claims,
)

log = logging.getLogger(__name__)

blueprint = func.Blueprint()


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="fail_run", connection=CONNECTION
)
def fail_run(message: func.ServiceBusMessage) -> None:
    """any non-terminal -> failed."""
    handle("fail_run", message)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="cancel_run", connection=CONNECTION
)
def cancel_run(message: func.ServiceBusMessage) -> None:
    """any non-terminal -> cancelling -> cancelled; deploying -> rolling_back."""
    handle("cancel_run", message)


@blueprint.timer_trigger(arg_name="timer", schedule="%RECONCILE_SCHEDULE%", use_monitor=False)
def reconcile(timer: func.TimerRequest) -> None:
    """Finds unsent events, silent jobs, missed blobs, overdue runs and claims of finished runs."""
    last, now = ticks.previous(services().store), services().clock.now()
    found = {
        "unsent": runner().publish_all_unsent(),
        "silent_jobs": hint_silent_jobs(services(), last),
        "missed_blobs": hint_missed_blobs(services(), last),
        "overdue": _state_overdue(),
        "claims": sweep_claims(services()),
    }
    ticks.record(services().store, now)
    if any(found.values()):
        log.info("reconcile found %s", found)


def _state_overdue() -> int:
    now = services().clock.now()
    late = [(run, fact) for run in runs.unfinished(services().store) if (fact := overdue(run, now))]
    for run, fact in late:
        runner().state(run, fact)
    return len(late)
