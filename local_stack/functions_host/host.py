"""The host of an azure-functions app: Service Bus, timers (NCRONTAB in UTC, one process at a time) and HTTP."""

import asyncio
import json
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
import uvicorn
from azure.functions.meta import Datum
from croniter import croniter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
        self, function: loading.LocalFunction, bus: EventBus, locks: LockKeeper, calls: int, limits: Limits
    ) -> None:
        assert isinstance(function.trigger, loading.BusTrigger)
        super().__init__(f"receive-{function.name}")
        self._function, self._bus, self._locks = function, bus, locks
        self._entity, self._limits = function.trigger.entity, limits
        self._calls = calls
        self._free = threading.Semaphore(calls)
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


class HttpFront:
    """Serves one catch-all function, buffered both ways as Azure buffers; without a function all is 404."""

    def __init__(self, function: loading.LocalFunction | None, route_prefix: str, max_body_bytes: int) -> None:
        self._function, self._max_body_bytes = function, max_body_bytes
        self._prefix = f"/{route_prefix}" if route_prefix else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])  # uvicorn closes a websocket for this
        answer = await self._answer(Request(scope, receive))
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        function, path = self._function, request.scope["path"]
        if function is None or not f"{path}/".startswith(f"{self._prefix}/"):
            return Response(status_code=404)
        assert isinstance(function.trigger, loading.HttpTrigger)
        if request.method not in function.trigger.methods:
            return Response(status_code=404)  # Azure answers 404 here, not 405
        body = await _read(request, self._max_body_bytes)
        if body is None:
            return Response(status_code=413)
        started = time.perf_counter()
        failure: BaseException | None = None
        answer = Response(status_code=500)
        try:
            answer = _to_answer(await function(self._to_request(request, body), context=None))
        except Exception as error:
            failure = error
        # The path only: a query may carry what does not belong in a log.
        loading.log_invocation(
            function.name, f"{request.method}:{path}", str(answer.status_code), started, error=failure
        )
        return answer

    def _to_request(self, request: Request, body: bytes) -> func.HttpRequest:
        route = request.scope["path"].removeprefix(self._prefix).lstrip("/")
        decoded: func.HttpRequest = loading.decode(
            "httpTrigger",
            Datum(
                {
                    "method": Datum(request.method, "string"),
                    "url": Datum(str(request.url), "string"),
                    "headers": _data(_joined(request.headers.items())),
                    "query": _data(_joined(parse_qsl(request.url.query, keep_blank_values=True))),
                    "params": _data({"route": route}),
                    "body": Datum(body, "bytes"),
                },
                "http",
            ),
        )
        return decoded


async def _read(request: Request, max_bytes: int) -> bytes | None:
    """The whole body; None if it is larger."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                return None
    except ClientDisconnect:  # nobody reads the answer
        return None
    return bytes(body)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One value a name, repeated ones joined with a comma, as the Azure host hands them over."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        separator = "; " if name == "cookie" else ","
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined


def _data(values: dict[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def _to_answer(returned: Any) -> Response:
    """Through the library's own converter, so that what Azure would drop or add is dropped and added here."""
    datum = func.get_binding_registry().get("http").encode(returned, expected_type=None)
    if datum.type == "string":
        return Response(datum.value, media_type="text/plain")
    value = datum.value
    headers = {name: header.value for name, header in value["headers"].items()}
    answer = Response(value["body"].value, int(value["status_code"].value), headers)
    for cookies in value["cookies"] or ():
        for morsel in cookies.values():
            answer.headers.append("set-cookie", morsel.OutputString())
    return answer


STOP_GRACE_S = 10.0


class Host:
    """Serves one azure-functions app in this process, HTTP on 127.0.0.1. `environment` fills in `%SETTING%` values;
    `state_folder` is shared by all hosts of the app. Raises StartRefused with all that is wrong with the app."""

    def __init__(
        self,
        app: loading.App,
        bus: EventBus,
        *,
        host_json: Path,
        environment: Mapping[str, str],
        state_folder: Path,
        port: int = 0,
        limits: Limits = Limits(),
        next_occurrence: NextOccurrence = next_occurrence,
    ) -> None:
        self._app = app
        functions, config = loading.read_app(app, host_json, environment)
        timers_folder = state_folder / "timers"
        timers_folder.mkdir(parents=True, exist_ok=True)

        self._locks = LockKeeper(bus, config.serviceBus.maxAutoLockRenewalDuration.total_seconds(), limits)
        self._listeners: list[BusReceiver | TimerRunner] = []
        http = None
        for function in functions:
            match function.trigger:
                case loading.BusTrigger():
                    calls = config.serviceBus.maxConcurrentCalls
                    self._listeners.append(BusReceiver(function, bus, self._locks, calls, limits))
                case loading.TimerTrigger():
                    timer = TimerRunner(function, timers_folder, limits.lease_retry_s, next_occurrence)
                    self._listeners.append(timer)
                case loading.HttpTrigger():
                    http = function
        self._server = uvicorn.Server(
            uvicorn.Config(
                HttpFront(http, config.http.routePrefix.strip("/"), limits.max_body_bytes),
                lifespan="off",  # the app behind the function has its own, run below
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=int(STOP_GRACE_S),
            )
        )
        self._port = port
        self._stopped_idle: bool | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="host-http", daemon=True)

    def start(self) -> int:
        """Listen, then receive; returns the port. StartRefused if the port is taken or the app fails."""
        try:
            self._socket = socket.create_server(("127.0.0.1", self._port))
        except OSError as error:
            raise loading.StartRefused([f"port {self._port} cannot be opened: {error.strerror}"]) from error
        # asyncio does so for sockets that name their protocol; without it an answer's body waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise loading.StartRefused([f"the app's HTTP part does not start: {self._failure!r}"])
            time.sleep(0.005)
        self._locks.start()
        for listener in self._listeners:
            listener.start()
        return int(self._socket.getsockname()[1])

    def stop(self, grace_s: float = STOP_GRACE_S) -> bool:
        """Wait for what runs; False if some still ran after `grace_s`: its message is delivered again."""
        if self._stopped_idle is not None:
            return self._stopped_idle
        deadline = time.monotonic() + grace_s
        self._server.should_exit = True
        for listener in self._listeners:
            listener.request_stop()
        idle = all([listener.wait_until_idle(deadline) for listener in self._listeners])
        self._locks.stop()
        self._thread.join(max(1.0, deadline - time.monotonic()))
        self._stopped_idle = idle and not self._thread.is_alive()
        return self._stopped_idle

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        # AsgiFunctionApp starts its app on the first request, twice if two come at once, and shuts it down
        # from __del__ on another loop. Doing both here leaves it nothing to do.
        asgi = self._app if isinstance(self._app, func.AsgiFunctionApp) else None
        if asgi:
            if not await asgi.middleware.notify_startup():
                raise RuntimeError("its ASGI start-up failed")
            asgi.startup_task_done = True
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            if asgi:
                await asgi.middleware.notify_shutdown()
                asgi.startup_task_done = False
