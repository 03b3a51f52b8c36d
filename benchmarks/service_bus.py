"""The Service Bus client on the AMQP emulator, beside the embedded bus: what the real SDK and a network cost."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks.latency import TOPOLOGY, bus_sender, hosted, send_all
from benchmarks.measure import Figure, percentiles, seconds
from benchmarks.servers import ready
from local_stack import emulators
from local_stack.service_bus.__main__ import serve
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.ports import EventBus, Message

MESSAGES, EVENTS, ROUNDS = 500, 60, 2
BATCH = 100
BODY = b"x" * 1000
EMBEDDED = "embedded bus, SQLite"

Timings = dict[str, list[float]]  # by what was measured; one value for each round or event


def run(messages: int = MESSAGES, events: int = EVENTS) -> list[Figure]:
    """In rounds, so that both see the same neighbors; one thread sends, one receives."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours: EventBus = stack.enter_context(emulated(Path(folder)))
        embedded = stack.enter_context(closing(SqliteEventBus(Path(folder) / "own.db", TOPOLOGY, SystemClock())))
        theirs: EventBus = embedded
        taken: tuple[Timings, Timings] = ({}, {})
        for number in range(ROUNDS):
            for bus, measured in zip((ours, theirs), taken, strict=True):
                for name, value in throughput(bus, messages).items():
                    measured.setdefault(name, []).append(value)
                state = Path(folder) / f"state-{id(bus)}"
                measured.setdefault("latency", []).extend(latency(bus, state, events // ROUNDS, number))
    sdk, own = taken
    return [
        *(Figure(name, max(sdk[name]), "1/s", "higher", EMBEDDED, max(own[name])) for name in sdk if name != "latency"),
        *percentiles("send to function", (50, 99), sdk["latency"], EMBEDDED, own["latency"]),
    ]


def throughput(bus: EventBus, messages: int) -> dict[str, float]:
    """Messages of 1 KB per second, each figure with links that are open."""
    bus.send("work", [Message("first", "a", BODY)])
    empty(bus, bus.depth("work"))
    sent = [Message(f"m{n}", "a", BODY) for n in range(messages)]

    def one_by_one() -> None:
        for message in sent:
            bus.send("work", [message])

    def in_batches() -> None:
        for start in range(0, messages, BATCH):
            bus.send("work", sent[start : start + BATCH])

    clock = time.perf_counter
    figures = {
        "sent one by one": messages / seconds(one_by_one, clock),
        "received and completed": messages / seconds(lambda: empty(bus, messages), clock),
        f"sent in batches of {BATCH}": messages / seconds(in_batches, clock),
    }
    empty(bus, messages)
    return figures


def empty(bus: EventBus, messages: int) -> None:
    while messages:
        for received in bus.receive("work", max_messages=messages, wait_s=5):
            bus.complete(received)
            messages -= 1


def latency(bus: EventBus, state: Path, events: int, seed: int) -> list[float]:
    """Milliseconds from `send` to the first line of the function, at random moments, without the first."""
    taken_ms: list[float] = []
    with hosted(bus, state, lambda sent_ns: taken_ms.append((time.monotonic_ns() - sent_ns) / 1e6)):
        send_all(bus_sender, state, bus, events + 1, seed)
        deadline = time.monotonic() + 30
        while len(taken_ms) <= events:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{events + 1 - len(taken_ms)} messages did not arrive")
            time.sleep(0.01)
    return taken_ms[1:]


@contextmanager
def emulated(folder: Path) -> Iterator[ServiceBusEventBus]:
    """The client of an emulator in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.service_bus", str(folder / "emulator.db")]
    with (
        ready(command) as port,
        closing(ServiceBusEventBus(emulators.URLS["servicebus"].format(port), TOPOLOGY)) as bus,
    ):
        yield bus


if __name__ == "__main__":
    asyncio.run(serve(TOPOLOGY, Path(sys.argv[1])))
