"""What a finished run gives back: its budget, its dataset and its endpoint."""

from datetime import datetime

from shared.domain.run import Run, Status
from shared.ports import RunStore
from shared.records import budget, claims
from shared.records.runs import ttl_s

# Ends after which the same data may be dropped again and starts a new run: they say nothing about it.
RELEASING = frozenset({Status.FAILED, Status.CANCELLED, Status.ROLLED_BACK})


def release(store: RunStore, run: Run, now: datetime) -> None:
    """Everything a finished run holds. What a crash leaves here, `reconcile` releases.

    One that was not deployed may have left a deployment: its endpoint is given back once that is gone.
    """
    release_dataset(store, run, now)
    if run.recipe is None:
        return
    claims.release(store, claims.turn_claim(run.recipe.endpoint), run.id)
    if run.status not in RELEASING:
        claims.release(store, claims.endpoint_claim(run.recipe.endpoint), run.id)


def release_dataset(store: RunStore, run: Run, now: datetime) -> None:
    """What is left of a finished run's budget, then its claim on the data: `reconcile` looks for claims."""
    budget.settle(store, run)
    name = claims.dataset_claim(run.project, run.dataset.sha256, run.fingerprint)
    if run.status in RELEASING:
        claims.release(store, name, run.id)
    else:
        claims.take(store, name, run.id, now)  # free if the run that held it failed
        claims.settle(store, name, run.id, ttl_s(run))
