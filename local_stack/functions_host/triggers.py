"""Triggers of functions. Service Bus: receive, keep the lock, call, settle; counting and dead-lettering is the bus's.
Timers: NCRONTAB in UTC, never two at once, one process at a time."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import azure.functions as func
from azure.functions.meta import Datum
from croniter import croniter

from local_stack.functions_host import loading
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
    decoded: func.ServiceBusMessage = loading.decode("serviceBusTrigger", Datum(message.body, "bytes"), metadata)
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
        self,
        function: loading.LocalFunction,
        bus: EventBus,
        locks: LockKeeper,
        config: loading.HostConfig,
        limits: Limits,
    ) -> None:
        assert isinstance(function.trigger, loading.BusTrigger)
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
            loading.log_invocation(self._function.name, received.message.id, outcome, started, error=failure)
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


_LONGEST_SLEEP_S = 5.0  # a laptop that slept, or whose clock was set forwards or back, is noticed within this time
_PAST_DUE_S = 1.0

NextOccurrence = Callable[[str, datetime], datetime]


def next_occurrence(schedule: str, after: datetime) -> datetime:
    """The first moment after `after`; unlike in cron, a day must match both day fields of NCRONTAB."""
    moment = croniter(schedule, after, second_at_beginning=True, day_or=False).get_next(datetime)
    assert isinstance(moment, datetime)
    return moment


class TimerRunner(Worker):
    """Fires one function while it holds the function's lease, a file in `folder` shared by all hosts."""

    def __init__(
        self, function: loading.LocalFunction, folder: Path, lease_retry_s: float, next_occurrence: NextOccurrence
    ) -> None:
        assert isinstance(function.trigger, loading.TimerTrigger)
        super().__init__(f"timer-{function.name}")
        self._function, self._trigger = function, function.trigger
        self._lease_retry_s, self._next_occurrence = lease_retry_s, next_occurrence
        self._lease = folder / f"{function.name}.lease"

    def _run(self) -> None:
        # SQLite's exclusive lock is a file lock that works on every system and ends with its process.
        with closing(sqlite3.connect(self._lease, timeout=0, isolation_level=None)) as lease:
            while not self._take(lease):
                if self._stopping.wait(self._lease_retry_s):
                    return
            if self._trigger.runOnStartup:
                self._fire(datetime.now(UTC))
            while True:
                due = self._sleep_until_next()
                if self._stopping.is_set():
                    return
                self._fire(due)

    @staticmethod
    def _take(lease: sqlite3.Connection) -> bool:
        try:
            lease.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def _sleep_until_next(self) -> datetime:
        """The moment that was due; sooner if the host stops. After the clock was set back an earlier one is due."""
        due = self._next_occurrence(self._trigger.schedule, datetime.now(UTC))
        while (left_s := (due - (now := datetime.now(UTC))).total_seconds()) > 0:
            if left_s > _LONGEST_SLEEP_S:
                due = min(due, self._next_occurrence(self._trigger.schedule, now))
            if self._stopping.wait(min(left_s, _LONGEST_SLEEP_S)):
                break
        return due

    def _fire(self, due: datetime) -> None:
        started = time.perf_counter()
        now = datetime.now(UTC)
        following = next_occurrence(self._trigger.schedule, now)
        info = {
            "IsPastDue": (now - due).total_seconds() > _PAST_DUE_S,
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {"Last": due.isoformat(), "Next": following.isoformat()},
        }
        failure: BaseException | None = None
        try:
            self._function(loading.decode("timerTrigger", Datum(json.dumps(info), "json")))
        except BaseException as error:  # the next tick comes whatever this one did
            failure = error
        outcome = "failed" if failure else "succeeded"
        loading.log_invocation(self._function.name, due.isoformat(), outcome, started, error=failure)
