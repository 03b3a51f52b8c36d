"""Webhook delivery: signed as Standard Webhooks, only to public https hosts, checked when connecting."""

import ipaddress
import socket
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx
from standardwebhooks import Webhook

from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.urls import check_web_url
from shared.ports.notifier import BUSY
from shared.tls import tls_context

# Of a whole call, up to the last header of the answer: timeouts of httpx count anew for each read.
TIMEOUT_S = 10.0
# Calls to one receiver at a time: half of those that `host.json` lets run, so no receiver holds up all others.
AT_ONCE = 4
# Receivers that say so for good; every other refusal is worth another attempt.
GONE = frozenset({400, 401, 403, 404, 410, 422})
# httpx reads the host of a redirect that it does not follow, and lets the error of its IDNA codec through.
_UNREACHABLE = (httpx.TransportError, httpcore.NetworkError, httpcore.TimeoutException, UnicodeError)


class WebhookNotifier:
    """Posts one CloudEvent to one URL."""

    def __init__(self, *, secret: str | None = None, private_hosts: Iterable[str] = ()) -> None:
        self._private_hosts = frozenset(private_hosts)
        self._webhook = Webhook(secret) if secret else None
        transport = httpx.HTTPTransport(verify=tls_context(), retries=0)
        # httpx has no public way to set the network backend; the check must see the very address used.
        # A deadline belongs to a connection, so each call has its own.
        backend = _GuardedBackend(self._private_hosts)
        transport._pool = httpcore.ConnectionPool(
            tls_context(), max_connections=None, max_keepalive_connections=0, network_backend=backend
        )
        self._client = httpx.Client(transport=transport, timeout=TIMEOUT_S, follow_redirects=False)
        self._calls: list[bytes] = []

    def deliver(self, url: str, message_id: str, body: bytes) -> None:
        """Post once.

        Raises PermanentFailure `webhook_not_allowed`, `webhook_gone`; Transient `webhook_unreachable`,
        `webhook_refused`, and BUSY: nothing was sent, the receiver has AT_ONCE calls in progress.
        """
        address = _address(url)
        host = address.host
        if not url.startswith("https://") and host not in self._private_hosts:
            raise _not_allowed(f"{host}: only https")
        code = self._post(address, self._headers(message_id, body), body)
        if code in GONE:
            raise PermanentFailure(FailureClass.PLATFORM, "webhook_gone", f"{host} answered {code}", url)
        if not httpx.codes.is_success(code):
            raise Transient("webhook_refused", f"{host} answered {code}", url)

    def close(self) -> None:
        self._client.close()

    def _post(self, url: httpx.URL, headers: dict[str, str], body: bytes) -> int:
        """The status of the answer, whose body is not read."""
        self._calls.append(url.netloc)
        try:
            if self._calls.count(url.netloc) > AT_ONCE:
                raise Transient(BUSY, f"{url.host} has {AT_ONCE} calls in progress", str(url))
            with self._client.stream("POST", url, content=body, headers=headers) as response:
                return response.status_code
        except _UNREACHABLE as error:
            raise Transient("webhook_unreachable", f"{url.host}: {type(error).__name__}", str(url)) from error
        finally:
            self._calls.remove(url.netloc)

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._webhook is not None:
            headers["webhook-signature"] = self._webhook.sign(message_id, now, body.decode())
        return headers


class _GuardedBackend(httpcore.SyncBackend):
    """Resolves, checks and then connects to that same address: a name cannot change in between."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        deadline = time.monotonic() + TIMEOUT_S
        address = host if host in self._private_hosts else _public_address(host, port)
        return _BoundedStream(super().connect_tcp(address, port, *args, **options), deadline)


class _BoundedStream(httpcore.NetworkStream):
    """A connection that fails from `deadline` on, a time of `time.monotonic`."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline
        self.close, self.get_extra_info = stream.close, stream.get_extra_info  # type: ignore[method-assign]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), 2**14):  # a TLS record: one call of the system each
            self._stream.write(buffer[start : start + 2**14], self._left_s())

    def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        return _BoundedStream(self._stream.start_tls(*args, **options | {"timeout": self._left_s()}), self._deadline)

    def _left_s(self) -> float:
        if (left := self._deadline - time.monotonic()) > 0:
            return left
        raise httpcore.ReadTimeout("the call took too long")


def _public_address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    address = str(found[0][4][0])
    if not ipaddress.ip_address(address).is_global:
        raise _not_allowed(f"{host} is not a public address")
    return address


def _address(url: str) -> httpx.URL:
    """Raises PermanentFailure `webhook_not_allowed` if the URL cannot be read."""
    try:
        return httpx.URL(check_web_url(url))
    except (httpx.InvalidURL, ValueError) as error:
        raise _not_allowed(f"{url!r} is not a web address") from error


def _not_allowed(message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, "webhook_not_allowed", message)
