"""The whole product in one process on one folder: everything is real but the platform."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from functions.stages import stage_functions
from shared.domain.errors import LaterVersion, LockLost, StoreConflict, Transient
from shared.domain.run import Run
from shared.domain.subscriptions import Subscription, Target
from shared.domain.topology import JOB_EVENTS, TOPIC
from shared.domain.upgrades import SCHEMA_VERSION
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.store import SqliteRunStore
from shared.pipeline import STAGES, TOPOLOGY
from shared.ports import DEAD_LETTERS, Message, ReceivedMessage, Services
from shared.records import runs
from shared.records.outbox import OUTBOX
from shared.runner import Runner
from shared.services import build_config
from shared.settings import Settings
from shared.step_support.outcome import Draft
from tests.clock import ManualClock
from tests.simulation.platform import Platform
from tests.subscriptions import subscribe

TIMERS = ("reconcile", "probe_deployments", "monitor_endpoints", "retire_deployments")
# What a host may see a function raise: it abandons the message, and the message comes again.
EXPECTED = (Transient, StoreConflict, LockLost, LaterVersion)

Call = Callable[[], Any]
Io = Callable[[str, Call], Any]
_process = threading.local()


class Crash(BaseException):
    """The process died here."""


def current_services() -> Services:
    services: Services = _process.services
    return services


def undisturbed(name: str, call: Call) -> Any:
    return call()


@dataclass(frozen=True)
class Delivered:
    """What the blueprint's functions use of an azure.functions.ServiceBusMessage."""

    message_id: str
    label: str
    application_properties: dict[str, str]
    body: bytes

    def get_body(self) -> bytes:
        return self.body


class Port:
    """Every call of a port goes through `io`."""

    def __init__(self, name: str, target: Any, io: Io) -> None:
        self._name, self._target, self._io = name, target, io

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._target, method)
        return lambda *args, **kwargs: self._io(f"{self._name}.{method}", lambda: found(*args, **kwargs))


class Recorder:
    """Notifier that remembers."""

    def __init__(self) -> None:
        self.delivered: Counter[str] = Counter()

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        self.delivered[f"{event['id']}@{subscription.id}"] += 1
        return 204

    def problem(self, target: Target) -> str | None:
        return None


@dataclass(eq=False)
class Book(logging.Handler):
    """What went into outboxes and onto the bus, and the errors that were caught, from the first second on."""

    stated: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    handled: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        for name in ("functions.dispatch", "shared.step_support.loops"):
            logging.getLogger(name).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], EXPECTED):
            self.errors.append(record.getMessage())


