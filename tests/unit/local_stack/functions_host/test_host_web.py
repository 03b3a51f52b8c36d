"""HTTP: a FastAPI app behind AsgiFunctionApp answers as it would in Azure."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any

import azure.functions as func
import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from local_stack.functions_host.host import Host, Limits
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually, host_json, message

EVERY_BYTE = bytes(range(256))
lifespan_log: list[str] = []


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    lifespan_log.append("start")
    yield
    lifespan_log.append("stop")


def fastapi_app() -> FastAPI:
    api = FastAPI(lifespan=lifespan)

    @api.get("/api/echo/{name}")
    def echo(name: str, request: Request, response: Response) -> dict[str, Any]:
        response.headers["etag"] = '"7"'
        response.set_cookie("one", "1")
        response.set_cookie("two", "2", httponly=True)
        return {
            "name": name,
            "query": request.query_params.multi_items(),
            "seen": request.headers.get("x-seen"),
        }

    @api.post("/api/bytes", status_code=201)
    async def reversed_bytes(request: Request) -> Response:
        body = (await request.body())[::-1]
        return Response(body, status_code=201, media_type="application/octet-stream")

    @api.get("/api/unchanged")
    def unchanged() -> Response:
        return Response(status_code=304, headers={"etag": '"7"'})

    @api.get("/api/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"in ", b"parts"]), media_type="text/plain")

    @api.get("/api/broken")
    def broken() -> None:
        raise RuntimeError("broken")

    return api


def asgi_app() -> func.AsgiFunctionApp:
    return func.AsgiFunctionApp(app=fastapi_app(), http_auth_level=func.AuthLevel.ANONYMOUS)


# Above every other body of these tests.
MAX_BODY_BYTES = 2_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One host for all tests that only ask it; it needs no message."""
    folder = tmp_path_factory.mktemp("http")
    with closing(SqliteEventBus(folder / "bus.db", TOPOLOGY, SystemClock())) as bus:
        host = Host(
            asgi_app(),
            bus,
            host_json=host_json(folder),
            environment={},
            state_folder=folder,
            limits=Limits(max_body_bytes=MAX_BODY_BYTES),
        )
        with httpx.Client(base_url=f"http://127.0.0.1:{host.start()}", timeout=60, verify=False) as client:
            yield client
        assert host.stop()


def test_get_with_query_headers_and_cookies(client):
    answer = client.get("/api/echo/a%20b", params=[("q", "1"), ("q", "ü&")], headers={"X-Seen": "yes"})
    assert answer.status_code == 200
    assert answer.json() == {"name": "a b", "query": [["q", "1"], ["q", "ü&"]], "seen": "yes"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["etag"] == '"7"'
    assert dict(answer.cookies) == {"one": "1", "two": "2"}
    assert len(answer.headers.get_list("set-cookie")) == 2


def test_an_answer_in_two_parts_does_not_wait_for_an_acknowledgement(start_host):
    """Its head and its body: with Nagle's algorithm each request on a kept connection takes 40 ms longer."""
    host, _ = start_host(asgi_app())
    assert host._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_binary_body_both_ways(client):
    answer = client.post("/api/bytes", content=EVERY_BYTE * 5000)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == (EVERY_BYTE * 5000)[::-1]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, b'{"detail":"Not Found"}'),
        ("DELETE", "/api/bytes", 405, b'{"detail":"Method Not Allowed"}'),
        ("GET", "/api/unchanged", 304, b""),
        ("GET", "/api/stream", 200, b"in parts"),
        ("HEAD", "/api/bytes", 405, b""),
        ("TRACE", "/api/bytes", 404, b""),  # none of the methods of the binding
    ],
)
def test_status_codes_pass_through(client, method, path, status, body):
    answer = client.request(method, path)
    assert (answer.status_code, answer.content) == (status, body)


def test_an_exception_is_a_500_with_nothing_of_it_and_the_host_lives(client, caplog):
    with caplog.at_level(logging.INFO, "local_stack.host"):
        answer = client.get("/api/broken?token=hidden")
        assert (answer.status_code, answer.content) == (500, b"")
        assert client.get("/api/stream").status_code == 200
    [failed, worked] = [record for record in caplog.records if hasattr(record, "outcome")]
    assert (failed.outcome, worked.outcome) == ("500", "200")
    assert "hidden" not in failed.getMessage()
    assert failed.exc_info


def test_a_body_larger_than_azure_takes(client):
    assert client.post("/api/bytes", content=b"x" * MAX_BODY_BYTES).status_code == 201
    assert client.post("/api/bytes", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


def test_the_lifespan_runs_once_even_if_first_requests_come_together(start_host):
    lifespan_log.clear()
    host, port = start_host(asgi_app())
    url = f"http://127.0.0.1:{port}/api/stream"
    threads = [threading.Thread(target=httpx.get, args=(url,), kwargs={"timeout": 60}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lifespan_log == ["start"]
    assert host.stop()
    assert lifespan_log == ["start", "stop"]


def test_the_route_prefix_of_host_json(bus, tmp_path):
    config = host_json(tmp_path)
    config.write_text('{"version": "2.0", "extensions": {"http": {"routePrefix": "api"}}}')
    host = Host(asgi_app(), bus, host_json=config, environment={}, state_folder=tmp_path)
    url = f"http://127.0.0.1:{host.start()}"
    try:
        assert httpx.get(f"{url}/api/stream", timeout=60, verify=False).status_code == 200
        outside = httpx.get(f"{url}/nowhere", timeout=60, verify=False)
        assert (outside.status_code, outside.content) == (404, b"")
    finally:
        assert host.stop()


def test_messages_and_http_in_one_app(start_host, bus):
    app, seen = asgi_app(), []
    blueprint = func.Blueprint()

    @blueprint.service_bus_queue_trigger(arg_name="msg", queue_name="work", connection="C")
    def handle(msg: func.ServiceBusMessage) -> None:
        seen.append(msg.message_id)

    app.register_functions(blueprint)
    _, port = start_host(app)
    bus.send("work", [message("m")])
    assert httpx.get(f"http://127.0.0.1:{port}/api/stream", timeout=60, verify=False).text == "in parts"
    eventually(lambda: seen == ["m"])
