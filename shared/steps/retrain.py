"""The project's newest data again, when its recipe says so."""

from contextlib import suppress
from datetime import timedelta

from shared.domain import paths
from shared.domain.commands import StartRun
from shared.domain.drop_zone import starts_a_run
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import StoreConflict
from shared.domain.run import Run
from shared.domain.topology import EVENT_ALLOWANCE, STORAGE_EVENTS
from shared.ports import BlobInfo, Services
from shared.records import endpoints, outbox, policies, runs
from shared.step_support.outcome import message_of
from shared.step_support.policy import endpoint_owner

# Before data that is on its way is looked for again.
WAIT_S = 600
SHORTEST = timedelta(hours=1)


def retrain(record: EndpointRecord, champion: Run, services: Services) -> StartRun | None:
    """Send the command that starts a run, once in each period; None while it is not due or the data is new.

    Only then is the project's folder listed, and what was seen is noted beside the champion's run. `receive_dataset`
    ends the run `duplicate` where nothing it would learn from has changed.
    """
    days = champion.recipe.requested.retrain.every_days if champion.recipe else None  # lost with a repaired run
    policy = policies.read(services.store).policy
    if days is None or endpoint_owner(record.endpoint, policy, services.store) != record.project:
        return None
    now, period = services.clock.now(), max(timedelta(days=days), SHORTEST)
    periods = (now - endpoints.as_of(services.store, record, now).promoted_at) // period
    mark = outbox.inbox_mark("retrain", str(periods))
    if periods < 1 or outbox.handled(services.store, champion.id, mark):
        return None
    newest = newest_dataset(record.project, services)
    command = None
    if newest is not None and not _is_on_its_way(newest, services):
        key = f"retrain-{record.champion}-{periods}"
        command = StartRun(path=newest.path, etag=newest.etag, key=key, parent_run=record.champion)
        services.bus.send(STORAGE_EVENTS, [message_of(command)])
    ttl_s = WAIT_S if command is None else int(period.total_seconds()) + 1
    with suppress(StoreConflict):  # another host looked too
        services.store.batch(champion.id, [outbox.mark_handled(mark, ttl_s)])
    return command


def newest_dataset(project: str, services: Services) -> BlobInfo | None:
    datasets = (blob for blob in services.blobs.list(f"{paths.DATASETS}/{project}/") if starts_a_run(blob.path))
    return max(datasets, key=lambda blob: blob.modified_at, default=None)


def _is_on_its_way(newest: BlobInfo, services: Services) -> bool:
    """Whether the drop's own run is expected or under way: its end decides what there is to train again."""
    own = runs.load(services.store, paths.run_id_of_blob(newest.path, newest.etag))
    if own is not None:
        return not own.terminal
    expected = EVENT_ALLOWANCE + timedelta(seconds=services.config.debounce_s)
    return abs(services.clock.now() - newest.modified_at) < expected
