"""Subscriptions, those of a project in one partition; and for 30 days what became of each event at each of them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from shared.domain.errors import StoreConflict, Transient, UnreadableDocument
from shared.domain.subscriptions import DeliveryRecord, Subscription
from shared.domain.upgrades import upgraded
from shared.ports import RunStore, Stored, Write
from shared.records.document import head, pages, put, read_one, readable

SUBSCRIPTION, DELIVERY = "subscription", "delivery"
DELIVERY_TTL_S = 30 * 24 * 3600
MAX_CONFLICTS = 8
Result = TypeVar("Result")


def subscription_of(stored: Stored) -> Subscription:
    """Raises LaterVersion, and an error for what is none."""
    document = upgraded(SUBSCRIPTION, stored.document, stored.document.get("schema_version"))
    return Subscription.model_validate(document["content"])


def of_project(store: RunStore, project: str | None) -> list[Subscription]:
    """By name; None: those of all projects. What cannot be read is left out."""
    return list(readable(store.list_partition(_partition(project), SUBSCRIPTION), subscription_of))


def every(store: RunStore, unreadable: list[UnreadableDocument] | None = None) -> Iterator[Subscription]:
    return readable(pages(store, SUBSCRIPTION), subscription_of, unreadable)


def by_id(store: RunStore, id: str) -> Subscription | None:
    """Wherever it is."""
    return next(readable(pages(store, SUBSCRIPTION, {"tag": id}), subscription_of), None)


def find(store: RunStore, id: str, project: str) -> Subscription | None:
    """Among those that events of the project go to; None if it was deleted. Raises WaitsForRelease, LaterVersion."""
    name = id.rpartition("-")[0]
    found = (read_one(store, _partition(one), _id(name), subscription_of) for one in (project, None)) if name else ()
    return next((one for one in found if one is not None and one.id == id), None)


def create(store: RunStore, subscription: Subscription) -> None:
    """Raises StoreConflict if the project has one of that name."""
    store.batch(_partition(subscription.project), [Write("create", _id(subscription.name), _document(subscription))])


def update(store: RunStore, given: Subscription, change: Callable[[Subscription], Subscription]) -> Subscription | None:
    """The stored one as `change` has it, called again if another was written meanwhile; None if it is there no more."""

    def changed(stored: Stored | None) -> tuple[Write | None, Subscription | None]:
        if stored is None or (found := subscription_of(stored)).id != given.id:
            return None, None
        after = change(found)
        write = put(_id(given.name), _document(after), stored, _document(found))
        return (None if after == found else write), after

    return _written(store, _partition(given.project), _id(given.name), changed)


def _written(
    store: RunStore, partition: str, id: str, changed: Callable[[Stored | None], tuple[Write | None, Result]]
) -> Result:
    for _ in range(MAX_CONFLICTS):
        write, result = changed(store.get(partition, id))
        try:
            if write is not None:
                store.batch(partition, [write])
        except StoreConflict:
            continue
        return result
    raise Transient("store_contention", f"{MAX_CONFLICTS} conflicts on {id} of {partition}", partition)


def delete(store: RunStore, subscription: Subscription) -> None:
    """Raises StoreConflict if it is not there. Its deliveries expire."""
    store.batch(_partition(subscription.project), [Write("delete", _id(subscription.name))])


def delivery(store: RunStore, id: str, event_id: str) -> DeliveryRecord | None:
    """What is noted of an event at a subscription; None too if it cannot be read: it is delivered all the same."""
    return next(readable(filter(None, [store.get(_log(id), event_id)]), _delivery_of), None)


def note(store: RunStore, id: str, first: DeliveryRecord, change: Callable[[DeliveryRecord], DeliveryRecord]) -> None:
    """The record of an event as `change` makes it of what is noted, or of `first`; kept 30 days from now."""

    def changed(stored: Stored | None) -> tuple[Write, None]:
        after = change(next(readable([stored] if stored else [], _delivery_of), first))
        times = {"created_at": after.noted_at.isoformat(), "tag": id}
        document = {**head(DELIVERY, event_id), **times, "content": after.model_dump(mode="json")}
        return put(event_id, document, stored, document, ttl_s=DELIVERY_TTL_S), None

    event_id = first.event["id"]
    _written(store, _log(id), event_id, changed)


def deliveries(store: RunStore, id: str, limit: int, after: str | None) -> tuple[list[DeliveryRecord], str | None]:
    """Newest first, and the cursor of the next page. Raises InvalidInput for a cursor that is not ours."""
    found, cursor = store.query(DELIVERY, {"tag": id}, limit=limit, after=after)
    return list(readable(found, _delivery_of)), cursor


def all_deliveries(store: RunStore, id: str) -> Iterator[DeliveryRecord]:
    return readable(pages(store, DELIVERY, {"tag": id}), _delivery_of)


def _delivery_of(stored: Stored) -> DeliveryRecord:
    return DeliveryRecord.model_validate(stored.document["content"])


def _document(subscription: Subscription) -> dict[str, object]:
    created = {"created_at": subscription.created_at.isoformat(), "tag": subscription.id}
    return {**head(SUBSCRIPTION, _id(subscription.name)), **created, "content": subscription.model_dump(mode="json")}


def _partition(project: str | None) -> str:
    return f"subscriptions:{project}" if project else "subscriptions"


def _id(name: str) -> str:
    return f"{SUBSCRIPTION}.{name}"


def _log(id: str) -> str:
    return f"deliveries:{id}"
