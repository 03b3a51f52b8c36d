"""Run the function app on this machine: `python -m local_stack.host --port 7071 --watch`.

Prints `ready PORT` once everything listens. SIGTERM and SIGINT let running functions finish and exit 0;
an app that cannot be served is refused with one line for each problem and exit code 1.
"""

import argparse
import json
import logging
import mimetypes
import os
import signal
import sqlite3
import sys
import threading
import time
import uuid
from collections import ChainMap
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from local_stack.functions_host.host import Host
from local_stack.functions_host.loading import StartRefused, load_app
from local_stack.worker import Worker, say_ready
from shared.domain.errors import DroptuneError
from shared.embedded.clock import SystemClock
from shared.ports import BlobInfo, BlobStore, Clock, Message, Publisher
from shared.services import build_blob_store, build_event_bus
from shared.settings import load_settings

logger = logging.getLogger("local_stack.host")


CONTAINER = "datasets"
QUEUE = "storage-events"
_CORE_SHARE = 0.05  # at most, however many files there are
_EVENT_TYPE = "Microsoft.Storage.BlobCreated"
_ACCOUNT = "/subscriptions/local/resourceGroups/local/providers/Microsoft.Storage/storageAccounts/local"
_ACCOUNT_URL = "https://local.blob.core.windows.net"


class DropWatcher(Worker):
    """In Event Grid's place: polls the container and posts a Microsoft.Storage.BlobCreated event to `storage-events`
    for each blob that is new or changed, and then still.

    Still means unchanged for `unchanged_s`: a plain `cp` may be in progress.

    What was posted is remembered in the SQLite file `memory`, written after the send: a crash in between
    repeats an event, with the same id, and loses none. Where a store or bus is away, it begins again.
    """

    def __init__(
        self,
        blobs: BlobStore,
        bus: Publisher,
        memory: Path,
        clock: Clock,
        *,
        unchanged_s: float = 1.0,
        poll_s: float = 0.3,
    ) -> None:
        super().__init__("drop-watcher")
        self._blobs, self._bus, self._memory, self._clock = blobs, bus, memory, clock
        self._unchanged_for, self._poll_s = timedelta(seconds=unchanged_s), poll_s

    def _run(self) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._memory, isolation_level=None)) as memory:
            memory.execute("CREATE TABLE IF NOT EXISTS posted (path TEXT PRIMARY KEY, etag TEXT NOT NULL)")
            posted: dict[str, str] = dict(memory.execute("SELECT path, etag FROM posted"))
            settling: dict[str, tuple[str, datetime]] = {}  # path -> etag, when first seen
            pause_s = self._poll_s
            while not self._stopping.wait(pause_s):
                began = time.thread_time()
                self._poll(memory, posted, settling)
                pause_s = max(self._poll_s, (time.thread_time() - began) / _CORE_SHARE)

    def _poll(
        self, memory: sqlite3.Connection, posted: dict[str, str], settling: dict[str, tuple[str, datetime]]
    ) -> None:
        found = {blob.path: blob for blob in self._blobs.list(f"{CONTAINER}/") if "/." not in f"/{blob.path}"}
        failed: Exception | None = None
        # A blob that is gone may come back with the same bytes, and that is a new drop.
        for path in posted.keys() - found.keys():
            memory.execute("DELETE FROM posted WHERE path = ?", (path,))
            del posted[path]
        for path in settling.keys() - found.keys():
            del settling[path]
        for path, blob in found.items():
            if posted.get(path) == blob.etag:
                settling.pop(path, None)
                continue
            now = self._clock.now()
            etag, since = settling.get(path, ("", now))
            if etag != blob.etag or now < since:  # also after the clock was set back
                settling[path] = (blob.etag, now)  # new, or a copy still in progress
            elif now - since >= self._unchanged_for:
                try:
                    self._bus.send(QUEUE, [blob_created(blob)])
                except Exception as error:  # the others come first
                    failed = error
                    continue
                memory.execute("INSERT OR REPLACE INTO posted VALUES (?, ?)", (path, blob.etag))
                posted[path] = blob.etag
                del settling[path]
                logger.info("posted path=%s bytes=%d", path, blob.size_bytes)
        if failed is not None:
            raise failed


def blob_created(blob: BlobInfo) -> Message:
    """The CloudEvent 1.0 that Event Grid sends for a blob; the same version of a blob has the same id."""
    container, _, name = blob.path.partition("/")
    version = f"{blob.path}\n{blob.etag}\n{blob.modified_at.isoformat()}"
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, version))
    event = {
        "specversion": "1.0",
        "id": event_id,
        "source": _ACCOUNT,
        "type": _EVENT_TYPE,
        "subject": f"/blobServices/default/containers/{container}/blobs/{name}",
        "time": datetime.now(UTC).isoformat(),
        "data": {
            "api": "PutBlob",
            "requestId": event_id,
            "eTag": blob.etag,
            "contentType": mimetypes.guess_type(name)[0] or "application/octet-stream",
            "contentLength": blob.size_bytes,
            "blobType": "BlockBlob",
            "url": f"{_ACCOUNT_URL}/{quote(blob.path)}",
            "sequencer": f"{time.time_ns():032x}",  # compared as text, grows with each event of a blob
        },
    }
    return Message(id=event_id, subject=_EVENT_TYPE, body=json.dumps(event).encode())


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("azure", "httpx", "uvicorn"):
        logging.getLogger(library).setLevel(logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        app, host_json = load_app(options.app)
        bus = build_event_bus(settings.event_bus_url, settings.azure_client_id)
        # A setting that is not set has its default in Settings; in Azure every one is an app setting.
        defaults = {name.upper(): str(value) for name, value in settings if value is not None}
        host = Host(
            app,
            bus,
            host_json=host_json,
            environment=ChainMap(dict(os.environ), defaults),
            state_folder=options.state,
            port=options.port,
        )
        watcher = None
        if options.watch:
            blobs = build_blob_store(settings.blob_store_url)
            watcher = DropWatcher(blobs, bus, options.state / "drops.db", SystemClock())
        port = host.start()
    except (StartRefused, DroptuneError, OSError) as refusal:
        print(f"The host does not start:\n{refusal}", file=sys.stderr)
        return 1
    if watcher:
        watcher.start()
    say_ready(port)

    stop.wait()
    if watcher:
        watcher.stop()
    if not host.stop():
        logger.warning("some functions did not finish; their messages come again")
        logging.shutdown()
        os._exit(0)  # a worker thread cannot be ended, and a normal exit would wait for it
    bus.close()  # gives back what Service Bus pushed to us since the last look
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack.host", description=__doc__)
    parser.add_argument("--port", type=int, default=7071, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--app", default="function_app", help="module with `app`, beside its host.json")
    parser.add_argument("--state", type=Path, default=Path(".droptune/host"), help="folder for leases and memory")
    parser.add_argument("--watch", action="store_true", help="post an event for each blob put into datasets/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
