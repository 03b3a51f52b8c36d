"""Datasets come in and are checked."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

import azure.functions as func

from functions.dispatch import CONNECTION, as_message, handle, quarantine, read_json, runner
from shared.domain.errors import InvalidInput, Transient
from shared.pipeline import TOPIC
from shared.records.endpoints import all_records
from shared.services import services
from shared.steps.receive_dataset import BLOB_CREATED, settles_at
from shared.steps.receive_dataset import receive_dataset as receive
from shared.steps.reconcile import STORAGE_EVENTS
from shared.steps.retrain import retrain as again

log = logging.getLogger(__name__)

RECEIVE_AGAIN = timedelta(minutes=1)

blueprint = func.Blueprint()


@blueprint.service_bus_queue_trigger(arg_name="message", queue_name="storage-events", connection=CONNECTION)
def receive_dataset(message: func.ServiceBusMessage) -> None:
    """none -> received or duplicate."""
    try:
        event = read_json(message)
        due = settles_at(event, services())
        if due is not None:
            _again(message, due)
            return
        reception = receive(event, services())
    except InvalidInput as error:
        quarantine(message, error)
        return
    except Transient as error:
        log.warning("%s", error)
        _again(message, services().clock.now() + RECEIVE_AGAIN)
        return
    if reception is None:
        return
    run = runner().create(reception, str(event.get("id", message.message_id)), BLOB_CREATED)
    if run.duplicate_of:
        asked = f"the schedule of {run.parent_run}" if run.parent_run else run.dataset.path
        log.info("%s: %s asks for what %s judges; nothing is trained", run.id, asked, run.duplicate_of)


def _again(message: func.ServiceBusMessage, due: datetime) -> None:
    services().bus.send(STORAGE_EVENTS, [replace(as_message(message), scheduled_at=due)])


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="validate_dataset", connection=CONNECTION
)
def validate_dataset(message: func.ServiceBusMessage) -> None:
    """received -> validated or rejected."""
    handle("validate_dataset", message)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="judge_validation", connection=CONNECTION
)
def judge_validation(message: func.ServiceBusMessage) -> None:
    """validating -> validated or rejected."""
    handle("judge_validation", message)


@blueprint.timer_trigger(arg_name="timer", schedule="%RETRAIN_SCHEDULE%", use_monitor=False)
def retrain(timer: func.TimerRequest) -> None:
    """Posts the newest data of projects whose recipe asks for it; `receive_dataset` sees whether anything is new."""
    for record in all_records(services().store):
        champion = runner().load(record.champion)
        hint = again(record, champion, services()) if champion else None
        if hint is not None:
            services().bus.send(STORAGE_EVENTS, [hint])
