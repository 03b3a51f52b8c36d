"""The host: starts what the app's triggers need, stops it without cutting off what runs."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import azure.functions as func
import uvicorn

from local_stack.functions_host.loading import App, BusTrigger, HttpTrigger, StartRefused, TimerTrigger, read_app
from local_stack.functions_host.messages import BusReceiver, Limits, LockKeeper
from local_stack.functions_host.timers import NextOccurrence, TimerRunner, next_occurrence
from local_stack.functions_host.web import HttpFront
from shared.ports import EventBus

logger = logging.getLogger("local_stack.host")

STOP_GRACE_S = 10.0


class Host:
    """Serves one azure-functions app in this process: messages, timers and HTTP on 127.0.0.1.

    `environment` fills in `%SETTING%` values; `state_folder` is shared by all hosts of the app.
    Raises StartRefused with everything that is wrong with the app.
    """

    def __init__(
        self,
        app: App,
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
        functions, config = read_app(app, host_json, environment)
        timers_folder = state_folder / "timers"
        timers_folder.mkdir(parents=True, exist_ok=True)

        self._locks = LockKeeper(bus, config.serviceBus.maxAutoLockRenewalDuration.total_seconds(), limits)
        self._listeners: list[BusReceiver | TimerRunner] = []
        http = None
        for function in functions:
            match function.trigger:
                case BusTrigger():
                    self._listeners.append(BusReceiver(function, bus, self._locks, config, limits))
                case TimerTrigger():
                    timer = TimerRunner(function, timers_folder, limits.lease_retry_s, next_occurrence)
                    self._listeners.append(timer)
                case HttpTrigger():
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
            raise StartRefused([f"port {self._port} cannot be opened: {error.strerror}"]) from error
        # asyncio does so for sockets that name their protocol; without it an answer's body waits 40 ms for an ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise StartRefused([f"the app's HTTP part does not start: {self._failure!r}"])
            time.sleep(0.005)
        self._locks.start()
        for listener in self._listeners:
            listener.start()
        return int(self._socket.getsockname()[1])

    def stop(self, grace_s: float = STOP_GRACE_S) -> bool:
        """Receive nothing more and wait for what runs; False if something still ran after `grace_s`.

        What was cut off is not lost: its lock runs out and the message is delivered again.
        """
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
