"""`python -m local_stack.azure_ml`: prints `ready PORT` once it answers; binds loopback only."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import uvicorn

from local_stack.azure_ml.app import build_app, listen
from local_stack.azure_ml.config import EmulatorConfig, load_environments
from local_stack.azure_ml.events import Emit
from local_stack.azure_ml.tokens import load_secret
from local_stack.worker import say_ready


def bus_emitter(url: str) -> Emit:
    """Sends each event to the queue Event Grid would deliver to."""
    from shared.ports import Message
    from shared.services import build_event_bus

    bus = build_event_bus(url)

    def emit(event: dict[str, Any]) -> None:
        body = json.dumps(event).encode()
        bus.send("job-events", [Message(id=event["id"], subject=event["type"], body=body)])

    return emit


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_stack.azure_ml", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="state, job folders and logs")
    parser.add_argument("--blob-root", type=Path, required=True, help="each datastore is a folder in it")
    parser.add_argument(
        "--blob-store", metavar="URL", help="datastores are its containers, not folders: files are copied"
    )
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--event-bus", metavar="URL", help="events go to its queue job-events")
    parser.add_argument("--slots", type=int, default=1, help="jobs that run at once")
    parser.add_argument("--environments", type=Path, metavar="FILE.json", help="more environments")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for library in ("azure", "httpx"):
        logging.getLogger(library).setLevel(logging.WARNING)
    listener = listen(options.port)
    config = EmulatorConfig(
        root=options.root.resolve(),
        blob_root=options.blob_root.resolve(),
        port=listener.getsockname()[1],
        blob_store=options.blob_store,
        slots=options.slots,
        secret=load_secret(options.root),
        environments=load_environments(options.environments),
    )
    emit: Emit = bus_emitter(options.event_bus) if options.event_bus else (lambda _: None)
    app = build_app(config, emit, lambda: say_ready(config.port))
    server = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    uvicorn.Server(server).run(sockets=[listener])  # until SIGTERM or SIGINT


if __name__ == "__main__":
    main()
