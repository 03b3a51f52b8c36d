"""When `reconcile` last looked."""

from __future__ import annotations

from datetime import datetime

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Write

TICK = "reconcile-tick"


def previous(store: RunStore) -> datetime | None:
    """When the last tick looked; None before the first."""
    stored = store.get(TICK, TICK)
    return datetime.fromisoformat(stored.document["at"]) if stored else None


def record(store: RunStore, now: datetime) -> None:
    stored = store.get(TICK, TICK)
    document = {"id": TICK, "type": TICK, "at": now.isoformat()}
    try:
        store.batch(TICK, [Write("replace" if stored else "create", TICK, document, stored.etag if stored else None)])
    except StoreConflict:
        return  # another host's tick was first; both looked
