"""The project's newest data again, when its recipe says so."""

from __future__ import annotations

from datetime import timedelta

from shared.domain import paths
from shared.domain.run import Run
from shared.ports import BlobInfo, Message, Services
from shared.records import runs
from shared.records.endpoints import EndpointRecord
from shared.steps.receive_dataset import run_id_of_blob, starts_a_run
from shared.steps.reconcile import EVENT_ALLOWANCE, blob_hint


def retrain(record: EndpointRecord, champion: Run, services: Services) -> Message | None:
    """The hint that starts a run, or None while it is not due, its run exists or the data is new.

    `receive_dataset` ends that run `duplicate` where nothing it would learn from has changed.
    """
    assert champion.recipe is not None
    days = champion.recipe.requested.retrain.every_days
    if days is None:
        return None
    periods = (services.clock.now() - record.promoted_at) // timedelta(days=days)
    newest = newest_dataset(record.project, services)
    if periods < 1 or newest is None or _is_on_its_way(newest, services):
        return None
    key = f"retrain-{record.champion}-{periods}"
    if runs.exists(services.store, run_id_of_blob(newest.path, newest.etag, key)):
        return None
    return blob_hint(newest.path, newest.etag, key, parent_run=record.champion)


def _is_on_its_way(newest: BlobInfo, services: Services) -> bool:
    """Whether the drop's own run is expected or under way: its end decides what there is to train again."""
    own = runs.load(services.store, run_id_of_blob(newest.path, newest.etag))
    if own is not None:
        return not own.terminal
    expected = EVENT_ALLOWANCE + timedelta(seconds=services.config.debounce_s)
    return services.clock.now() - newest.modified_at < expected


def newest_dataset(project: str, services: Services) -> BlobInfo | None:
    blobs = [b for b in services.blobs.list(f"{paths.DATASETS}/{project}/") if starts_a_run(b.path)]
    return max(blobs, key=lambda blob: blob.modified_at, default=None)
