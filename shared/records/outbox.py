"""What a run has to send and what was handled for it, in documents beside the run.

The runner writes them in the batch of the transition: a message is sent although the process dies after the batch,
and an event that is delivered again is recognized.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from typing import Any

import orjson
from pydantic import TypeAdapter

from shared.domain.errors import UnreadableDocument
from shared.domain.model import utc
from shared.domain.run import Run
from shared.domain.topology import DELIVERIES, JOB_EVENTS, STORAGE_EVENTS, TOPIC
from shared.domain.upgrades import upgraded
from shared.ports import Document, Message, RunStore, Stored, Write
from shared.ports.store import MAX_BATCH_WRITES
from shared.records.document import Content, head, pages, put, readable

INBOX, OUTBOX = "inbox", "outbox"
INBOX_TTL_S = 14 * 24 * 3600
SENT_TTL_S = 30 * 24 * 3600
CLOCKS_DIFFER = timedelta(minutes=1)
_DESTINATIONS = frozenset({STORAGE_EVENTS, JOB_EVENTS, TOPIC, DELIVERIES})


_MESSAGE = TypeAdapter(Message)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and the queue or topic it goes to."""

    destination: str
    message: Message


def creation(outgoing: Outgoing, run: Run, now: datetime, *, sent: bool = False) -> Write:
    """The write of an entry: of what is to be sent, or of what a person sent and the run has taken over."""
    message, due = outgoing.message, outgoing.message.scheduled_at
    document = {
        **head(OUTBOX, _id(message)),
        "run_id": run.id,
        "revision": run.revision,
        "created_at": now.isoformat(),
        "sent": int(sent),
        "destination": outgoing.destination,
        "message_id": message.id,
        "subject": message.subject,
        "properties": message.properties,
        "scheduled_at": due.isoformat() if due else None,
        "body": orjson.loads(message.body),
    }
    return Write("create", _id(message), document, ttl_s=SENT_TTL_S if sent else None)


def unsent(store: RunStore, run_id: str, *, before: datetime) -> list[Outgoing]:
    """A run's entries of before that time which are not marked as sent: as many as can be marked at once."""
    waiting = (stored for stored in store.list_partition(run_id, OUTBOX) if not stored.document.get("sent"))
    return list(islice(_old(waiting, before), MAX_BATCH_WRITES))


def runs_with_unsent(store: RunStore, *, before: datetime) -> set[str]:
    """Ids of all runs that have such entries."""
    return {stored.partition for stored in pages(store, OUTBOX, {"sent": 0}) if any(_old([stored], before))}


def _old(entries: Iterable[Stored], before: datetime) -> Iterator[Outgoing]:
    """One of the future is old too: the clock was set back since. Those that cannot be read are left out."""

    def read(stored: Stored) -> Outgoing | None:
        created_at = utc(datetime.fromisoformat(stored.document["created_at"]))
        is_old = created_at < before or created_at > before + CLOCKS_DIFFER
        return outgoing_of(stored.document, stored.partition) if is_old else None

    return filter(None, readable(entries, read))


def mark_sent(store: RunStore, run_id: str, outgoing: Iterable[Outgoing]) -> None:
    """Entries are deleted some time after that. Raises StoreConflict if another process marked one meanwhile."""
    writes = []
    for one in outgoing:
        stored = store.get(run_id, _id(one.message))
        if stored is not None and not stored.document.get("sent"):
            writes.append(put(_id(one.message), {"sent": 1}, stored, ttl_s=SENT_TTL_S))
    store.batch(run_id, writes)


def events_of(
    store: RunStore,
    run_id: str,
    read: Callable[[dict[str, Any]], Content],
    unreadable: list[UnreadableDocument] | None = None,
) -> list[Content]:
    """What `read` makes of the CloudEvents of the facts stated about a run, oldest first."""

    def event_of(stored: Stored) -> tuple[int, str, Content | None]:
        entry, body = stored.document, stored.document["body"]
        # A delivery, `ID@CHANNEL`, and a copy sent for another try, `ID~2`, have ids of their own.
        is_fact = {"@", "~"}.isdisjoint(entry["message_id"])
        if is_fact and body["id"] != entry["message_id"]:
            raise ValueError("it is another event")
        event = read(upgraded("event", body, body.get("schemaversion"))) if is_fact else None
        return int(entry["revision"]), str(entry["created_at"]), event

    entries = sorted(readable(store.list_partition(run_id, OUTBOX), event_of, unreadable), key=itemgetter(0, 1))
    return [event for _, _, event in entries if event is not None]


def inbox_mark(stage: str, event_id: str) -> str:
    """The id of the document which says that a stage has handled an event."""
    return f"{INBOX}.{stage}.{event_id}"


def handled(store: RunStore, run_id: str, mark: str) -> bool:
    return store.get(run_id, mark) is not None


def mark_handled(mark: str, ttl_s: int = INBOX_TTL_S) -> Write:
    return Write("create", mark, head(INBOX, mark), ttl_s=ttl_s)


def _id(message: Message) -> str:
    return f"{OUTBOX}.{message.id}"


def outgoing_of(entry: Document, run_id: str) -> Outgoing:
    """The message of an entry stored for that run.

    Raises LaterVersion, and an error for what no version that shares its number has stored: it is never sent.
    """
    entry = upgraded(OUTBOX, entry, entry.get("schema_version"))
    utc(datetime.fromisoformat(entry["created_at"]))
    due, body = entry["scheduled_at"], entry["body"]
    fields = {"id": entry["message_id"], "subject": entry["subject"], "properties": entry["properties"]}
    fields |= {"body": orjson.dumps(body), "scheduled_at": utc(datetime.fromisoformat(due)) if due else None}
    message = _MESSAGE.validate_python(fields)
    about = {entry["run_id"], body.get("event", body).get("runid", run_id)}
    if entry["destination"] not in _DESTINATIONS or entry["id"] != _id(message) or about != {run_id}:
        raise ValueError("it goes to no queue or topic of this version, has another id or is about another run")
    return Outgoing(entry["destination"], message)
