"""Documents in use that this version cannot read, or only a later one: loops leave them out, a person releases them."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import chain

from shared.domain.errors import InvalidInput, LaterVersion, UnreadableDocument
from shared.ports import BlobStore, RunStore, Stored, Write
from shared.records import api_objects, budget, claims, endpoints, outbox, runs, subscriptions
from shared.records.document import pages, unreadable_as

QUARANTINE = "quarantine"
REASON = ".reason.json"  # ends the name of the blob that says why a message is there

_READERS: dict[str, Callable[[Stored], object]] = {
    runs.RUN: runs.require_copies,
    outbox.OUTBOX: lambda stored: outbox.outgoing_of(stored.document, stored.partition),
    claims.CLAIM: claims.claim_of,
    endpoints.RECORD: endpoints.record_of,
    budget.BUDGET: lambda stored: budget.entries_of(stored.document),
    subscriptions.SUBSCRIPTION: subscriptions.subscription_of,
    **{model.kind: partial(api_objects.object_of, model=model) for model in (api_objects.File, api_objects.Job)},
}
# What timers ask for. Of others, such as a finished run, whoever asks for it is told.
_IN_USE: dict[str, dict[str, str | int]] = {
    runs.RUN: {"finished": 0},
    outbox.OUTBOX: {"sent": 0},
    claims.CLAIM: {"settled": 0},
    endpoints.RECORD: {},
    subscriptions.SUBSCRIPTION: {},
}


def unreadable(store: RunStore, now: datetime) -> Iterator[UnreadableDocument]:
    """Of runs that are not finished or are in production, unsent entries, claims that are held, records of endpoints,
    subscriptions, and budgets of this month and the one before it."""
    found = ((type, stored) for type, fields in _IN_USE.items() for stored in pages(store, type, fields))
    others = ((runs.RUN, _other_runs(store)), (budget.BUDGET, budget.accounts(store, now)))
    for type, stored in chain(found, ((type, stored) for type, some in others for stored in some)):
        if (fault := _fault(stored, type)) is not None:
            yield unreadable_as(stored, fault, type)


def _other_runs(store: RunStore) -> Iterator[Stored]:
    """Documents of runs in production, and of those under way whose copy of `finished` is damaged: they hold claims."""
    ids = endpoints.in_production(store) | {claim.owner for claim in claims.unsettled(store)}
    found = filter(None, (store.get(id, runs.RUN) for id in sorted(ids)))
    return (stored for stored in found if stored.document.get("finished") != 0)


def quarantined(store: RunStore, blobs: BlobStore, partition: str, id: str) -> tuple[Stored, str] | None:
    """The document and the path of its copy in quarantine; None if there is no such document.

    Raises InvalidInput `document_readable` if nothing is wrong with it, `later_version` if hosts of that read it.
    """
    stored = store.get(partition, id)
    if stored is None:
        return None
    fault = _fault(stored, id.partition(".")[0])
    if fault is None:
        raise InvalidInput("document_readable", f"document {id} of {partition} can be read: it is in use", "id")
    if isinstance(fault, LaterVersion):
        raise InvalidInput("later_version", f"{fault.problem.message}, which alone can release it", "id")
    body = json.dumps({"partition": partition, "document": stored.document}).encode()
    path = f"{QUARANTINE}/document-{hashlib.sha256(body).hexdigest()[:16]}.json"
    blobs.write(path, [body])
    return stored, path


def _fault(stored: Stored, type: str) -> Exception | None:
    """What its reader raises. `type` is that of its id, whatever it says of itself."""
    try:
        if read := _READERS.get(type):
            read(stored)
    except Exception as error:
        return error
    return None


def take_out(store: RunStore, partition: str, id: str, stored: Stored) -> None:
    """Of what is in quarantine. Raises StoreConflict if it was changed meanwhile."""
    store.batch(partition, [Write("delete", id, etag=stored.etag)])
