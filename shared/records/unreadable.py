"""Documents in use that this version cannot read, or only a later one: loops leave them out, a person releases them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain

from shared.domain.errors import InvalidInput, UnreadableDocument
from shared.ports import BlobStore, RunStore, Stored, Write
from shared.records import api_objects, budget, claims, endpoints, outbox, runs
from shared.records.query import pages, unreadable_as

QUARANTINE = "quarantine"

_READERS: dict[str, Callable[[Stored], object]] = {
    runs.RUN: lambda stored: runs.run_of(stored.document),
    outbox.OUTBOX: lambda stored: outbox.outgoing_of(stored.document, stored.partition),
    claims.CLAIM: lambda stored: claims.claim_of(stored.document),
    endpoints.RECORD: lambda stored: endpoints.record_of(stored.document),
    budget.BUDGET: lambda stored: budget.entries_of(stored.document),
    **{model.kind: partial(api_objects.object_of, model=model) for model in (api_objects.File, api_objects.Job)},
}
# What timers ask for. Of others, such as a finished run, whoever asks for it is told.
_IN_USE: dict[str, dict[str, str | int]] = {
    runs.RUN: {"finished": 0},
    outbox.OUTBOX: {"sent": 0},
    claims.CLAIM: {"settled": 0},
    endpoints.RECORD: {},
}


def unreadable(store: RunStore, now: datetime) -> Iterator[UnreadableDocument]:
    """Of runs that are not finished or are in production, unsent entries, claims that are held, records of endpoints,
    and budgets of this month and the one before it."""
    for type, fields in _IN_USE.items():
        yield from filter(None, map(_unreadable, pages(store, type, fields)))
    yield from filter(None, map(_unreadable, chain(_in_production(store), budget.accounts(store, now))))


def _in_production(store: RunStore) -> Iterator[Stored]:
    """Documents of runs, finished ones."""
    records = endpoints.all_records(store)
    champions = {one.champion for record in records for one in (record, record.previous) if one is not None}
    found = filter(None, (store.get(champion, runs.RUN) for champion in sorted(champions)))
    return (stored for stored in found if stored.document.get("finished") != 0)


def quarantined(store: RunStore, blobs: BlobStore, partition: str, id: str) -> tuple[Stored, str] | None:
    """The document and the path of its copy in quarantine; None if there is no such document.

    Raises InvalidInput `document_readable` if nothing is wrong with it.
    """
    stored = store.get(partition, id)
    if stored is None:
        return None
    if _unreadable(stored) is None:
        raise InvalidInput("document_readable", f"document {id} of {partition} can be read: it is in use", "id")
    body = json.dumps({"partition": partition, "document": stored.document}).encode()
    path = f"{QUARANTINE}/document-{hashlib.sha256(body).hexdigest()[:16]}.json"
    blobs.write(path, [body])
    return stored, path


def remove(store: RunStore, stored: Stored) -> None:
    """Raises StoreConflict if it was changed meanwhile."""
    store.batch(stored.partition, [Write("delete", str(stored.document["id"]), etag=stored.etag)])


def _unreadable(stored: Stored) -> UnreadableDocument | None:
    try:
        if read := _READERS.get(str(stored.document.get("type"))):
            read(stored)
    except Exception as error:
        return unreadable_as(stored, error)
    return None
