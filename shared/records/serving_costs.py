"""What the deployments of each endpoint cost: a document beside its record, which has no deployment of a candidate."""

import logging
from collections.abc import Callable, Iterator

from shared.domain.endpoint import ServingCosts
from shared.domain.errors import LaterVersion, UnreadableDocument
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Stored
from shared.records.claims import endpoint_claim
from shared.records.document import head, pages, put, readable, salvaged_as

log = logging.getLogger(__name__)

COSTS, PREFIX = "serving_costs", endpoint_claim("")


def read(store: RunStore, endpoint: str) -> ServingCosts:
    """Nothing yet if there is no document. Raises LaterVersion."""
    return _costs_of(store.get(endpoint_claim(endpoint), COSTS), endpoint)


def change(store: RunStore, endpoint: str, change: Callable[[ServingCosts], ServingCosts | None]) -> None:
    """Write what `change` makes of them, also if it is the same; nothing for None.

    Raises StoreConflict if they were written meanwhile, and LaterVersion.
    """
    stored = store.get(endpoint_claim(endpoint), COSTS)
    before = _costs_of(stored, endpoint)
    if (after := change(before)) is not None:
        write = put(COSTS, _document_of(after), stored, _document_of(before))
        store.batch(endpoint_claim(endpoint), [write])


def all_costs(store: RunStore, unreadable: list[UnreadableDocument]) -> Iterator[ServingCosts]:
    """Also of endpoints without a model in production: not yet, or not any more."""
    return readable(pages(store, COSTS), lambda one: _costs_of(one, one.partition.removeprefix(PREFIX)), unreadable)


def with_running(store: RunStore) -> set[str]:
    """Endpoints at which something runs, as far as it is known here."""
    return {stored.partition.removeprefix(PREFIX) for stored in pages(store, COSTS, {"settled": 0})}


def _document_of(costs: ServingCosts) -> Document:
    since = [one.since.isoformat() for one in (*costs.running, *costs.ended)]
    copies = {"created_at": min(since, default=""), "settled": int(not costs.running)}
    return {**head(COSTS), **copies, "costs": costs.model_dump(mode="json")}


def _costs_of(stored: Stored | None, endpoint: str) -> ServingCosts:
    """Of a damaged document what can be read: no deployment waits for its repair."""
    if stored is None:
        return ServingCosts(endpoint=endpoint)
    try:
        content = upgraded(COSTS, stored.document["costs"], stored.document.get("schema_version"))
        return ServingCosts.model_validate({**content, "endpoint": endpoint}, extra="ignore")
    except LaterVersion:
        raise
    except Exception:
        log.error("the costs of %a cannot be read: what can be is kept", endpoint)
        empty = ServingCosts(endpoint=endpoint)
        return salvaged_as(ServingCosts, stored.document.get("costs"), endpoint=endpoint) or empty
