"""Run the function app on this machine: `python -m local_stack.host --port 7071 --watch`.

Prints `ready PORT` once everything listens. SIGTERM and SIGINT let running functions finish and exit 0;
an app that cannot be served is refused with one line for each problem and exit code 1.
"""

import argparse
import logging
import os
import signal
import sys
import threading
from collections import ChainMap
from pathlib import Path

from local_stack.drop_watcher import DropWatcher
from local_stack.functions_host.host import Host
from local_stack.functions_host.loading import StartRefused, load_app
from local_stack.worker import say_ready
from shared.domain.errors import DroptuneError
from shared.embedded.clock import SystemClock
from shared.services import build_blob_store, build_event_bus
from shared.settings import load_settings

logger = logging.getLogger("local_stack.host")


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
