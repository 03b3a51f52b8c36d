"""Claims: create-if-absent documents for what spans runs. The owner is a run (design rule 4)."""

from __future__ import annotations

from datetime import datetime

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Write

CLAIM = "claim"


def dataset_claim(project: str, sha256: str, fingerprint: str) -> str:
    return f"dataset:{project}:{sha256}:{fingerprint}"


def endpoint_claim(endpoint: str) -> str:
    return f"endpoint:{endpoint}"


def take(store: RunStore, name: str, run_id: str, now: datetime) -> str:
    """Claim `name` for a run; returns the owner, who may be another run."""
    document = {
        "id": CLAIM,
        "type": CLAIM,
        "name": name,
        "kind": name.split(":", 1)[0],
        "owner": run_id,
        "settled": 0,
        "created_at": now.isoformat(),
    }
    try:
        store.batch(name, [Write("create", CLAIM, document)])
    except StoreConflict:
        held = store.get(name, CLAIM)
        if held is None:  # released between the two calls
            return take(store, name, run_id, now)
        return str(held.document["owner"])
    return run_id


def release(store: RunStore, name: str, run_id: str) -> None:
    """Give the claim back if this run holds it."""
    held = store.get(name, CLAIM)
    if held is not None and held.document["owner"] == run_id:
        _write(store, name, Write("delete", CLAIM, etag=held.etag))


def settle(store: RunStore, name: str, run_id: str) -> None:
    """Keep the claim for good if this run holds it: nobody has to look at it again."""
    held = store.get(name, CLAIM)
    if held is not None and held.document["owner"] == run_id and not held.document["settled"]:
        _write(store, name, Write("replace", CLAIM, {**held.document, "settled": 1}, held.etag))


def _write(store: RunStore, name: str, write: Write) -> None:
    try:
        store.batch(name, [write])
    except StoreConflict:
        return  # somebody else swept it meanwhile
