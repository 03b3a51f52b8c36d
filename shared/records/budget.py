"""What a project may spend in a month: reserved before a job is submitted, settled when its run ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.domain.errors import FailureClass, PermanentFailure, StoreConflict, Transient, WaitsForRelease
from shared.domain.run import Run
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore
from shared.records.document import head, put

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
            store.batch(name, [put(BUDGET, {**head(BUDGET), "usd": entries}, stored)])
        except StoreConflict:
            continue
        return
    raise Transient("budget_contention", f"{MAX_CONFLICTS} conflicts on {name}", name)


def entries_of(document: Document) -> dict[str, float]:
    """USD by run of a stored document. Raises ValidationError, and LaterVersion."""
    return _ENTRIES.validate_python(upgraded(BUDGET, document, document.get("schema_version")).get("usd"), strict=True)
