"""`python -m local_stack.service_bus --db FILE.db --port 0`: Droptune's queues and topics; prints `ready PORT`."""

import argparse
import asyncio
import signal
from pathlib import Path

from local_stack.service_bus.amqp import Connection
from local_stack.service_bus.service import ServiceBus
from local_stack.worker import say_ready
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.pipeline import TOPOLOGY
from shared.ports import Clock


class ServiceBusEmulator:
    """Everything but `listen` must be called where its loop runs."""

    def __init__(self, topology: Topology, database: Path, clock: Clock) -> None:
        self.bus = SqliteEventBus(database, topology, clock)
        self.service = ServiceBus(self.bus, topology, clock)

    async def listen(self, port: int = 0) -> int:
        """The port on 127.0.0.1; nothing outside this machine can connect."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self.service), "127.0.0.1", port)
        self.service.tick()
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._server.close()
        self.service.drop_connections()
        self.bus.close()


async def serve(topology: Topology, database: Path, port: int = 0) -> None:
    """In a process of its own: prints `ready PORT`, and ends at SIGTERM or SIGINT."""
    emulator = ServiceBusEmulator(topology, database, SystemClock())
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    say_ready(await emulator.listen(port))
    await stop.wait()
    emulator.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local_stack.service_bus", description=__doc__)
    parser.add_argument("--db", type=Path, required=True, help="SQLite file that keeps the messages")
    parser.add_argument("--port", type=int, default=5672, help="on 127.0.0.1; 0 picks a free one")
    options = parser.parse_args()
    asyncio.run(serve(TOPOLOGY, options.db, options.port))


if __name__ == "__main__":
    main()
