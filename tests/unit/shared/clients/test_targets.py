"""The client of targets: which addresses it refuses, and what it makes of silence."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from shared.clients import targets
from shared.clients.targets import TargetNotifier
from shared.domain import urls
from shared.domain.errors import PermanentFailure, Transient
from shared.domain.subscriptions import Subscription
from shared.domain.subscriptions import Webhook as Webhook_
from tests.examples import examples
from tests.receiver import RawReceiver, Receiver
from tests.subscriptions import KEYS, subscription
from tests.web_urls import NEEDS_DNS, NO_WEB_URLS, NOT_ALLOWED

EVENT = {"specversion": "1.0", "id": "e-1", "type": "droptune.run.failed.v1", "source": "/projects/shop", "data": {}}


def to(url: str, project: str | None = None) -> Subscription:
    """One whose URL nobody has checked."""
    target = Webhook_.model_construct(type="webhook", url=url, mode="structured")
    return subscription(project=project).model_copy(update={"target": target})


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
    notifier = TargetNotifier()
    with pytest.raises(PermanentFailure, match="target_not_allowed") as refused:
        notifier.deliver(to(url), EVENT)
    notifier.close()
    assert connected == []
    why = urls.objection(url, ())
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
    notifier = TargetNotifier()
    with pytest.raises(Transient, match="target_unreachable"):
        notifier.deliver(to(url), EVENT)
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
        sent.append((dict(headers)[b"host"], target.target))
        raise httpcore.ConnectError("as far as a test goes")

    monkeypatch.setattr(httpcore.ConnectionPool, "stream", stream)
    notifier = TargetNotifier()
    with pytest.raises(Transient, match="target_unreachable"):
        notifier.deliver(to(url), EVENT)
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
    notifier = TargetNotifier(private_hosts=("h", ""))
    with pytest.raises(PermanentFailure, match="target_not_allowed"):
        notifier.deliver(to(url), EVENT)
    notifier.close()


@pytest.mark.parametrize("where", ["https://xn--/", "http://169.254.169.254/", "SELF", "//", "file:///etc/passwd"])
def test_a_redirect_is_not_followed_and_worth_a_retry(where: str, receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    receiver.status, receiver.headers = 302, {"location": receiver.url if where == "SELF" else where}
    with pytest.raises(Transient, match="target_refused"):
        notifier.deliver(to(receiver.url), EVENT)
    notifier.close()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_delivery(status: int, receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    receiver.status = status
    notifier.deliver(to(receiver.url), EVENT)
    notifier.close()


@pytest.mark.parametrize("status", [300, 301, 400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504, 599])
def test_every_other_answer_than_410_is_worth_a_retry(status: int, receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    receiver.status = status
    with pytest.raises(Transient, match=f"target_refused: 127.0.0.1 answered {status}"):
        notifier.deliver(to(receiver.url), EVENT)
    notifier.close()


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_a_webhook_is_signed_with_both_keys_of_its_subscription(mode: str, receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    assert notifier.deliver(subscription(receiver.url, mode=mode), EVENT) == 204
    notifier.close()
    [(headers, body)] = receiver.got
    for key in KEYS[:2]:
        Webhook(key).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(KEYS[2]).verify(body, headers)
    assert headers["webhook-id"] == f"{EVENT['id']}@ops-0123abcd"


def test_a_user_in_a_url_is_sent_and_no_cookie_of_another_answer(receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//jane:p%20w@")
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    receiver.headers = {"set-cookie": "a=b"}
    for _ in range(2):
        notifier.deliver(to(url), EVENT)
    notifier.close()
    for headers, _ in receiver.got:
        assert base64.b64decode(headers["authorization"].removeprefix("Basic ")) == b"jane:p w"
        assert "cookie" not in headers
        assert "accept-encoding" not in headers


SECRET = "zzz"


@pytest.mark.parametrize(
    ("url", "type", "why"),
    [
        (f"https://10.0.0.4/{SECRET}", "webhook", "10.0.0.4 is not a public address"),
        (f"https://u:{SECRET}@host.example:8443/", "teams", "host.example: only https at port 443"),
        (f"https://topic.example/api/events?{SECRET}", "event_grid", "topic.example is no topic of Event Grid"),
        (f"http://siem/{SECRET}", "event_grid", "siem is no topic of Event Grid"),
        (f"https://gone.invalid/{SECRET}", "slack", "gone.invalid cannot be connected to: ConnectError"),
    ],
)
def test_a_target_that_gets_nothing_is_known_before_and_not_quoted(url: str, type: str, why: str) -> None:
    notifier = TargetNotifier(private_hosts=("siem",))
    found = notifier.problem(subscription(url, type).target)
    notifier.close()
    assert found is not None
    assert found.startswith(why)
    assert SECRET not in found


def test_a_target_that_listens_has_no_problem_and_gets_nothing_by_the_question(receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    assert notifier.problem(subscription(receiver.url).target) is None
    receiver.close()
    assert notifier.problem(subscription(receiver.url).target) == "127.0.0.1 cannot be connected to: ConnectError"
    notifier.close()
    assert receiver.got == []


def test_a_token_of_the_app_goes_to_topics_of_event_grid_alone(
    receiver: Receiver, names: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[bytes, bytes]] = []

    def stream(pool: object, method: str, target: httpcore.URL, *, headers: Any, content: bytes) -> Any:
        sent.append(dict(headers))
        raise httpcore.ConnectError("as far as a test goes")

    notifier = TargetNotifier(private_hosts=("127.0.0.1", "evil.example"), token=lambda: "of-the-app")
    notifier.deliver(subscription(receiver.url, "event_grid"), EVENT)
    assert receiver.got[0][0]["authorization"] == "Bearer emulator"
    monkeypatch.setattr(httpcore.ConnectionPool, "stream", stream)
    for host in ("evil.example", "eventgrid.azure.net", "t.eventgrid.azure.net.evil.example"):
        with pytest.raises(PermanentFailure, match="is no topic of Event Grid"):
            notifier.deliver(subscription(f"https://{host}/", "event_grid"), EVENT)
    with pytest.raises(Transient, match="target_unreachable"):
        notifier.deliver(subscription("https://t.westeurope-1.eventgrid.azure.net/api/events", "event_grid"), EVENT)
    notifier.close()
    assert [headers[b"authorization"] for headers in sent] == [b"Bearer of-the-app"]


def test_nobody_listening_is_worth_a_retry(receiver: Receiver) -> None:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    url = receiver.url
    receiver.server.server_close()
    with pytest.raises(Transient, match="target_unreachable"):
        notifier.deliver(to(url), EVENT)
    notifier.close()


@pytest.fixture
def notifier() -> Iterator[TargetNotifier]:
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
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
    ("scheme", "answer", "data"),
    [
        ("http", drips_headers, {}),
        ("http", drips_interim_answers, {}),
        ("http", drips_a_status_line, {}),
        ("http", never_answers, {}),
        ("https", never_answers, {}),
        ("https", drips_a_tls_handshake, {}),
        ("http", reads_slowly, {"a": " " * 2**26}),
    ],
)
def test_a_call_ends_at_its_deadline_whatever_the_receiver_does(
    scheme: str,
    answer: Callable[[socket.socket], None],
    data: dict[str, str],
    raw: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "TIMEOUT_S", 2 * STEP_S)
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    with pytest.raises(Transient, match=r"target_unreachable: .*(Timeout|ConnectError)"):
        notifier.deliver(to(f"{scheme}://{raw(answer).address}/"), EVENT | {"data": data})
    notifier.close()


HUGE = 300 * 2**20


@pytest.mark.parametrize(
    ("status", "outcome"), [("200 OK", None), ("503 Busy", "target_refused"), ("410 Gone", "target_gone")]
)
@pytest.mark.parametrize("length", [f"content-length: {HUGE}", "connection: close", "transfer-encoding: chunked"])
@pytest.mark.parametrize("encoding", ["", "content-encoding: gzip\r\n"])
def test_the_status_counts_and_the_body_is_not_read(
    status: str, outcome: str | None, length: str, encoding: str, raw: Start, notifier: TargetNotifier
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
        notifier.deliver(to(receiver.url), EVENT)
    else:
        with pytest.raises((Transient, PermanentFailure), match=outcome):
            notifier.deliver(to(receiver.url), EVENT)
    receiver.wait()
    assert sum(sent) < HUGE / 10  # what lies in the buffers of the system


def test_a_body_that_drips_does_not_hold_the_call(raw: Start, notifier: TargetNotifier) -> None:
    hung_up = threading.Event()

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK + b"content-length: 1000\r\n\r\n{")
        try:
            never_answers(connection)
        finally:
            hung_up.set()

    notifier.deliver(to(raw(answer).url), EVENT)
    assert hung_up.wait(60)


def test_an_endless_head_is_cut_off(raw: Start, notifier: TargetNotifier) -> None:
    sent: list[int] = []

    def answer(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)
        while sum(sent) < HUGE:
            connection.sendall(b"x: y\r\n" * 2**13)
            sent.append(6 * 2**13)

    receiver = raw(answer)
    with pytest.raises(Transient, match="target_unreachable"):
        notifier.deliver(to(receiver.url), EVENT)
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
UNREACHABLE = "target_unreachable"


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
        pytest.param("http", answers(b"HTTP/1.1 999 ?\r\n\r\n"), "target_refused", id="unknown status"),
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
    monkeypatch.setattr(targets, "TIMEOUT_S", 1)
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    with pytest.raises(Transient, match=outcome) if outcome else nullcontext():
        notifier.deliver(to(f"{scheme}://{raw(answer).address}/"), EVENT)
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
    receiver: Receiver, raw: Start, notifier: TargetNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
    slow = raw(answer)
    with ThreadPoolExecutor(targets.AT_ONCE) as pool:
        calls = [pool.submit(notifier.deliver, to(slow.url), EVENT) for _ in range(targets.AT_ONCE)]
        try:
            assert all(requested.acquire(timeout=60) for _ in calls)
            with pytest.raises(Transient, match="target_busy"):
                notifier.deliver(to(slow.url), EVENT)
            notifier.deliver(to(receiver.url), EVENT)  # another receiver
        finally:
            answered.set()
        assert [call.result() for call in calls] == [200] * targets.AT_ONCE
    notifier.deliver(to(slow.url), EVENT)


def test_one_project_holds_a_part_of_the_calls_whatever_receivers_it_has(
    receiver: Receiver, raw: Start, notifier: TargetNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
    slow = [raw(answer).url for _ in range(targets.AT_ONCE)]
    with ThreadPoolExecutor(targets.AT_ONCE) as pool:
        calls = [pool.submit(notifier.deliver, to(url, project="evil"), EVENT) for url in slow]
        try:
            assert all(requested.acquire(timeout=60) for _ in calls)
            with pytest.raises(Transient, match="target_busy: 4 calls for evil"):
                notifier.deliver(to(receiver.url, project="evil"), EVENT)
            notifier.deliver(to(receiver.url, project="shop"), EVENT)
            notifier.deliver(to(receiver.url), EVENT)  # of the platform
        finally:
            answered.set()
        assert [call.result() for call in calls] == [200] * targets.AT_ONCE
    notifier.deliver(to(receiver.url, project="evil"), EVENT)


def test_the_platform_is_told_though_projects_hold_all_calls_they_may(
    raw: Start, notifier: TargetNotifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even at the receiver that they hold."""
    monkeypatch.setattr(targets, "TIMEOUT_S", 600)
    requested, answered, answer = waits_to_answer()
    slow, other = raw(answer).url, raw(answer).url
    calls = [(url, name) for url, name in ((slow, "evil"), (other, "worse")) for _ in range(4)]
    with ThreadPoolExecutor(2 * targets.AT_ONCE) as pool:
        held = [
            pool.submit(notifier.deliver, to(url, project=name), EVENT) for url, name in calls[: targets.OF_PROJECTS]
        ]
        try:
            assert all(requested.acquire(timeout=60) for _ in held)
            with pytest.raises(Transient, match="target_busy: 6 calls for projects"):
                notifier.deliver(to(other, project="shop"), EVENT)
            platform = pool.submit(notifier.deliver, to(slow), EVENT)
            assert requested.acquire(timeout=60)
        finally:
            answered.set()
        assert [call.result() for call in [*held, platform]] == [200] * (targets.OF_PROJECTS + 1)


def test_half_of_the_calls_of_the_host_are_left_to_other_receivers() -> None:
    host = json.loads((Path(__file__).parents[4] / "host.json").read_text())
    assert host["extensions"]["serviceBus"]["maxConcurrentCalls"] == 2 * targets.AT_ONCE > targets.OF_PROJECTS
