"""`python -m local_stack.service_bus --db FILE.db --port 0 [--config FILE.json]`; prints `ready PORT`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from local_stack.service_bus.config import Unsupported, render
from local_stack.service_bus.server import ServiceBusEmulator
from shared.embedded.clock import SystemClock
from shared.pipeline import TOPOLOGY


async def serve(options: argparse.Namespace) -> int:
    try:
        config = json.loads(options.config.read_text()) if options.config else render(TOPOLOGY)
        emulator = ServiceBusEmulator(config, options.db, SystemClock())
    except Unsupported as refusal:
        print(refusal, file=sys.stderr)
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"ready {await emulator.listen(options.port)}", flush=True)
    await stop.wait()
    emulator.close()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local_stack.service_bus", description=__doc__)
    parser.add_argument("--config", type=Path, help="in the format of Microsoft's emulator; else the product's")
    parser.add_argument("--db", type=Path, required=True, help="SQLite file that keeps the messages")
    parser.add_argument("--port", type=int, default=5672, help="on 127.0.0.1; 0 picks a free one")
    return asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