class World:
    """`seed` decides what the platform does; whoever drives decides the order of everything else."""

    def __init__(self, folder: Path, seed: str, *, inline_bytes: int = 20_000_000, channel: bool = True) -> None:
        self.folder, self.seed = folder, seed
        self.clock = ManualClock()
        self.book = Book()
        self.notifier = Recorder()
        self.config = replace(
            build_config(Settings()),
            inline_validation_max_bytes=inline_bytes,
            project_monthly_usd=100_000.0,
        )
        self._open()
        if channel:
            subscribe(self.store, events=("run.*", "model.*", "evaluation.*"))
        self.platform = Platform(
            self.clock, seed, self.blobs, folder / "blobs", self.run, lambda m: self.bus.send(JOB_EVENTS, [m])
        )

    def _open(self) -> None:
        self.store = SqliteRunStore(self.folder / "state.db", self.clock)
        self.bus = SqliteEventBus(self.folder / "bus.db", TOPOLOGY, self.clock)
        self.blobs = FileBlobStore(self.folder / "blobs")
        self._record()

    def _record(self) -> None:
        """Under everything that may fail: what is noted here has happened."""
        batch, send, book = self.store.batch, self.bus.send, self.book

        def noted_batch(partition: str, writes: Any) -> None:
            batch(partition, writes)
            for write in writes:
                if write.kind == "create" and write.document.get("schema_version") != SCHEMA_VERSION:
                    book.errors.append(f"{write.id} was created without schema_version")
                if write.kind == "create" and write.document["type"] == OUTBOX:
                    if write.document["message_id"] in book.stated:
                        book.errors.append(f"{write.document['message_id']} is stated twice")
                    book.stated[write.document["message_id"]] = write.document

        def noted_send(destination: str, messages: Any) -> None:
            send(destination, messages)
            book.sent.update(message.id for message in messages)

        self.store.batch = noted_batch  # type: ignore[method-assign]
        self.bus.send = noted_send  # type: ignore[method-assign]

    def close(self) -> None:
        self.store.close()
        self.bus.close()

    def restart(self) -> None:
        """The process is gone; another one opens the same files."""
        self.close()
        self._open()
        self.platform.blobs = self.blobs

    def services(self, io: Io = undisturbed) -> Services:
        return Services(
            clock=self.clock,
            store=Port("store", self.store, io),
            bus=Port("bus", self.bus, io),
            blobs=Port("blobs", self.blobs, io),
            launcher=Port("launcher", self.platform, io),
            models=Port("models", self.platform, io),
            notifier=Port("notifier", self.notifier, io),
            config=self.config,
        )

    # What is there

    def run(self, run_id: str) -> Run:
        run = runs.load(self.store, run_id)
        assert run is not None, f"there is no run {run_id}"
        return run

    def documents(self, type: str) -> list[dict[str, Any]]:
        page, cursor = self.store.query(type, limit=1000)
        assert cursor is None
        return [stored.document for stored in page]

    def runs(self) -> list[Run]:
        found = list(map(runs.run_of, self.store.query(runs.RUN, limit=1000)[0]))
        return sorted(found, key=lambda run: (run.created_at, run.dataset.path, run.id))

    @property
    def entities(self) -> tuple[str, ...]:
        return TOPOLOGY.entities()

    def dead_letters(self) -> dict[str, int]:
        depths = {entity: self.bus.depth(entity + DEAD_LETTERS) for entity in self.entities}
        return {entity: depth for entity, depth in depths.items() if depth}

    def waiting(self) -> dict[str, int]:
        depths = {entity: self.bus.depth(entity) for entity in self.entities}
        return {entity: depth for entity, depth in depths.items() if depth}

    # What happens

    def receive(self, entity: str, count: int = 1) -> list[ReceivedMessage]:
        return self.bus.receive(entity, max_messages=count, wait_s=0)

    def handle(self, received: ReceivedMessage, io: Io = undisturbed, *, settle: bool = True) -> None:
        """As the host does: returning completes, raising abandons. Without `settle` the message comes again."""
        self.book.handled += 1
        message = received.message
        delivered = Delivered(message.id, message.subject, dict(message.properties), message.body)
        try:
            self.call(BY_ENTITY[received.entity], delivered, io)
            if settle:
                io("bus.complete", lambda: self.bus.complete(received))
                return
        except LockLost:
            return
        except Exception as error:
            if not isinstance(error, EXPECTED):
                self.book.errors.append(f"{received.entity} raised {error!r} on {message.id}")
        try:
            self.bus.abandon(received)
        except LockLost:
            return

    def tick(self, timer: str, io: Io = undisturbed) -> None:
        try:
            self.call(timer, None, io)
        except Exception as error:
            if not isinstance(error, EXPECTED):
                self.book.errors.append(f"{timer} raised {error!r}")

    def call(self, function: str, argument: Any, io: Io) -> None:
        before = getattr(_process, "services", None)
        _process.services = self.services(io)
        try:
            FUNCTIONS[function](argument)
        finally:
            _process.services = before

    def publish(self, run: Run, draft: Draft) -> None:
        """As the API does."""
        Runner(self.services()).publish(run, draft)

    def send(self, destination: str, message: Message) -> None:
        self.bus.send(destination, [message])

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.platform.advance()


FUNCTIONS = stage_functions(current_services)
BY_ENTITY = {stage.queue: stage.name for stage in STAGES if stage.queue}
BY_ENTITY |= {f"{TOPIC}/{stage.name}": stage.name for stage in STAGES if stage.wakes}
