"""The webhook client: which addresses it refuses, and what it makes of silence."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.clients import webhook
from shared.clients.webhook import WebhookNotifier
from shared.domain.errors import PermanentFailure, Transient
from tests.receiver import RawReceiver, Receiver
from tests.web_urls import NO_WEB_URLS


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def test_a_private_address_is_refused_before_anything_is_sent(receiver: Receiver) -> None:
    notifier = WebhookNotifier()
    port = receiver.server.server_port
    for url in (
        receiver.url,
        f"https://127.0.0.1:{port}/",
        f"https://localhost:{port}/",
        f"https://[::1]:{port}/",
    ):
        with pytest.raises(PermanentFailure, match="webhook_not_allowed"):
            notifier.deliver(url, "id", b"{}")
    notifier.close()
    assert receiver.got == []


@pytest.mark.parametrize("url", [*NO_WEB_URLS, "", "no-url", "https://h/\ud800", f"https://h/{'a' * 70_000}"])
def test_what_is_no_url_is_given_up(url: str) -> None:
    notifier = WebhookNotifier(private_hosts=("h", ""))
    with pytest.raises(PermanentFailure, match="webhook_not_allowed"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()


def test_a_redirect_to_what_is_no_url_is_worth_a_retry(receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    receiver.status, receiver.headers = 302, {"location": "https://xn--/"}
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(receiver.url, "id", b"{}")
    notifier.close()


def test_nobody_listening_is_worth_a_retry(receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    url = receiver.url
    receiver.server.server_close()
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()


@pytest.fixture
def notifier() -> Iterator[WebhookNotifier]:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    yield notifier
    notifier.close()


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], RawReceiver]]:
    receivers = []

    def start(answer: Callable[[socket.socket], None]) -> RawReceiver:
        receivers.append(RawReceiver(answer))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.close()


Start = Callable[[Callable[[socket.socket], None]], RawReceiver]
STEP_S, STEPS = 0.1, 300  # of what drips: 30 s, in steps far below a timeout of one read
OK = b"HTTP/1.1 200 OK\r\n"


def drip(connection: socket.socket, part: bytes) -> None:
    for _ in range(STEPS):
        connection.sendall(part)
        threading.Event().wait(STEP_S)


def receive(connection: socket.socket) -> bytes:
    if got := connection.recv(2**16):
        return got
    raise ConnectionError("the caller hung up")


def read_request(connection: socket.socket) -> None:
    while not receive(connection).endswith(b"}"):
        pass


def drips_headers(connection: socket.socket) -> None:
    read_request(connection)
    connection.sendall(OK)
    drip(connection, b"x: y\r\n")
    connection.sendall(b"content-length: 0\r\n\r\n")


def drips_interim_answers(connection: socket.socket) -> None:
    read_request(connection)
    drip(connection, b"HTTP/1.1 102 Processing\r\n\r\n")
    connection.sendall(OK + b"content-length: 0\r\n\r\n")


def drips_a_status_line(connection: socket.socket) -> None:
    read_request(connection)
    drip(connection, b"H")


def never_answers(connection: socket.socket) -> None:
    while receive(connection):
        pass


def drips_a_tls_handshake(connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a record of 16 kB, with a long ServerHello
    drip(connection, b"\x00")


def reads_slowly(connection: socket.socket) -> None:
    for _ in range(STEPS):
        receive(connection)
        threading.Event().wait(STEP_S)
    read_request(connection)
    connection.sendall(OK + b"content-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("scheme", "answer", "body"),
    [
        ("http", drips_headers, b"{}"),
        ("http", drips_interim_answers, b"{}"),
        ("http", drips_a_status_line, b"{}"),
        ("http", never_answers, b"{}"),
        ("https", never_answers, b"{}"),
        ("https", drips_a_tls_handshake, b"{}"),
        ("http", reads_slowly, b" " * 2**26 + b"{}"),
    ],
)
def test_a_call_ends_at_its_deadline_whatever_the_receiver_does(
    scheme: str, answer: Callable[[socket.socket], None], body: bytes, raw: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 2 * STEP_S)
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    with pytest.raises(Transient, match=r"webhook_unreachable: .*(Timeout|ConnectError)"):
        notifier.deliver(f"{scheme}://{raw(answer).address}/", "id", body)
    notifier.close()


HUGE = 300 * 2**20


@pytest.mark.parametrize(
    ("status", "outcome"), [("200 OK", None), ("503 Busy", "webhook_refused"), ("410 Gone", "webhook_gone")]
)
@pytest.mark.parametrize("length", [f"content-length: {HUGE}", "connection: close", "transfer-encoding: chunked"])
@pytest.mark.parametrize("encoding", ["", "content-encoding: gzip\r\n"])
def test_the_status_counts_and_the_body_is_not_read(
    status: str, outcome: str | None, length: str, encoding: str, raw: Start, notifier: WebhookNotifier
) -> None:
    sent: list[int] = []
    part = b"10000\r\n" + bytes(2**16) + b"\r\n" if "chunked" in length else bytes(2**16)

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(f"HTTP/1.1 {status}\r\n{encoding}{length}\r\n\r\n".encode())
        while sum(sent) < HUGE:
            connection.sendall(part)
            sent.append(len(part))

    receiver = raw(answer)
    if outcome is None:
        notifier.deliver(receiver.url, "id", b"{}")
    else:
        with pytest.raises((Transient, PermanentFailure), match=outcome):
            notifier.deliver(receiver.url, "id", b"{}")
    receiver.wait()
    assert sum(sent) < HUGE / 10  # what lies in the buffers of the system


def test_a_body_that_drips_does_not_hold_the_call(raw: Start, notifier: WebhookNotifier) -> None:
    hung_up = threading.Event()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK + b"content-length: 1000\r\n\r\n{")
        try:
            never_answers(connection)
        finally:
            hung_up.set()

    notifier.deliver(raw(answer).url, "id", b"{}")
    assert hung_up.wait(60)


def test_an_endless_head_is_cut_off(raw: Start, notifier: WebhookNotifier) -> None:
    sent: list[int] = []

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        while sum(sent) < HUGE:
            connection.sendall(b"x: y\r\n" * 2**13)
            sent.append(6 * 2**13)

    receiver = raw(answer)
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(receiver.url, "id", b"{}")
    receiver.wait()
    assert sum(sent) < HUGE / 10


def test_one_receiver_holds_a_part_of_the_calls(
    receiver: Receiver, raw: Start, notifier: WebhookNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 600)
    requested, answered = threading.Semaphore(0), threading.Event()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        requested.release()
        answered.wait()
        connection.sendall(OK + b"content-length: 0\r\n\r\n")

    slow = raw(answer)
    with ThreadPoolExecutor(webhook.AT_ONCE) as pool:
        calls = [pool.submit(notifier.deliver, slow.url, "id", b"{}") for _ in range(webhook.AT_ONCE)]
        try:
            assert all(requested.acquire(timeout=60) for _ in calls)
            with pytest.raises(Transient, match="webhook_busy"):
                notifier.deliver(slow.url, "id", b"{}")
            notifier.deliver(receiver.url, "id", b"{}")  # another receiver
        finally:
            answered.set()
        assert [call.result() for call in calls] == [None] * webhook.AT_ONCE
    notifier.deliver(slow.url, "id", b"{}")


def test_half_of_the_calls_of_the_host_are_left_to_other_receivers() -> None:
    host = json.loads((Path(__file__).parents[4] / "host.json").read_text())
    assert host["extensions"]["serviceBus"]["maxConcurrentCalls"] == 2 * webhook.AT_ONCE
