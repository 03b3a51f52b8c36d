"""The record of an endpoint: which run's model is in production. Written by whoever holds its claim."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from shared.ports import RunStore, Write
from shared.steps.claims import endpoint_claim

RECORD = "endpoint"


class EndpointRecord(BaseModel):
    """`champion` is the run in production; `deployment` and `model` are its names on the platform."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    champion: str
    deployment: str
    model: str
    scoring_uri: str
    promoted_at: datetime


def read(store: RunStore, endpoint: str) -> EndpointRecord | None:
    stored = store.get(endpoint_claim(endpoint), RECORD)
    return EndpointRecord.model_validate(stored.document["record"]) if stored else None


def write(store: RunStore, record: EndpointRecord) -> None:
    """Replace the record. Raises StoreConflict if it changed since it was read here."""
    partition = endpoint_claim(record.endpoint)
    stored = store.get(partition, RECORD)
    document = {
        "id": RECORD,
        "type": RECORD,
        "created_at": record.promoted_at.isoformat(),
        "record": record.model_dump(mode="json"),
    }
    if stored is None:
        store.batch(partition, [Write("create", RECORD, document)])
    elif stored.document["record"] != document["record"]:
        store.batch(partition, [Write("replace", RECORD, document, etag=stored.etag)])
