"""The record of an endpoint: which run's model is in production. Written by the holder of its claim."""

from collections.abc import Iterator
from datetime import datetime

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import InvalidInput, StoreConflict, UnreadableDocument
from shared.domain.jobs import EndpointView
from shared.domain.run import Status
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Stored, Write
from shared.records.claims import endpoint_claim, turn_claim
from shared.records.claims import read as read_claim
from shared.records.document import head, pages, put, read_one, readable, salvaged_as
from shared.records.outbox import CLOCKS_DIFFER
from shared.records.runs import RUN, with_status

RECORD = "endpoint"


def read(store: RunStore, endpoint: str) -> EndpointRecord | None:
    """The record of that endpoint; None if nothing is in production. Raises WaitsForRelease, and LaterVersion."""
    return read_one(store, endpoint_claim(endpoint), RECORD, record_of)


def write(store: RunStore, record: EndpointRecord, *, replacing: EndpointRecord | None) -> None:
    """Put a record in the place of the one that was read. Raises StoreConflict if that is another by now."""
    partition = endpoint_claim(record.endpoint)
    stored = store.get(partition, RECORD)
    found = record_of(stored) if stored else None
    if found == record:
        return
    if found != replacing:
        raise StoreConflict(f"the record of {record.endpoint}")
    _put(store, record, stored, found)


def repair(store: RunStore, stored: Stored, view: EndpointView | None) -> None:
    """Write a record anew with those of its fields that can be read, and what the endpoint shows in place of others.
    What the previous deployment was may be lost.

    Raises InvalidInput `production_unknown` if neither says what is in production, StoreConflict if it was changed.
    """
    document, endpoint = stored.document, stored.partition.removeprefix(endpoint_claim(""))
    copies = {"project": document.get("project"), "promoted_at": document.get("created_at")}
    seen: Document = {"model": "", "scoring_uri": view.scoring_uri if view else ""}
    if view is not None and len(view.traffic) == 1:  # else a candidate is being rolled out
        [deployment] = view.traffic
        champion = f"run-{deployment.removeprefix('d-')}"
        run = store.get(champion, RUN)
        of_run = run.document if run else {}
        seen |= {"deployment": deployment, "champion": champion, "project": of_run.get("project")}
        seen["promoted_at"] = of_run.get("created_at")
    record = salvaged_as(EndpointRecord, document.get("record"), copies, seen, endpoint=endpoint)
    if record is None:
        message = f"nothing says which run of which project is in production at {endpoint}: write champion, deployment"
        message += " and project into the document in the run store, as the endpoint's traffic has them"
        raise InvalidInput("production_unknown", message, "id")
    model = record.model or f"{record.project}:{record.champion.removeprefix('run-')}"
    _put(store, record.model_copy(update={"model": model}), stored, record)


def _put(store: RunStore, record: EndpointRecord, stored: Stored | None, found: EndpointRecord | None) -> None:
    known = document_of(found) if found else None
    store.batch(endpoint_claim(record.endpoint), [put(RECORD, document_of(record), stored, known)])


def document_of(record: EndpointRecord) -> Document:
    """The stored form. Top-level fields are copies that the store filters by."""
    return {
        **head(RECORD),
        "created_at": record.promoted_at.isoformat(),
        "project": record.project,
        "record": record.model_dump(mode="json"),
    }


def as_of(store: RunStore, record: EndpointRecord, now: datetime) -> EndpointRecord:
    """The record; one of the future, from before the clock was set back, is written anew as if of now.

    Raises StoreConflict if it was replaced since it was read.
    """
    restored, previous, promoted = record.restored_at, record.previous, min(record.promoted_at, now)
    if max(record.promoted_at, restored or now) - now <= CLOCKS_DIFFER:
        return record
    if previous is not None:
        keep_until = promoted + (previous.keep_until - record.promoted_at)
        previous = previous.model_copy(update={"keep_until": keep_until})
    update = {"promoted_at": promoted, "restored_at": restored and min(restored, now), "previous": previous}
    dated = record.model_copy(update=update)
    write(store, dated, replacing=record)
    return dated


def withdraw(store: RunStore, endpoint: str, run_id: str) -> None:
    """A run whose promotion was recorded, but which is not to be promoted, leaves the record as it found it."""
    record = read(store, endpoint)
    if record is None or record.champion != run_id:
        return
    if record.previous is None:
        remove(store, endpoint)
        return
    write(store, record.model_copy(update={**record.previous.as_present(), "previous": None}), replacing=record)


def remove(store: RunStore, endpoint: str) -> None:
    """Nothing is in production there any more."""
    store.batch(endpoint_claim(endpoint), [Write("delete", RECORD)])


def all_records(store: RunStore, unreadable: list[UnreadableDocument] | None = None) -> Iterator[EndpointRecord]:
    return readable(pages(store, RECORD), record_of, unreadable)


def in_production(store: RunStore) -> set[str]:
    """Runs of the deployments on record, and of the ones before those."""
    pairs = ((record, record.previous) for record in all_records(store))
    return {one.champion for pair in pairs for one in pair if one is not None}


def record_of(stored: Stored) -> EndpointRecord:
    """The record in a document. Raises LaterVersion, and an error for what is no record of its endpoint."""
    content = upgraded(RECORD, stored.document["record"], stored.document.get("schema_version"))
    record = EndpointRecord.model_validate(content, extra="ignore")
    if stored.partition != endpoint_claim(record.endpoint):
        raise ValueError("it is of another endpoint")
    is_of_another = record.stopped is not None and record.stopped.deployment != record.deployment
    return record.model_copy(update={"stopped": None}) if is_of_another else record


def has_candidate(store: RunStore, endpoint: str) -> bool:
    """Whether a trained model waits for its evaluation there, for a decision or for its deployment."""
    waiting = (Status.TRAINED, Status.AWAITING_APPROVAL, Status.APPROVED)
    found = (run.recipe for status in waiting for run in with_status(store, status))
    turn = read_claim(store, turn_claim(endpoint))
    return turn is not None or any(recipe is not None and recipe.endpoint == endpoint for recipe in found)
