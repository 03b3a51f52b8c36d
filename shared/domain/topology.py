"""The queues, topics and subscriptions the product uses, as data that every bus and Bicep can be held to."""

from dataclasses import dataclass, field
from datetime import timedelta

# Queues that Event Grid sends to. Our own commands go there too (shared/domain/commands.py).
STORAGE_EVENTS, JOB_EVENTS = "storage-events", "job-events"
INBOUND = "inbound"  # what other systems of the tenant send
# The topic of all events, and the queue of what is sent to webhooks.
TOPIC, DELIVERIES = "pipeline", "deliveries"
# Event Grid gets this long to deliver an event of a blob before the event counts as lost.
EVENT_ALLOWANCE = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class TopicSubscription:
    """A subscription receives the messages whose subject is listed; None means every message."""

    name: str
    subjects: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Topology:
    """Queues by name, and each topic's subscriptions."""

    queues: tuple[str, ...]
    topics: dict[str, tuple[TopicSubscription, ...]] = field(default_factory=dict)
    lock_duration_s: float = 60.0
    max_delivery_count: int = 10

    def entities(self) -> tuple[str, ...]:
        """Every entity a receiver can open, dead-letter queues left out."""
        subscriptions = tuple(
            f"{topic}/{subscription.name}" for topic, many in self.topics.items() for subscription in many
        )
        return self.queues + subscriptions
