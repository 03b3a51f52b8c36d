"""The configuration file of Microsoft's Service Bus emulator: read, and written from a topology.

https://learn.microsoft.com/azure/service-bus-messaging/test-locally-with-service-bus-emulator
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from shared.domain.topology import Topology

# What a file may say without changing anything here, because it says "no" or "none".
_OFF = ("RequiresSession", "RequiresDuplicateDetection", "ForwardTo", "ForwardDeadLetteredMessagesTo")
_WITHOUT_EFFECT = ("DuplicateDetectionHistoryTimeWindow", "DeadLetteringOnMessageExpiration")
_PROPERTIES = ("LockDuration", "MaxDeliveryCount", *_OFF, *_WITHOUT_EFFECT)
_FILTERED = (
    "MessageId",
    "To",
    "Label",
    "ReplyTo",
    "CorrelationId",
    "ContentType",
    "SessionId",
    "ReplyToSessionId",
    "Properties",
)


class Unsupported(Exception):
    """The file asks for something this emulator would have to ignore."""


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """A queue or a subscription (`topic/Subscriptions/name`)."""

    path: str
    lock_ms: int
    max_delivery_count: int


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic: each subscription with its rules, of which None takes every message."""

    path: str
    subscriptions: tuple[tuple[QueueConfig, tuple[dict[str, Any] | None, ...]], ...]


def read(document: dict[str, Any]) -> tuple[list[QueueConfig], list[TopicConfig]]:
    """Raises Unsupported by the name of what is not emulated: nothing is ignored silently."""
    [namespace] = document["UserConfig"]["Namespaces"]
    queues = [_queue(one["Name"], one) for one in namespace.get("Queues", [])]
    topics = []
    for topic in namespace.get("Topics", []):
        _check(topic["Name"], topic)
        path = f"{topic['Name']}/Subscriptions/"
        subscriptions = [
            (_queue(path + one["Name"], one), tuple(_filter(rule) for rule in one.get("Rules", [])) or (None,))
            for one in topic.get("Subscriptions", [])
        ]
        topics.append(TopicConfig(topic["Name"], tuple(subscriptions)))
    return queues, topics


def _queue(path: str, entry: dict[str, Any]) -> QueueConfig:
    properties = _check(path, entry)
    # The service's own defaults: a minute, ten deliveries.
    lock_ms = milliseconds(properties.get("LockDuration", "PT1M"))
    return QueueConfig(path, lock_ms, properties.get("MaxDeliveryCount", 10))


def _check(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = entry.get("Properties", {})
    for name, value in properties.items():
        if name not in _PROPERTIES or (name in _OFF and value):
            raise Unsupported(f"{path}: {name}={value!r} is not emulated")
    return properties


def _filter(rule: dict[str, Any]) -> dict[str, Any] | None:
    properties = rule.get("Properties", {})
    kind = properties.get("FilterType", "True")
    if kind == "True":
        return None
    if kind != "Correlation" or properties.get("Action"):
        raise Unsupported(f"rule {rule['Name']}: FilterType={kind} and actions are not emulated")
    correlation: dict[str, Any] = properties["CorrelationFilter"]
    if unknown := set(correlation) - set(_FILTERED):
        raise Unsupported(f"rule {rule['Name']}: a correlation filter has no {', '.join(sorted(unknown))}")
    return correlation


def milliseconds(duration: str) -> int:
    """Of an ISO 8601 duration of days, hours, minutes and seconds."""
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration)
    if not found:
        raise ValueError(f"{duration!r} is no ISO 8601 duration")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return round((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)


def render(topology: Topology) -> dict[str, Any]:
    """The file for a topology.

    A subscription has one correlation rule per subject. The first is named `$Default`, or the service would keep
    its own of that name, which takes every message.
    """
    properties = {
        "LockDuration": f"PT{topology.lock_duration_s:g}S",
        "MaxDeliveryCount": topology.max_delivery_count,
        "RequiresSession": False,
    }
    subscriptions = {
        topic: [
            {"Name": one.name, "Properties": properties, **({"Rules": _rules(one.subjects)} if one.subjects else {})}
            for one in many
        ]
        for topic, many in topology.topics.items()
    }
    namespace = {
        "Name": "sbemulatorns",
        "Queues": [{"Name": queue, "Properties": properties} for queue in topology.queues],
        "Topics": [{"Name": topic, "Subscriptions": many} for topic, many in subscriptions.items()],
    }
    return {"UserConfig": {"Namespaces": [namespace], "Logging": {"Type": "Console"}}}


def _rules(subjects: frozenset[str]) -> list[dict[str, Any]]:
    return [
        {
            "Name": "$Default" if number == 0 else subject,
            "Properties": {"FilterType": "Correlation", "CorrelationFilter": {"Label": subject}},
        }
        for number, subject in enumerate(sorted(subjects))
    ]
