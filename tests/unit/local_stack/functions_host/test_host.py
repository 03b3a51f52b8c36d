"""A host that starts or does not, and stops."""

from __future__ import annotations

import socket
import threading
import time

import azure.functions as func
import pytest

from local_stack.functions_host.host import Host
from local_stack.functions_host.loading import StartRefused
from tests.unit.local_stack.functions_host.support import eventually, host_json, message, queue_app


def test_a_port_that_is_taken(bus, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = Host(
            func.FunctionApp(),
            bus,
            host_json=host_json(tmp_path),
            environment={},
            state_folder=tmp_path,
            port=port,
        )
        with pytest.raises(StartRefused, match=f"port {port} cannot be opened"):
            host.start()


def test_an_app_whose_start_up_fails(start_host):
    async def failing(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartRefused, match="start-up failed"):
        start_host(func.AsgiFunctionApp(app=failing, http_auth_level=func.AuthLevel.ANONYMOUS))


def test_a_stop_waits_for_the_running_function(start_host, bus):
    begun, ended = threading.Event(), []

    def handle(msg: func.ServiceBusMessage) -> None:
        begun.set()
        time.sleep(0.4)
        ended.append(msg.message_id)

    host, _ = start_host(queue_app(handle), QUEUE="work")
    bus.send("work", [message("running")])
    assert begun.wait(60)
    assert host.stop()
    assert ended == ["running"]
    bus.send("work", [message("late")])
    assert bus.depth("work") == 1  # the running one was completed, the late one not received


def test_a_stop_gives_up_in_the_end_and_says_so(start_host, bus):
    begun, end = threading.Event(), threading.Event()

    def handle(msg: func.ServiceBusMessage) -> None:
        begun.set()
        end.wait(120)

    host, _ = start_host(queue_app(handle), QUEUE="work")
    bus.send("work", [message("stuck")])
    assert begun.wait(60)
    assert not host.stop(grace_s=0.3)
    assert bus.depth("work") == 1
    end.set()
    eventually(lambda: bus.depth("work") == 0)
