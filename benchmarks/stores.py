"""What the batch of one transition takes on SQLite, beside the Azure SDK against a Cosmos DB server on this machine."""

import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measure import Figure, percentiles, seconds
from benchmarks.servers import serving
from local_stack import emulators
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import RunStore, Write
from shared.services import build_run_store

BATCHES = 500
BASELINE = "azure-cosmos, local server"
NOTE = "the server is an emulator in memory, without network: not what Azure takes"
# A run with a history of a few transitions, and an event with a report in it.
_RUN_BYTES, _EVENT_BYTES = 4000, 1000


def run(batches: int = BATCHES) -> list[Figure]:
    """Both take turns, batch by batch: replace a run by its etag, create the inbox mark and two outbox entries.

    No rows where the server cannot be had: a figure of ours alone compares nothing.
    """
    try:
        emulators.install()
    except emulators.NotInstalled as error:
        print(f"stores: not measured, {error}", file=sys.stderr)
        return []
    with _embedded() as ours, _cosmos() as theirs:
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for store in (ours, theirs):
            next(_transitions(store))  # opens files and connections
        turns = zip(_transitions(ours), _transitions(theirs), strict=False)
        for _, (our_s, their_s) in zip(range(batches), turns, strict=False):
            times["ours"].append(our_s * 1000)
            times["theirs"].append(their_s * 1000)
    return percentiles("batch", (50, 99), times["ours"], BASELINE, times["theirs"], NOTE)


def _transitions(store: RunStore) -> Iterator[float]:
    """Seconds of each batch of one run that moves on for ever."""
    partition = f"run-{uuid.uuid4().hex}"
    document = {"type": "run", "created_at": "2026-01-01T00:00:00Z", "history": "x" * _RUN_BYTES}
    store.batch(partition, [Write("create", "run", document)])
    revision = 0
    while True:
        revision += 1
        stored = store.get(partition, "run")
        assert stored is not None
        entry = {"type": "outbox", "sent": 0, "event": "x" * _EVENT_BYTES}
        writes = [
            Write("replace", "run", {**document, "revision": revision}, etag=stored.etag),
            Write("create", f"inbox-{revision}", {"type": "inbox"}, ttl_s=86_400),
            *(Write("create", f"outbox-{revision}-{n}", entry) for n in range(2)),
        ]
        yield seconds(partial(store.batch, partition, writes), time.perf_counter)


@contextmanager
def _embedded() -> Iterator[RunStore]:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SqliteRunStore(Path(folder, "state.db"), SystemClock())) as store,
    ):
        yield store


@contextmanager
def _cosmos() -> Iterator[RunStore]:
    with serving("cosmos") as port:
        url = emulators.URLS["cosmos"].format(port)
        emulators.create_run_container(url)
        with closing(build_run_store(url)) as store:
            yield store
