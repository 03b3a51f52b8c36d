"""What a project may spend in a month: reserved before a job is submitted, settled when its run ends."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.domain.errors import FailureClass, PermanentFailure, StoreConflict, Transient, WaitsForRelease
from shared.domain.run import Run
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Stored
from shared.records.document import head, put
from shared.records.query import pages

BUDGET = "budget"
MAX_CONFLICTS = 8
_ENTRIES = TypeAdapter(dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]])


def account(project: str, month: datetime) -> str:
    return f"budget:{project}:{month:%Y-%m}"


def reserve(store: RunStore, run: Run, limit_usd: float | None) -> None:
    """Reserve the high end of a run's estimate in the month it was created; the same again is fine.

    Raises PermanentFailure (budget, `monthly_budget`) with the numbers if it does not fit.
    """
    if limit_usd is None or run.cost is None:
        return
    cost_usd = run.cost.high_usd

    def change(entries: dict[str, float]) -> bool:
        others = sum(usd for owner, usd in entries.items() if owner != run.id)
        if others + cost_usd > limit_usd:
            message = f"{others:.2f} of {limit_usd:.2f} USD are taken this month; the run may cost {cost_usd:.2f}"
            raise PermanentFailure(FailureClass.BUDGET, "monthly_budget", message, run.project)
        entries[run.id] = cost_usd
        return True

    _change(store, account(run.project, run.created_at), change)


def settle(store: RunStore, run: Run) -> None:
    """Replace a finished run's reservation by what it spent."""

    def change(entries: dict[str, float]) -> bool:
        if run.id not in entries:
            return False
        entries[run.id] = (run.cost.actual_usd or 0.0) if run.cost else 0.0
        return True

    _change(store, account(run.project, run.created_at), change)


def _change(store: RunStore, name: str, change: Callable[[dict[str, float]], bool]) -> None:
    """An etag loop on the one document of an account.

    Raises Transient if that cannot be read: the same works once a person released the document.
    """
    for _ in range(MAX_CONFLICTS):
        stored = store.get(name, BUDGET)
        try:
            entries = entries_of(stored.document) if stored else {}
        except ValidationError as error:
            raise WaitsForRelease(name, BUDGET) from error
        if not change(entries):
            return
        try:
            _put(store, name, entries, stored)
        except StoreConflict:
            continue
        return
    raise Transient("budget_contention", f"{MAX_CONFLICTS} conflicts on {name}", name)


def repair(store: RunStore, stored: Stored) -> None:
    """Write an account anew with its entries. One that cannot be read counts as nothing until its run settles it.

    Raises StoreConflict if it was changed.
    """
    found = stored.document.get("usd")
    entries = found if isinstance(found, dict) else {}
    try:
        _ENTRIES.validate_python(entries, strict=True)
    except ValidationError as error:
        entries = entries | {str(line["loc"][0]): 0.0 for line in error.errors()}
    _put(store, stored.partition, entries, stored)


def accounts(store: RunStore, now: datetime) -> Iterator[Stored]:
    """Those of this month and the one before it, whose runs may still end, read or not."""
    since = f"{now - timedelta(days=31):%Y-%m}"
    return takewhile(lambda stored: stored.partition[-len(since) :] >= since, pages(store, BUDGET))


def _put(store: RunStore, name: str, entries: dict[str, float], stored: Stored | None) -> None:
    """The newest month's accounts are found first."""
    store.batch(name, [put(BUDGET, {**head(BUDGET), "created_at": name[-len("2026-01") :], "usd": entries}, stored)])


def entries_of(document: Document) -> dict[str, float]:
    """USD by run of a stored document. Raises ValidationError, and LaterVersion."""
    return _ENTRIES.validate_python(upgraded(BUDGET, document, document.get("schema_version")).get("usd"), strict=True)
