"""What a run has to send and what was handled for it, in documents beside the run.

The runner writes them in the batch of the transition: a message is sent although the process dies after the batch,
and an event that is delivered again is recognized.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import orjson

from shared.domain.errors import UnreadableDocument
from shared.domain.run import Run
from shared.domain.upgrades import upgraded
from shared.ports import Document, Message, RunStore, Write
from shared.records.document import head
from shared.records.query import Content, pages, readable

INBOX, OUTBOX = "inbox", "outbox"
INBOX_TTL_S = 14 * 24 * 3600
SENT_TTL_S = 30 * 24 * 3600
CLOCKS_DIFFER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and the queue or topic it goes to."""

    destination: str
    message: Message


def creation(outgoing: Outgoing, run: Run, now: datetime) -> Write:
    """The write of an entry, not sent yet."""
    message, due = outgoing.message, outgoing.message.scheduled_at
    document = {
        **head(OUTBOX, _id(message)),
        "run_id": run.id,
        "revision": run.revision,
        "created_at": now.isoformat(),
        "sent": 0,
        "destination": outgoing.destination,
        "message_id": message.id,
        "subject": message.subject,
        "properties": message.properties,
        "scheduled_at": due.isoformat() if due else None,
        "body": orjson.loads(message.body),
    }
    return Write("create", _id(message), document)


def unsent(store: RunStore, run_id: str, *, before: datetime) -> list[Outgoing]:
    """A run's entries of before that time which are not marked as sent."""
    waiting = (stored for stored in store.list_partition(run_id, OUTBOX) if not stored.document.get("sent"))
    found = readable(waiting, lambda entry: outgoing_of(entry) if _is_old(entry, before) else None)
    return [outgoing for outgoing in found if outgoing is not None]


def runs_with_unsent(store: RunStore, *, before: datetime) -> set[str]:
    """Ids of all runs that have such entries."""
    waiting = pages(store, OUTBOX, {"sent": 0})
    found = readable(waiting, lambda entry: str(entry["run_id"]) if _is_old(entry, before) else None)
    return {run_id for run_id in found if run_id is not None}


def mark_sent(store: RunStore, run_id: str, outgoing: Iterable[Outgoing]) -> None:
    """Entries are deleted some time after that. Raises StoreConflict if another process marked one meanwhile."""
    writes = []
    for one in outgoing:
        stored = store.get(run_id, _id(one.message))
        if stored is not None and not stored.document["sent"]:
            sent = {**stored.document, "sent": 1}
            writes.append(Write("replace", _id(one.message), sent, stored.etag, SENT_TTL_S))
    store.batch(run_id, writes)


def events_of(
    store: RunStore,
    run_id: str,
    read: Callable[[dict[str, Any]], Content],
    unreadable: list[UnreadableDocument] | None = None,
) -> list[Content]:
    """What `read` makes of the CloudEvents of the facts stated about a run, oldest first."""

    def event_of(entry: Document) -> tuple[int, str, Content | None]:
        body = entry["body"]
        # A delivery, `ID@CHANNEL`, and a copy sent for another try, `ID~2`, have ids of their own.
        is_fact = {"@", "~"}.isdisjoint(entry["message_id"])
        event = read(upgraded("event", body, body.get("schemaversion"))) if is_fact else None
        return int(entry["revision"]), str(entry["created_at"]), event

    entries = sorted(readable(store.list_partition(run_id, OUTBOX), event_of, unreadable), key=itemgetter(0, 1))
    return [event for _, _, event in entries if event is not None]


def inbox_mark(stage: str, event_id: str) -> str:
    """The id of the document which says that a stage has handled an event."""
    return f"{INBOX}.{stage}.{event_id}"


def handled(store: RunStore, run_id: str, mark: str) -> bool:
    return store.get(run_id, mark) is not None


def mark_handled(mark: str) -> Write:
    return Write("create", mark, head(INBOX, mark), ttl_s=INBOX_TTL_S)


def _id(message: Message) -> str:
    return f"{OUTBOX}.{message.id}"


def _is_old(entry: Document, before: datetime) -> bool:
    """One of the future is old too: the clock was set back since."""
    created_at = datetime.fromisoformat(entry["created_at"])
    return created_at < before or created_at > before + CLOCKS_DIFFER


def outgoing_of(entry: Document) -> Outgoing:
    """The message of a stored entry. Raises LaterVersion."""
    entry = upgraded(OUTBOX, entry, entry.get("schema_version"))
    due = entry["scheduled_at"]
    message = Message(
        id=entry["message_id"],
        subject=entry["subject"],
        body=orjson.dumps(entry["body"]),
        properties=entry["properties"],
        scheduled_at=datetime.fromisoformat(due) if due else None,
    )
    return Outgoing(entry["destination"], message)
