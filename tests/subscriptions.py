"""Subscriptions for tests."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from shared.domain.subscriptions import Subscription
from shared.ports import RunStore
from shared.records import subscriptions

KEYS = tuple(f"whsec_{base64.b64encode(bytes([number] * 32)).decode()}" for number in range(1, 4))


def subscription(url: str = "https://hooks.example/in", type: str = "webhook", **fields: Any) -> Subscription:
    """Of all projects, for every event, unless `fields` say otherwise; `mode` is the target's."""
    mode = {"mode": fields.pop("mode")} if "mode" in fields else {}
    name = fields.get("name", "ops")
    given = {
        "id": f"{name}-0123abcd",
        "name": name,
        "project": None,
        "target": {"type": type, "url": url, **mode},
        "events": ("*",),
        "severity": "info",
        "keys": KEYS[:2],
        "created_by": "ada",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Subscription.model_validate({**given, **fields})


def subscribe(
    store: RunStore, url: str = "https://hooks.example/in", type: str = "webhook", **fields: Any
) -> Subscription:
    """The same, written."""
    created = subscription(url, type, **fields)
    subscriptions.create(store, created)
    return created
