"""People and systems are told."""

from __future__ import annotations

import azure.functions as func

from functions.dispatch import CONNECTION, as_message, handle, quarantine
from shared.domain.errors import InvalidInput
from shared.pipeline import TOPIC
from shared.services import services
from shared.steps.deliver_notification import deliver_notification as deliver

blueprint = func.Blueprint()


@blueprint.service_bus_topic_trigger(
    arg_name="message", topic_name=TOPIC, subscription_name="notify", connection=CONNECTION
)
def notify(message: func.ServiceBusMessage) -> None:
    """Writes one delivery per channel."""
    handle("notify", message)


@blueprint.service_bus_queue_trigger(arg_name="message", queue_name="deliveries", connection=CONNECTION)
def deliver_notification(message: func.ServiceBusMessage) -> None:
    """One attempt; itself again, scheduled, until delivered or given up."""
    try:
        deliver(as_message(message), services())
    except InvalidInput as error:
        quarantine(message, error)
