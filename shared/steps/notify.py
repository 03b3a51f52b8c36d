"""Every event: one delivery per channel that wants it, tried until it is delivered or given up. Changes no run.

The platform's are written first and apart: no recipe delays, outgrows or takes away what the platform is to get.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatch
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, ValidationError

from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.domain.errors import BlobNotFound, InvalidInput, PermanentFailure, StoreConflict, Transient
from shared.domain.events import Event, EventData
from shared.domain.model import Frozen
from shared.domain.recipe import Notify
from shared.domain.run import Run
from shared.domain.topology import DELIVERIES
from shared.ports import Channel, Message, Services
from shared.ports.services import BUSY
from shared.records import channels as records
from shared.records import policies
from shared.step_support.dataset_files import recipe_files
from shared.step_support.outcome import Outcome

log = logging.getLogger(__name__)

# "Required attributes" of CloudEvents 1.0, https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
_REQUIRED = ("id", "source", "specversion", "type")


def _with_required_attributes(event: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if not isinstance(event.get(name), str) or not event[name]]
    if missing:
        raise ValueError(f"not a CloudEvent: {', '.join(missing)} must be a text")
    return event


class Delivery(Frozen):
    """The body of a message of the queue: one event for one URL, or `channel:NAME`."""

    url: str
    attempt: int = Field(default=1, ge=1)
    event: Annotated[dict[str, Any], AfterValidator(_with_required_attributes)] = Field(description="a CloudEvent")


def notify_platform(event: Event[EventData], run: Run, services: Services) -> Outcome | None:
    """Its own channels, whatever those of the recipe are."""
    return _deliveries(event, services.config.channels, services)


def notify(event: Event[EventData], run: Run, services: Services) -> Outcome | None:
    """Channels of the recipe that the policy allows, also where nobody has validated it; of two with one URL the first.
    What the platform sends itself is not sent twice."""
    policy = policies.read(services.store).policy
    taken = {channel.url for channel in services.config.channels if _wants(channel, event)}
    allowed = [one for one in _channels_of_recipe(run, services) if not any(policy.channel_problems(one, run.project))]
    own = {one.receiver: Channel(one.receiver, one.events) for one in reversed(allowed)}
    return _deliveries(event, [channel for channel in own.values() if channel.url not in taken], services)


def _deliveries(event: Event[EventData], channels: Iterable[Channel], services: Services) -> Outcome | None:
    subscribed = [one for one in channels if _wants(one, event) and not records.is_gone(services.store, one.url)]
    if not subscribed:
        return None
    return Outcome(messages=tuple((DELIVERIES, delivery(event, channel.url)) for channel in subscribed))


def _wants(channel: Channel, event: Event[EventData]) -> bool:
    return any(fnmatch(event.short_type(), pattern) for pattern in channel.events)


def _channels_of_recipe(run: Run, services: Services) -> Sequence[Notify]:
    """A run holds its recipe from `validated` on. Before, and if it is rejected, the file beside its data counts."""
    if run.recipe is not None:
        return run.recipe.requested.notify
    from shared.validation.recipes import read_channels

    try:
        files = [one for one in recipe_files(run.dataset.path, services) if one.size_bytes <= MAX_RECIPE_BYTES]
        texts = [b"".join(services.blobs.read(one.path, etag=one.etag)) for one in files]
    except (BlobNotFound, InvalidInput, PermanentFailure, StoreConflict):
        # Deleted since, refused, or the run does not say where its data are: the platform's channels get it.
        return ()
    return [channel for text in texts for channel in read_channels(text)]


def delivery(event: Event[EventData], url: str) -> Message:
    body = Delivery(url=url, event=event.to_cloudevent()).model_dump_json().encode()
    return Message(id=f"{event.id}@{records.digest(url)}", subject=event.wire_type, body=body)


# One attempt at one delivery.

# Waits after the first, second... failed attempt: the schedule Standard Webhooks recommends.
WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000)
BUSY_WAIT_S = 5


def deliver_notification(message: Message, services: Services) -> None:
    """Raises InvalidInput `malformed_delivery`."""
    delivery, body = _read(message)
    try:
        services.notifier.deliver(delivery.url, message.id, body, _project(delivery, services))
    except PermanentFailure as error:
        records.refuse(services.store, delivery.url, error.problem, services.clock.now())
        log.error("delivery %s given up: %s", message.id, error)
    except Transient as error:
        _schedule_next(message, delivery, error, services)
    else:
        log.info("delivery %s done in attempt %d", message.id, delivery.attempt)


def _project(delivery: Delivery, services: Services) -> str | None:
    """None for the platform's own channels: what they get does not wait for the project's."""
    own = any(channel.url == delivery.url for channel in services.config.channels)
    return None if own else str(delivery.event["source"])


def _schedule_next(message: Message, delivery: Delivery, error: Transient, services: Services) -> None:
    attempt, busy = delivery.attempt, error.problem.code == BUSY
    if attempt > len(WAITS_S) and not busy:
        log.error("delivery %s given up after %d attempts: %s", message.id, attempt, error)
        return
    due = services.clock.now() + timedelta(seconds=BUSY_WAIT_S if busy else WAITS_S[attempt - 1])
    log.warning("delivery %s failed (%s), again at %s", message.id, error, due.isoformat(timespec="seconds"))
    body = delivery.model_copy(update={"attempt": attempt + (not busy)}).model_dump_json().encode()
    services.bus.send(DELIVERIES, [replace(message, body=body, scheduled_at=due)])


def _read(message: Message) -> tuple[Delivery, bytes]:
    """The delivery and what is posted."""
    try:
        delivery = Delivery.model_validate_json(message.body, strict=True)
        return delivery, orjson.dumps(delivery.event)
    except (ValidationError, orjson.JSONEncodeError) as error:  # orjson writes no integer beyond 64 bit
        message_text = "a delivery needs url, attempt and a CloudEvent as event"
        raise InvalidInput("malformed_delivery", message_text, message.id) from error
