"""The webhook client: which addresses it refuses, and what it makes of silence."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.clients import webhook
from shared.clients.webhook import WebhookNotifier
from shared.domain import urls
from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from tests.examples import examples
from tests.receiver import RawReceiver, Receiver
from tests.web_urls import NEEDS_DNS, NO_WEB_URLS, NOT_ALLOWED


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a connection was requested; none is made."""
    hosts: list[str] = []

    def connect(backend: object, host: str, *rest: object, **options: object) -> None:
        hosts.append(host)
        raise httpcore.ConnectError("as far as a test goes")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    return hosts


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What names resolve to; what is not there the system reads."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **options: Any) -> Any:
        return real(known.get(host, host), *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


def test_the_table_has_at_least_99_forms() -> None:
    assert len(NOT_ALLOWED) >= 99


@pytest.mark.parametrize("url", NOT_ALLOWED)
def test_what_is_not_public_is_refused_before_anything_is_sent(
    url: str, names: dict[str, str], connected: list[str]
) -> None:
    if (address := NOT_ALLOWED[url]) is not None:
        names[httpx.URL(url).raw_host.decode()] = address
    notifier = WebhookNotifier()
    with pytest.raises(PermanentFailure, match="webhook_not_allowed") as refused:
        notifier.deliver(url, "id", b"{}")
    notifier.close()
    assert connected == []
    why = urls.objection(url, {}, ())
    assert (why is None) == (url in NEEDS_DNS)
    assert refused.value.problem.message == (why or f"{httpx.URL(url).raw_host.decode()} is not a public address")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://hooks.example/x", "93.184.215.14"),
        ("https://hooks.example:443/x", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"),
        ("https://hooks.example/x", "64:ff9b::93.184.215.14"),
        ("https://hooks.example/x", "::ffff:93.184.215.14"),
    ],
)
def test_a_public_address_is_connected_to(
    url: str, address: str, names: dict[str, str], connected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, **_: [(0, 0, 0, "", (address, port))])
    notifier = WebhookNotifier()
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()
    assert connected == [address]


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://HOOKS.example:443/a/b?c=d&e=%20#f", "hooks.example", "/a/b?c=d&e=%20"),
        ("https://hooks.example?q=ä b", "hooks.example", "/?q=%C3%A4%20b"),
        ("https://stra\u00dfe.example/", "xn--strae-oqa.example", "/"),
        ("https://[2606:2800:21f::1]/", "[2606:2800:21f::1]", "/"),
    ],
)
def test_host_and_path_are_sent_as_the_url_says(
    url: str, host: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[bytes, bytes]] = []

    def stream(pool: object, method: str, target: httpcore.URL, *, headers: Any, content: bytes) -> Any:
        sent.append((headers["host"].encode(), target.target))
        raise httpcore.ConnectError("as far as a test goes")

    monkeypatch.setattr(httpcore.ConnectionPool, "stream", stream)
    notifier = WebhookNotifier()
    with pytest.raises(Transient, match="webhook_unreachable"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()
    assert sent == [(host.encode(), path.encode())]


@examples(300)
@given(st.ip_addresses(v=4))
def test_an_ipv6_address_is_no_more_public_than_the_ipv4_address_in_it(inner: IPv4Address) -> None:
    number = int(inner)
    forms = [
        number | 0xFFFF << 32,
        number,
        0x64FF9B << 96 | number,
        0x64FF9B0001 << 80 | number,
        0x2002 << 112 | number << 80,
    ]
    public = [urls.is_public(str(IPv6Address(form))) for form in forms]
    assert public == [urls.is_public(str(inner)), False, urls.is_public(str(inner)), False, False]


@pytest.mark.parametrize("url", [*NO_WEB_URLS, "", "no-url", "https://h/\ud800", f"https://h/{'a' * 70_000}"])
def test_what_is_no_url_is_given_up(url: str) -> None:
    notifier = WebhookNotifier(private_hosts=("h", ""))
    with pytest.raises(PermanentFailure, match="webhook_not_allowed"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()


@pytest.mark.parametrize("to", ["https://xn--/", "http://169.254.169.254/", "SELF", "//", "file:///etc/passwd"])
def test_a_redirect_is_not_followed_and_worth_a_retry(to: str, receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    receiver.status, receiver.headers = 302, {"location": receiver.url if to == "SELF" else to}
    with pytest.raises(Transient, match="webhook_refused"):
        notifier.deliver(receiver.url, "id", b"{}")
    notifier.close()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_delivery(status: int, receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    receiver.status = status
    notifier.deliver(receiver.url, "id", b"{}")
    notifier.close()


@pytest.mark.parametrize("status", [300, 301, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504, 599])
def test_every_other_answer_than_410_is_worth_a_retry(status: int, receiver: Receiver) -> None:
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    receiver.status = status
    with pytest.raises(Transient, match=f"webhook_refused: 127.0.0.1 answered {status}"):
        notifier.deliver(receiver.url, "id", b"{}")
    notifier.close()


KEYS = [f"whsec_{base64.b64encode(bytes([number] * 32)).decode()}" for number in range(4)]


def test_a_channel_is_signed_with_its_own_keys_and_another_url_with_the_shared_ones(receiver: Receiver) -> None:
    channels = webhook.channels_of(f"ops {receiver.url} {KEYS[0]} {KEYS[1]}\nplain {receiver.url}")
    notifier = WebhookNotifier(keys=[KEYS[2]], channels=channels, private_hosts=("127.0.0.1",))
    for url in ("channel:ops", receiver.url, "channel:plain"):
        notifier.deliver(url, "id", b"{}")
    notifier.close()
    fits: list[list[int]] = []
    for headers, body in receiver.got:
        fits.append([])
        for number, key in enumerate(KEYS):
            with suppress(WebhookVerificationError):
                Webhook(key).verify(body, headers)
                fits[-1].append(number)
    assert fits == [[0, 1], [2], []]
    assert "webhook-signature" not in receiver.got[2][0]


def test_a_channel_that_is_not_set_and_a_url_that_is_none_are_refused_without_quoting_it() -> None:
    notifier = WebhookNotifier(channels={"ops": ["https://[::1?token=zzz"]})
    for url, message in (("channel:audit", "NOTIFY_CHANNELS has no audit"), ("channel:ops", "not a web address")):
        with pytest.raises(PermanentFailure, match=message) as refused:
            notifier.deliver(url, "id", b"{}")
        assert "zzz" not in repr(refused.value.problem)
    notifier.close()


@pytest.mark.parametrize(
    "text",
    [
        "ops",
        "ops token",
        "Ops https://h/zzz",
        f"ops https://h/zzz {KEYS[0]} {KEYS[1]} {KEYS[2]}",
        "ops https://h/zzz whsec_enp6",
        f"ops https://h/zzz {KEYS[0][6:]}",
        "ops https://h/zzz ; ops https://h/zzz",
        "@Microsoft.KeyVault(VaultName=kv;SecretName=zzz)",
    ],
)
def test_a_wrong_setting_of_channels_is_named_and_not_quoted(text: str) -> None:
    with pytest.raises(InvalidInput, match="bad_settings: NOTIFY_CHANNELS") as refused:
        webhook.channels_of(text)
    assert "zzz" not in str(refused.value)


def test_a_user_in_the_url_of_a_channel_is_sent_and_no_cookie_of_another_answer(receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//jane:p%20w@")
    notifier = WebhookNotifier(channels={"ops": [url]}, private_hosts=("127.0.0.1",))
    receiver.headers = {"set-cookie": "a=b"}
    for _ in range(2):
        notifier.deliver("channel:ops", "id", b"{}")
    notifier.close()
    for headers, _ in receiver.got:
        assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"jane:p w"
        assert "cookie" not in headers
        assert "accept-encoding" not in headers


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


def floods_interim_answers(connection: socket.socket) -> None:
    read_request(connection)
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 2**10)


def answers(text: bytes, times: int = 1) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        for _ in range(times):
            connection.sendall(text)

    return answer


BOMB = gzip.compress(bytes(HUGE // 8))
UNREACHABLE = "webhook_unreachable"


@pytest.mark.parametrize(
    ("scheme", "answer", "outcome"),
    [
        pytest.param("http", lambda connection: None, UNREACHABLE, id="closes at once"),
        pytest.param("http", answers(b""), UNREACHABLE, id="closes without an answer"),
        pytest.param("http", floods_interim_answers, UNREACHABLE, id="floods interim answers"),
        pytest.param("https", lambda connection: connection.sendall(bytes(range(256)) * 64), UNREACHABLE, id="no TLS"),
        pytest.param("https", lambda connection: connection.sendall(OK + b"\r\n"), UNREACHABLE, id="http for TLS"),
        pytest.param("http", answers(b"\xff" * 4096), UNREACHABLE, id="no HTTP"),
        pytest.param("http", answers(b"HTTP/9.9 200 OK\r\n\r\n"), None, id="unknown version"),
        pytest.param("http", answers(b"HTTP/1.1 xx OK\r\n\r\n"), UNREACHABLE, id="no status"),
        pytest.param("http", answers(OK + b"a\x00b: c\r\n\r\n"), UNREACHABLE, id="no header"),
        pytest.param(
            "http", answers(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\n"), UNREACHABLE, id="lengths"
        ),
        pytest.param("http", answers(OK + b"x: " + b"y" * 2**20 + b"\r\n\r\n"), UNREACHABLE, id="long header"),
        pytest.param("http", answers(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), UNREACHABLE, id="upgrade"),
        pytest.param("http", answers(b"HTTP/1.1 999 ?\r\n\r\n"), "webhook_refused", id="unknown status"),
        pytest.param("http", answers(OK + b"content-encoding: gzip\r\n\r\n" + BOMB), None, id="gzip bomb"),
        pytest.param("http", answers(OK + b"content-encoding: gzip\r\n\r\n" + b"x" * 99), None, id="bad gzip"),
        pytest.param("http", answers(OK + b"content-encoding: br, zstd\r\n\r\nx"), None, id="unknown encoding"),
        pytest.param("http", answers(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), None, id="bad chunk"),
    ],
)
def test_whatever_a_receiver_answers_has_an_outcome(
    scheme: str,
    answer: Callable[[socket.socket], None],
    outcome: str | None,
    raw: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 1)
    notifier = WebhookNotifier(private_hosts=("127.0.0.1",))
    with pytest.raises(Transient, match=outcome) if outcome else nullcontext():
        notifier.deliver(f"{scheme}://{raw(answer).address}/", "id", b"{}")
    notifier.close()


def waits_to_answer() -> tuple[threading.Semaphore, threading.Event, Callable[[socket.socket], None]]:
    """Released by each request; what they wait for; and what answers them."""
    requested, answered = threading.Semaphore(0), threading.Event()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        requested.release()
        answered.wait()
        connection.sendall(OK + b"content-length: 0\r\n\r\n")

    return requested, answered, answer


def test_one_receiver_holds_a_part_of_the_calls(
    receiver: Receiver, raw: Start, notifier: WebhookNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
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


def test_one_project_holds_a_part_of_the_calls_whatever_receivers_it_has(
    receiver: Receiver, raw: Start, notifier: WebhookNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
    slow = [raw(answer).url for _ in range(webhook.AT_ONCE)]
    with ThreadPoolExecutor(webhook.AT_ONCE) as pool:
        calls = [pool.submit(notifier.deliver, url, "id", b"{}", "/projects/evil") for url in slow]
        try:
            assert all(requested.acquire(timeout=60) for _ in calls)
            with pytest.raises(Transient, match="webhook_busy: 4 calls for /projects/evil"):
                notifier.deliver(receiver.url, "id", b"{}", "/projects/evil")
            notifier.deliver(receiver.url, "id", b"{}", "/projects/shop")
            notifier.deliver(receiver.url, "id", b"{}")  # of the platform
        finally:
            answered.set()
        assert [call.result() for call in calls] == [None] * webhook.AT_ONCE
    notifier.deliver(receiver.url, "id", b"{}", "/projects/evil")


def test_the_platform_is_told_though_projects_hold_all_calls_they_may(
    raw: Start, notifier: WebhookNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even at the receiver that they hold."""
    monkeypatch.setattr(webhook, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
    slow, other = raw(answer).url, raw(answer).url
    calls = [(url, f"/projects/{name}") for url, name in ((slow, "evil"), (other, "worse")) for _ in range(4)]
    with ThreadPoolExecutor(2 * webhook.AT_ONCE) as pool:
        held = [pool.submit(notifier.deliver, url, "id", b"{}", name) for url, name in calls[: webhook.OF_PROJECTS]]
        try:
            assert all(requested.acquire(timeout=60) for _ in held)
            with pytest.raises(Transient, match="webhook_busy: 6 calls for projects"):
                notifier.deliver(other, "id", b"{}", "/projects/shop")
            platform = pool.submit(notifier.deliver, slow, "id", b"{}")
            assert requested.acquire(timeout=60)
        finally:
            answered.set()
        assert [call.result() for call in [*held, platform]] == [None] * (webhook.OF_PROJECTS + 1)


def test_half_of_the_calls_of_the_host_are_left_to_other_receivers() -> None:
    host = json.loads((Path(__file__).parents[4] / "host.json").read_text())
    assert host["extensions"]["serviceBus"]["maxConcurrentCalls"] == 2 * webhook.AT_ONCE > webhook.OF_PROJECTS
