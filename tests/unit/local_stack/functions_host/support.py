"""What the host's tests share besides fixtures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import azure.functions as func

from shared.domain.topology import TopicSubscription, Topology
from shared.ports import Message

TOPOLOGY = Topology(
    queues=("work", "storage-events"),
    topics={"pipeline": (TopicSubscription("first", frozenset({"a"})), TopicSubscription("all", None))},
    lock_duration_s=60.0,  # Azure's default; a machine that stalls must not let a lock expire
    max_delivery_count=3,
)


def host_json(folder: Path, **service_bus: Any) -> Path:
    path = folder / "host.json"
    extensions = {"serviceBus": {"maxConcurrentCalls": 4} | service_bus, "http": {"routePrefix": ""}}
    path.write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    return path


def message(id: str, subject: str = "a", **properties: str) -> Message:
    return Message(id=id, subject=subject, body=b'{"id": "' + id.encode() + b'"}', properties=properties)


def eventually(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def queue_app(handler: Any) -> func.FunctionApp:
    app = func.FunctionApp()
    app.service_bus_queue_trigger(arg_name="msg", queue_name="%QUEUE%", connection="ServiceBusConnection")(handler)
    return app
