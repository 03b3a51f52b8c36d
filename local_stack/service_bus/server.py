"""The emulator as one object, and in a process of its own (`__main__`)."""

import asyncio
import signal
from pathlib import Path

from local_stack.service_bus.amqp import Connection
from local_stack.service_bus.service import ServiceBus
from local_stack.worker import say_ready
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
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
