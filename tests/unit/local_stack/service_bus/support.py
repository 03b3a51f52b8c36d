"""A small topology and changes of its configuration file."""

from __future__ import annotations

from typing import Any

from local_stack.service_bus.config import render
from shared.domain.topology import Subscription, Topology

TOPOLOGY = Topology(
    queues=("orders",),
    topics={"facts": (Subscription("all", None), Subscription("two", frozenset({"passed", "approved"})))},
    lock_duration_s=5.0,
    max_delivery_count=3,
)


RULE = "Topics/0/Subscriptions/1/Rules/0/Properties"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The file of TOPOLOGY with one value set at a path of keys and numbers."""
    document = render(TOPOLOGY)
    *way, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = document["UserConfig"]["Namespaces"][0]
    for key in way:
        place = place[key]
    place[last] = value
    return document
