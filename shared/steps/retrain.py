"""The project's newest data again, when its recipe says so."""

from __future__ import annotations

from datetime import timedelta

from shared.domain import paths
from shared.domain.commands import StartRun
from shared.domain.drop_zone import starts_a_run
from shared.domain.endpoint import EndpointRecord
from shared.domain.run import Run
from shared.domain.topology import EVENT_ALLOWANCE
from shared.ports import BlobInfo, Services
from shared.records import runs


def retrain(record: EndpointRecord, champion: Run, services: Services) -> StartRun | None:
    """The command that starts a run, or None while it is not due, its run exists or the data is new.

    `receive_dataset` ends that run `duplicate` where nothing it would learn from has changed.
    """
    days = champion.recipe.requested.retrain.every_days if champion.recipe else None  # lost with a repaired run
    if days is None:
        return None
    periods = (services.clock.now() - record.promoted_at) // timedelta(days=days)
    newest = newest_dataset(record.project, services)
    if periods < 1 or newest is None or _is_on_its_way(newest, services):
        return None
    key = f"retrain-{record.champion}-{periods}"
    command = StartRun(path=newest.path, etag=newest.etag, key=key, parent_run=record.champion)
    return None if runs.exists(services.store, command.id) else command


def _is_on_its_way(newest: BlobInfo, services: Services) -> bool:
    """Whether the drop's own run is expected or under way: its end decides what there is to train again."""
    own = runs.load(services.store, paths.run_id_of_blob(newest.path, newest.etag))
    if own is not None:
        return not own.terminal
    expected = EVENT_ALLOWANCE + timedelta(seconds=services.config.debounce_s)
    return abs(services.clock.now() - newest.modified_at) < expected


def newest_dataset(project: str, services: Services) -> BlobInfo | None:
    blobs = [b for b in services.blobs.list(f"{paths.DATASETS}/{project}/") if starts_a_run(b.path)]
    return max(blobs, key=lambda blob: blob.modified_at, default=None)
