"""What a project may spend in a month: reserved before a job is submitted, settled when its run ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from shared.domain.errors import FailureClass, PermanentFailure, StoreConflict, Transient
from shared.domain.run import Run
from shared.domain.upgrades import upgraded
from shared.ports import RunStore, Write
from shared.records.document import head

BUDGET = "budget"
MAX_CONFLICTS = 8


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
    """An etag loop on the one document of an account."""
    for _ in range(MAX_CONFLICTS):
        stored = store.get(name, BUDGET)
        document: dict[str, Any] = stored.document if stored else {**head(BUDGET), "usd": {}}
        document = upgraded(BUDGET, document, document.get("schema_version"))
        if not change(document["usd"]):
            return
        try:
            store.batch(
                name, [Write("replace" if stored else "create", BUDGET, document, stored.etag if stored else None)]
            )
        except StoreConflict:
            continue
        return
    raise Transient("budget_contention", f"{MAX_CONFLICTS} conflicts on {name}", name)
