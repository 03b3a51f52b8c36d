"""From `send` to the first line of the function, beside SQLite queues from PyPI."""

import logging
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import persistqueue
from huey import SqliteHuey  # type: ignore[import-untyped]

from benchmarks.measure import REPOSITORY, Figure, percentiles
from local_stack.functions_host.host import Host
from shared.domain.topology import Topology
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.ports import EventBus, Message

MESSAGES, ROUNDS = 100, 2
PAUSES_S = (0.05, 0.15)  # an event now and then, as in the pipeline; never a queue that is full
TOPOLOGY = Topology(queues=("work",))
LOST_AFTER_S = 30.0

SendAt = Callable[[int], None]  # of the time it was sent, in nanoseconds of the machine's monotonic clock
Entered = Callable[[int], None]


def run(messages: int = MESSAGES) -> list[Figure]:
    """One message every 100 ms on average, at random moments; in rounds, so that all see the same neighbors."""
    queues: dict[str, tuple[Any, Any, bool]] = {
        "ours": (functions_host, bus_sender, False),
        "huey": (huey_consumer, huey_sender, False),
        "persist-queue": (persist_queue_worker, persist_queue_sender, False),
        "ours across": (functions_host, bus_sender, True),
        "huey across": (huey_consumer, huey_sender, True),
    }
    taken: dict[str, list[float]] = {name: [] for name in queues}
    for number in range(ROUNDS):
        for name, (receiver, sender, across) in queues.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "queue.db"
                taken[name] += _measured(path, receiver, sender, messages // ROUNDS, number, across=across)
    waking, huey = "persist-queue, SQLiteAckQueue", "huey, SqliteHuey"
    polls = "huey polls after 100 ms and then ever more seldom"
    one, two = "send to function, one process", "send to function, two processes"
    wakes = "wakes its reader as our bus does, but waits for the disk"
    return [
        *percentiles(one, (50, 99), taken["ours"], huey, taken["huey"], polls),
        *percentiles(one, (50, 99), taken["ours"], waking, taken["persist-queue"], wakes),
        *percentiles(two, (50, 99), taken["ours across"], huey, taken["huey across"], "persist-queue looks every 10 s"),
    ]


def _measured(path: Path, receiver: Any, sender: Any, messages: int, seed: int, *, across: bool) -> list[float]:
    """Milliseconds of each message but a first one that warms up; `across`: the sender is another process."""
    taken_ms: list[float] = []
    complete = threading.Event()

    def entered(sent_ns: int) -> None:
        taken_ms.append((time.monotonic_ns() - sent_ns) / 1e6)
        if len(taken_ms) == messages + 1:
            complete.set()

    with receiver(path, entered) as shared:
        if across:
            context = multiprocessing.get_context("spawn")
            process = context.Process(target=send_all, args=(sender, path, None, messages + 1, seed))
            process.start()
            process.join()
            assert process.exitcode == 0
        else:
            send_all(sender, path, shared, messages + 1, seed)
        if not complete.wait(LOST_AFTER_S):
            raise RuntimeError(f"{messages + 1 - len(taken_ms)} messages did not arrive within {LOST_AFTER_S:.0f} s")
    return taken_ms[1:]


def send_all(sender: Any, path: Path, shared: Any, messages: int, seed: int) -> None:
    """Send at random moments, the same for every queue; `shared` is the receiver's object, if it is here."""
    moments = random.Random(seed)
    with sender(path, shared) as send:
        for _ in range(messages):
            time.sleep(moments.uniform(*PAUSES_S))
            send(time.monotonic_ns())


@contextmanager
def hosted(bus: EventBus, state: Path, entered: Entered) -> Iterator[None]:
    """An azure-functions app in the local host, with the product's host.json."""
    app = func.FunctionApp()

    def handle(msg: func.ServiceBusMessage) -> None:
        entered(int(msg.get_body()))

    app.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="ServiceBusConnection")(handle)
    host = Host(app, bus, host_json=REPOSITORY / "host.json", environment={}, state_folder=state)
    host.start()
    try:
        yield
    finally:
        host.stop()


@contextmanager
def functions_host(path: Path, entered: Entered) -> Iterator[EventBus]:
    with (
        closing(SqliteEventBus(path, TOPOLOGY, SystemClock())) as bus,
        hosted(bus, path.with_suffix(".state"), entered),
    ):
        yield bus


@contextmanager
def bus_sender(path: Path, shared: EventBus | None) -> Iterator[SendAt]:
    bus = shared or SqliteEventBus(path, TOPOLOGY, SystemClock())

    def send(sent_ns: int) -> None:
        bus.send("work", [Message(id=f"m-{sent_ns}", subject="a", body=str(sent_ns).encode())])

    yield send
    if shared is None:
        bus.close()


def _huey(path: Path, entered: Entered) -> tuple[Any, Any]:
    huey = SqliteHuey(filename=str(path))

    @huey.task(name="handle")  # type: ignore[untyped-decorator]
    def handle(sent_ns: int) -> None:
        entered(sent_ns)

    return huey, handle


@contextmanager
def huey_consumer(path: Path, entered: Entered) -> Iterator[Any]:
    """huey's consumer as its command starts it, with the default intervals."""
    logging.getLogger("huey").setLevel(logging.WARNING)
    huey, handle = _huey(path, entered)
    consumer = huey.create_consumer()
    consumer._set_signal_handlers = lambda: None  # they are this program's own
    consumer.start()
    try:
        yield handle
    finally:
        consumer.stop(graceful=True)


@contextmanager
def huey_sender(path: Path, shared: Any) -> Iterator[SendAt]:
    handle = shared or _huey(path, lambda _: None)[1]
    yield lambda sent_ns: handle(sent_ns)


@contextmanager
def persist_queue_worker(path: Path, entered: Entered) -> Iterator[Any]:
    """A thread that takes and acknowledges."""
    queue = persistqueue.SQLiteAckQueue(str(path), multithreading=True)
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            try:
                item = queue.get(timeout=0.5)
            except persistqueue.Empty:
                continue
            entered(item)
            queue.ack(item)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        stopping.set()
        thread.join()
        queue.close()


@contextmanager
def persist_queue_sender(path: Path, shared: Any) -> Iterator[SendAt]:
    yield lambda sent_ns: shared.put(sent_ns)
