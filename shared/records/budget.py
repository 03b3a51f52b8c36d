"""What projects, teams and all may spend in a month: reserved before a job is submitted, settled when its run ends."""

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.domain.errors import FailureClass, PermanentFailure, StoreConflict, Transient, WaitsForRelease
from shared.domain.events import BudgetWarning
from shared.domain.run import Run
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Stored
from shared.records.document import head, pages, put
from shared.records.policies import read

BUDGET = "budget"
MAX_CONFLICTS = 8
_ENTRIES = TypeAdapter(dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]])


def account(whose: str, month: datetime) -> str:
    return f"budget:{whose}:{month:%Y-%m}"


def reserve(store: RunStore, run: Run, limits_usd: Mapping[str, float], warn_at_percent: float) -> list[BudgetWarning]:
    """Reserve the high end of a run's estimate in the month it was created; the same again is fine.

    Returns what is said of the budgets of which it takes the first part beyond `warn_at_percent`. Raises
    PermanentFailure (budget, `monthly_budget`) with the numbers of one that it does not fit.
    """
    if run.cost is None:
        return []
    cost_usd, taken = run.cost.high_usd, dict[str, float]()
    for whose, limit_usd in limits_usd.items():

        def change(entries: dict[str, float], whose: str = whose, limit_usd: float = limit_usd) -> bool:
            taken[whose] = others = sum(usd for owner, usd in entries.items() if owner != run.id)
            if others + cost_usd > limit_usd:
                numbers = f"{others:.2f} of {limit_usd:.2f} USD are taken this month; the run may cost {cost_usd:.2f}"
                raise PermanentFailure(FailureClass.BUDGET, "monthly_budget", f"{whose}: {numbers}", run.project)
            entries[run.id] = cost_usd
            return True

        _change(store, account(whose, run.created_at), change)
    return [
        BudgetWarning(budget=whose, taken_usd=others + cost_usd, limit_usd=limits_usd[whose])
        for whose, others in taken.items()
        if others <= limits_usd[whose] * warn_at_percent / 100 < others + cost_usd
    ]


def settle(store: RunStore, run: Run) -> None:
    """Replace a finished run's reservation by what it spent. One in a budget that is the run's no more stays."""
    if run.cost is None:
        return  # it never reserved anything
    spent_usd = run.cost.actual_usd or 0.0

    def change(entries: dict[str, float]) -> bool:
        if run.id not in entries:
            return False
        entries[run.id] = spent_usd
        return True

    for whose in read(store).policy.budgets(run.project, math.inf):
        _change(store, account(whose, run.created_at), change)


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
