"""`python -m local_stack.service_bus --db FILE.db --port 0`: Droptune's queues and topics; prints `ready PORT`."""

import argparse
import asyncio
from pathlib import Path

from local_stack.service_bus.server import serve
from shared.pipeline import TOPOLOGY


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local_stack.service_bus", description=__doc__)
    parser.add_argument("--db", type=Path, required=True, help="SQLite file that keeps the messages")
    parser.add_argument("--port", type=int, default=5672, help="on 127.0.0.1; 0 picks a free one")
    options = parser.parse_args()
    asyncio.run(serve(TOPOLOGY, options.db, options.port))


if __name__ == "__main__":
    main()
