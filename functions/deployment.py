"""A better model goes live."""

from __future__ import annotations

import logging

import azure.functions as func

from functions.dispatch import CONNECTION, handle, runner
from shared.domain.errors import DroptuneError, PermanentFailure, Transient
from shared.domain.run import Run, Status
from shared.pipeline import TOPIC
from shared.records import runs
from shared.records.endpoints import all_records
from shared.services import services
from shared.steps.probe_deployments import probe_deployment
from shared.steps.retire_deployments import retire_deployments as retire

log = logging.getLogger(__name__)

blueprint = func.Blueprint()


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="deploy_model", connection=CONNECTION
)
def deploy_model(message: func.ServiceBusMessage) -> None:
    """approved -> deploying."""
    handle("deploy_model", message)


@blueprint.timer_trigger(arg_name="timer", schedule="%PROBE_SCHEDULE%", use_monitor=False)
def probe_deployments(timer: func.TimerRequest) -> None:
    """Observes what is being rolled out."""
    for status in (Status.DEPLOYING, Status.ROLLING_BACK):
        for run in runs.with_status(services().store, status):
            _probe(run)


def _probe(run: Run) -> None:
    try:
        fact = probe_deployment(run, services())
    except (Transient, PermanentFailure) as error:
        log.warning("probe of %s: %s", run.id, error)  # the next tick looks again, until the deadline
        return
    if fact is not None:
        poll = int(services().clock.now().timestamp())
        runner().state(run, fact, key=str(poll))


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="advance_rollout", connection=CONNECTION
)
def advance_rollout(message: func.ServiceBusMessage) -> None:
    """deploying -> deploying, deployed or rolling_back -> rolled_back."""
    handle("advance_rollout", message)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="roll_back", connection=CONNECTION
)
def roll_back(message: func.ServiceBusMessage) -> None:
    """The endpoint's previous deployment takes the traffic back."""
    handle("roll_back", message)


@blueprint.timer_trigger(arg_name="timer", schedule="%RETIRE_SCHEDULE%", use_monitor=False)
def retire_deployments(timer: func.TimerRequest) -> None:
    """Deletes deployments nobody needs any more."""
    for record in all_records(services().store):
        champion = runner().load(record.champion)
        if champion is None:
            continue
        try:
            for fact in retire(record, services()):
                runner().state(champion, fact)
        except DroptuneError as error:
            log.warning("retiring at %s: %s", record.endpoint, error)
