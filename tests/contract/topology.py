"""The queues and topics of the bus suites; apart from `backends`, so that a process can read it without an SDK."""

from __future__ import annotations

from shared.domain.topology import TopicSubscription, Topology

# Five seconds is the shortest lock Service Bus grants.
TOPOLOGY = Topology(
    queues=("orders",),
    topics={
        "facts": (
            TopicSubscription("all", None),
            TopicSubscription("passed", frozenset({"passed", "approved"})),
            TopicSubscription("failed", frozenset({"failed"})),
        )
    },
    lock_duration_s=5.0,
    max_delivery_count=3,
)
