"""The Service Bus emulator in a thread of the test's process."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from local_stack.emulators import URLS
from local_stack.service_bus.__main__ import ServiceBusEmulator
from local_stack.service_bus.amqp import AmqpError, AmqpLink
from local_stack.service_bus.service import ServiceBus
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.ports import Clock

T = TypeVar("T")


class FailingServiceBus(ServiceBus):
    """Answers sends to an entity with the error conditions in `failures`, by its name, the last first."""

    def __init__(self, bus: SqliteEventBus, topology: Topology, clock: Clock) -> None:
        super().__init__(bus, topology, clock)
        self.failures: dict[str, list[str]] = {}

    def arrived(self, link: AmqpLink, payload: bytes, message_format: int) -> None:
        if isinstance(link.node, str) and self.failures.get(link.node):
            raise AmqpError(self.failures[link.node].pop(), "injected by a test")
        super().arrived(link, payload, message_format)


class Running:
    """An emulator in a thread of this process: a test may empty it, cut it off, let it fail."""

    def __init__(self, service: FailingServiceBus, database: Path, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self._service, self._database, self._loop = service, database, loop
        self.url = URLS["servicebus"].format(port)

    def catch_up(self) -> None:
        """On return everything has happened that fell due since the test moved the clock."""
        self._do(lambda: None)

    def clear(self) -> None:
        """Remove every message, and every failure that was asked for."""
        self._do(self._service.failures.clear)
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute("DELETE FROM messages")

    def fail_next(self, entity: str, condition: str, times: int = 1) -> None:
        self._do(lambda: self._service.failures.update({entity: [condition] * times}))

    def drop_connections(self) -> None:
        """As a network does: no frame says good-bye."""
        self._do(self._service.drop_connections)

    def _do(self, action: Callable[[], T]) -> T:
        async def on_loop() -> T:
            result = action()
            self._service.tick()
            return result

        return asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(timeout=10)


@contextmanager
def running(topology: Topology, database: Path, clock: Clock) -> Iterator[Running]:
    """An emulator of these entities, while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="service-bus-emulator", daemon=True)
    thread.start()
    try:
        emulator = ServiceBusEmulator(topology, database, clock)
        service = emulator.service = FailingServiceBus(emulator.bus, topology, clock)
        port = asyncio.run_coroutine_threadsafe(emulator.listen(), loop).result(timeout=10)
        try:
            yield Running(service, database, loop, port)
        finally:

            async def end() -> None:
                emulator.close()
                await asyncio.sleep(0.05)  # lets the aborted connections report their end

            asyncio.run_coroutine_threadsafe(end(), loop).result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
