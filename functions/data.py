"""Datasets come in and are checked."""

from __future__ import annotations

import azure.functions as func

from functions.dispatch import CONNECTION, handle, quarantine, read_json, runner
from shared.domain.errors import InvalidInput
from shared.pipeline import TOPIC
from shared.services import services
from shared.steps.receive_dataset import BLOB_CREATED
from shared.steps.receive_dataset import receive_dataset as receive

blueprint = func.Blueprint()


@blueprint.service_bus_queue_trigger(arg_name="message", queue_name="storage-events", connection=CONNECTION)
def receive_dataset(message: func.ServiceBusMessage) -> None:
    """none -> received or duplicate."""
    try:
        event = read_json(message)
        reception = receive(event, services())
    except InvalidInput as error:
        quarantine(message, error)
        return
    if reception is not None:
        runner().create(reception, str(event.get("id", message.message_id)), BLOB_CREATED)


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="validate_dataset", connection=CONNECTION
)
def validate_dataset(message: func.ServiceBusMessage) -> None:
    """received -> validated or rejected."""
    handle("validate_dataset", message)
