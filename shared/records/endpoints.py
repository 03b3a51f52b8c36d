"""The record of an endpoint: which run's model is in production. Written by the holder of its claim."""

from __future__ import annotations

from collections.abc import Iterator

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import StoreConflict, UnreadableDocument
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Write
from shared.records.claims import endpoint_claim
from shared.records.document import head
from shared.records.query import pages, readable

RECORD = "endpoint"


def read(store: RunStore, endpoint: str) -> EndpointRecord | None:
    stored = store.get(endpoint_claim(endpoint), RECORD)
    return record_of(stored.document) if stored else None


def write(store: RunStore, record: EndpointRecord, *, replacing: EndpointRecord | None) -> None:
    """Put a record in the place of the one that was read. Raises StoreConflict if that is another by now."""
    partition = endpoint_claim(record.endpoint)
    stored = store.get(partition, RECORD)
    found = record_of(stored.document) if stored else None
    if found == record:
        return
    if found != replacing:
        raise StoreConflict(f"the record of {record.endpoint}")
    document = {
        **head(RECORD),
        "created_at": record.promoted_at.isoformat(),
        "project": record.project,
        "record": record.model_dump(mode="json"),
    }
    store.batch(
        partition, [Write("replace" if stored else "create", RECORD, document, stored.etag if stored else None)]
    )


def withdraw(store: RunStore, endpoint: str, run_id: str) -> None:
    """A run whose promotion was recorded, but which is not to be promoted, leaves the record as it found it."""
    record = read(store, endpoint)
    if record is None or record.champion != run_id:
        return
    if record.previous is None:
        store.batch(endpoint_claim(endpoint), [Write("delete", RECORD)])
        return
    before = record.previous.model_dump(exclude={"keep_until"})
    write(store, record.model_copy(update={**before, "previous": None}), replacing=record)


def all_records(store: RunStore, unreadable: list[UnreadableDocument] | None = None) -> Iterator[EndpointRecord]:
    return readable(pages(store, RECORD), record_of, unreadable)


def record_of(document: Document) -> EndpointRecord:
    """The record of a stored document. Raises LaterVersion."""
    content = upgraded(RECORD, document["record"], document.get("schema_version"))
    return EndpointRecord.model_validate(content, extra="ignore")
