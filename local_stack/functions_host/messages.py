"""Service Bus triggers: receive, keep the lock, call, settle. Counting and dead-lettering is the bus's."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import azure.functions as func
from azure.functions.meta import Datum

from local_stack.functions_host.loading import BusTrigger, HostConfig, LocalFunction, decode, log_invocation
from local_stack.worker import Worker
from shared.domain.errors import LockLost
from shared.ports import EventBus, ReceivedMessage


@dataclass(frozen=True)
class Limits:
    """How long the host waits, and what it takes."""

    receive_wait_s: float = 0.5  # how late a stop may be seen
    after_error_s: float = 1.0
    lease_retry_s: float = 0.5
    max_body_bytes: int = 100 * 1024 * 1024  # Azure's own limit


logger = logging.getLogger("local_stack.host")

_RENEWAL_TICK_S = 0.1


def to_function_message(received: ReceivedMessage) -> func.ServiceBusMessage:
    """What the function sees in Azure, named as version 5 of the Service Bus extension names it."""
    message = received.message
    properties = Datum(json.dumps(message.properties), "json")
    metadata = {
        "MessageId": Datum(message.id, "string"),
        "Subject": Datum(message.subject, "string"),
        "Label": Datum(message.subject, "string"),
        "LockToken": Datum(received.lock_token, "string"),
        "LockedUntil": Datum(_utc(received.locked_until), "string"),
        "EnqueuedTimeUtc": Datum(_utc(received.enqueued_at), "string"),
        "DeliveryCount": Datum(received.delivery_count, "int"),
        "SequenceNumber": Datum(received.sequence_number, "int"),
        "ApplicationProperties": properties,
        "UserProperties": properties,  # tells the converter that this is one message, not a batch
    }
    if received.dead_letter_reason is not None:
        metadata["DeadLetterReason"] = Datum(received.dead_letter_reason, "string")
    decoded: func.ServiceBusMessage = decode("serviceBusTrigger", Datum(message.body, "bytes"), metadata)
    return decoded


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True)
class _Held:
    received: ReceivedMessage
    renew_at: float
    give_up_at: float


class LockKeeper(Worker):
    """Renews the locks of the messages that functions are working on, each at half of its length."""

    def __init__(self, bus: EventBus, max_renewal_s: float, limits: Limits) -> None:
        super().__init__("lock-keeper")
        self._bus, self._limits = bus, limits
        self._max_renewal_s = max_renewal_s
        self._held: dict[str, _Held] = {}
        self._guard = threading.Lock()

    def hold(self, received: ReceivedMessage) -> None:
        give_up_at = time.monotonic() + self._max_renewal_s
        with self._guard:
            self._held[received.lock_token] = _Held(received, _half_of_lock(received), give_up_at)

    def release(self, received: ReceivedMessage) -> ReceivedMessage:
        """Stop renewing; returns the message as last renewed, which is the one to settle."""
        with self._guard:
            held = self._held.pop(received.lock_token, None)
        return held.received if held else received

    def _run(self) -> None:
        while not self._stopping.wait(_RENEWAL_TICK_S):
            now = time.monotonic()
            with self._guard:
                due = [held for held in self._held.values() if held.renew_at <= now < held.give_up_at]
            for held in due:
                self._renew(held)

    def _renew(self, held: _Held) -> None:
        try:
            held.received = self._bus.renew_lock(held.received)
            held.renew_at = _half_of_lock(held.received)
        except LockLost:
            # Settled a moment ago, or truly lost: then settling says so. Either way nothing to renew.
            held.give_up_at = 0.0
        except Exception:
            held.renew_at = time.monotonic() + self._limits.after_error_s
            logger.exception("the lock of message %s was not renewed, trying again", held.received.message.id)


def _half_of_lock(received: ReceivedMessage) -> float:
    return time.monotonic() + (received.locked_until - datetime.now(UTC)).total_seconds() / 2


class BusReceiver(Worker):
    """Feeds one function from its queue or subscription, `max_concurrent_calls` messages at a time."""

    def __init__(
        self, function: LocalFunction, bus: EventBus, locks: LockKeeper, config: HostConfig, limits: Limits
    ) -> None:
        assert isinstance(function.trigger, BusTrigger)
        super().__init__(f"receive-{function.name}")
        self._function, self._bus, self._locks = function, bus, locks
        self._entity, self._limits = function.trigger.entity, limits
        self._calls = config.serviceBus.maxConcurrentCalls
        self._free = threading.Semaphore(self._calls)
        self._workers = ThreadPoolExecutor(self._calls, thread_name_prefix=function.name)

    def wait_until_idle(self, deadline: float) -> bool:
        """Wait for the running calls until `deadline` (monotonic); False if some still run."""
        idle = super().wait_until_idle(deadline) and all(
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic())) for _ in range(self._calls)
        )
        self._workers.shutdown(wait=idle)
        return idle

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._free.acquire(timeout=self._limits.receive_wait_s):
                continue
            free = 1
            while free < self._calls and self._free.acquire(blocking=False):
                free += 1
            batch: list[ReceivedMessage] = []
            try:
                batch = self._bus.receive(self._entity, max_messages=free, wait_s=self._limits.receive_wait_s)
            except Exception:
                logger.exception("function=%s cannot receive from %s", self._function.name, self._entity)
                self._stopping.wait(self._limits.after_error_s)
            for received in batch:
                self._locks.hold(received)
                self._workers.submit(self._handle, received)
            if free > len(batch):
                self._free.release(free - len(batch))

    def _handle(self, received: ReceivedMessage) -> None:
        started = time.perf_counter()
        failure: BaseException | None = None
        try:
            try:
                self._function(to_function_message(received))
            except BaseException as error:  # a function that calls sys.exit() has failed too
                failure = error
            held = self._locks.release(received)
            outcome = self._settle(held, failure)
            log_invocation(self._function.name, received.message.id, outcome, started, error=failure)
        finally:
            self._free.release()

    def _settle(self, received: ReceivedMessage, failure: BaseException | None) -> str:
        """Returning completes, raising abandons; if the bus refuses, the message comes again by itself."""
        try:
            if failure is None:
                self._bus.complete(received)
                return "completed"
            self._bus.abandon(received)
            return "abandoned"
        except LockLost:
            return "lock_lost"
        except Exception:
            logger.exception("message %s was not settled, its lock will run out", received.message.id)
            return "unsettled"
