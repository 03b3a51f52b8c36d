"""Documents in use that this version cannot read: every loop leaves them out, and a person releases them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from shared.domain.errors import InvalidInput
from shared.ports import BlobStore, RunStore, Stored, Write
from shared.records import claims, endpoints, outbox, runs
from shared.records.query import pages

QUARANTINE = "quarantine"

_READERS: dict[str, Callable[[dict[str, Any]], object]] = {
    runs.RUN: runs.run_of,
    outbox.OUTBOX: outbox.outgoing_of,
    claims.CLAIM: claims.claim_of,
    endpoints.RECORD: endpoints.record_of,
}
# What timers ask for. A finished run that cannot be read is met by whoever asks for it.
_IN_USE: dict[str, dict[str, str | int]] = {
    runs.RUN: {"finished": 0},
    outbox.OUTBOX: {"sent": 0},
    claims.CLAIM: {"settled": 0},
    endpoints.RECORD: {},
}


class UnreadableEntry(NamedTuple):
    type: str
    partition: str
    id: str
    problem: str


def unreadable(store: RunStore) -> Iterator[UnreadableEntry]:
    """Of runs that are not finished, unsent entries, claims that are held and records of endpoints."""
    for type, fields in _IN_USE.items():
        for stored in pages(store, type, fields):
            problem = _problem_of(type, stored)
            if problem is not None:
                yield UnreadableEntry(type, stored.partition, str(stored.document.get("id")), problem)


def release(store: RunStore, blobs: BlobStore, partition: str, id: str) -> str | None:
    """Keep the document in quarantine and delete it; the blob's path, None if there is no such document.

    What a released run held, `reconcile` gives back. Raises InvalidInput `document_readable` if nothing is wrong.
    """
    stored = store.get(partition, id)
    if stored is None:
        return None
    if _problem_of(str(stored.document.get("type")), stored) is None:
        raise InvalidInput("document_readable", f"document {id} of {partition} can be read: it is in use", "id")
    body = orjson.dumps({"partition": partition, "document": stored.document})
    path = f"{QUARANTINE}/document-{hashlib.sha256(body).hexdigest()[:16]}.json"
    blobs.write(path, [body])
    store.batch(partition, [Write("delete", id, etag=stored.etag)])
    return path


def _problem_of(type: str, stored: Stored) -> str | None:
    """The kind of error only: a message may quote the document, and documents may quote rows."""
    read = _READERS.get(type)
    try:
        if read is not None:
            read(stored.document)
    except Exception as error:
        return f"{error.__class__.__name__}: it does not fit this version"
    return None
