"""Webhook delivery: signed as Standard Webhooks, only to public https hosts, checked when connecting."""

import base64
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx
from standardwebhooks import Webhook

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, Transient
from shared.domain.urls import CHANNEL, CHANNEL_NAME, check_web_url
from shared.ports.services import BUSY, GONE
from shared.tls import tls_context

# Of a whole call, up to the last header of the answer: timeouts of a client count anew for each read.
TIMEOUT_S = 10.0
# Calls at a time to one receiver, and for one project: half of those that `host.json` lets run.
AT_ONCE = 4
# ValueError: a name that TLS or the resolver cannot encode.
_UNREACHABLE = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError)
# Microsoft Learn, "What is IP address 168.63.129.16?": the platform's own address, which every machine reaches.
_OF_AZURE = IPv4Address("168.63.129.16")
_GLOBAL, _NAT64, _6TO4 = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")


class WebhookNotifier:
    """Posts one CloudEvent to one receiver.

    `channels`: name -> URL and its own keys. Other URLs are signed with `keys`. Where there are two, a message has a
    signature of each, so that receivers may learn a new key before or after it is used (Standard Webhooks).
    """

    def __init__(
        self,
        *,
        keys: Sequence[str] = (),
        channels: Mapping[str, Sequence[str]] | None = None,
        private_hosts: Iterable[str] = (),
    ) -> None:
        self._keys, self._channels, self._private_hosts = keys, channels or {}, frozenset(private_hosts)
        # Not httpx: this knows no cookie, redirect, proxy of the environment or encoding of a body, and its network
        # backend, which sees the very address used, is public. A deadline belongs to a connection, so none is kept.
        backend = _GuardedBackend(self._private_hosts)
        self._pool = httpcore.ConnectionPool(
            tls_context(), max_connections=None, max_keepalive_connections=0, network_backend=backend
        )
        self._calls: list[str] = []

    def deliver(self, url: str, message_id: str, body: bytes, project: str | None = None) -> None:
        """Post once, for the project.

        Raises PermanentFailure `webhook_not_allowed`, and GONE: the receiver wants no more; Transient
        `webhook_unreachable`, `webhook_refused`, and BUSY: nothing was sent, AT_ONCE calls are in progress.
        """
        keys = self._keys
        if url.startswith(CHANNEL):
            name = url.removeprefix(CHANNEL)
            if name not in self._channels:
                raise _not_allowed(f"the setting NOTIFY_CHANNELS has no {name}")
            url, *keys = self._channels[name]
        address = _address(url)
        host = address.host
        if host not in self._private_hosts and (address.scheme != "https" or address.port not in (None, 443)):
            raise _not_allowed(f"{host}: only https at port 443")
        code = self._post(address, _headers(address, keys, message_id, body), body, project)
        if code == httpx.codes.GONE:
            raise PermanentFailure(FailureClass.PLATFORM, GONE, f"{host} answered {code}")
        if not httpx.codes.is_success(code):
            raise Transient("webhook_refused", f"{host} answered {code}")

    def close(self) -> None:
        self._pool.close()

    def _post(self, url: httpx.URL, headers: dict[bytes | str, bytes | str], body: bytes, project: str | None) -> int:
        """The status of the answer, whose body is not read."""
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        counted = [f"at {url.netloc.decode()}", *([f"for {project}"] if project else [])]
        self._calls += counted
        try:
            for call in counted:
                if self._calls.count(call) > AT_ONCE:
                    raise Transient(BUSY, f"{AT_ONCE} calls {call} are in progress")
            with self._pool.stream("POST", target, headers=headers, content=body) as response:
                return response.status
        except _UNREACHABLE as error:
            raise Transient("webhook_unreachable", f"{url.host}: {type(error).__name__}") from error
        finally:
            for call in counted:
                self._calls.remove(call)


def keys_of(text: str, setting: str = "WEBHOOK_SECRET") -> list[str]:
    """Keys with blanks between them. Raises InvalidInput `bad_settings`, which quotes none."""
    keys = text.split()
    try:
        if len(keys) > 2 or not all(Webhook(key) and re.match("whsec_.{32}", key) for key in keys):
            raise ValueError("a key is too short")
    except ValueError as error:
        message = f"{setting}: a key is whsec_ and at least 24 random bytes in base64, and there are two at most"
        raise InvalidInput("bad_settings", message, setting) from error
    return keys


def channels_of(text: str) -> dict[str, list[str]]:
    """Name -> URL and keys. Raises InvalidInput `bad_settings`, which quotes nothing."""
    channels: dict[str, list[str]] = {}
    for line in filter(str.strip, re.split(r"\n|\s;\s", text)):
        name, url, keys = (*line.split(maxsplit=2), "", "")[:3]
        if not re.fullmatch(CHANNEL_NAME, name) or name in channels or not url.startswith("http"):
            message = f"NOTIFY_CHANNELS: channel {len(channels) + 1} is not NAME URL KEY, or has the name of another"
            raise InvalidInput("bad_settings", message, "NOTIFY_CHANNELS")
        channels[name] = [url, *keys_of(keys, "NOTIFY_CHANNELS")]
    return channels


def _headers(url: httpx.URL, keys: Sequence[str], message_id: str, body: bytes) -> dict[bytes | str, bytes | str]:
    now = datetime.now(UTC)
    headers: dict[bytes | str, bytes | str] = {
        "host": url.netloc,
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if keys:
        headers["webhook-signature"] = " ".join(Webhook(key).sign(message_id, now, body.decode()) for key in keys)
    if url.userinfo:
        headers["authorization"] = b"Basic " + base64.b64encode(f"{url.username}:{url.password}".encode())
    return headers


class _GuardedBackend(httpcore.SyncBackend):
    """Resolves, checks and then connects to that same address: a name cannot change in between."""

    def __init__(self, private_hosts: frozenset[str]) -> None:
        self._private_hosts = private_hosts

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        deadline = time.monotonic() + TIMEOUT_S
        address = host if host in self._private_hosts else _public_address(host, port)
        options["timeout"] = TIMEOUT_S
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
    if not is_public(address):
        raise _not_allowed(f"{host} is not a public address")
    return address


def is_public(text: str) -> bool:
    """Whether only the internet is behind the address, also where an IPv6 address stands for one of IPv4.

    Forms that nothing public has any more are refused whole: 6to4, IPv4-compatible, site-local, the NAT64 of a network.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address in _NAT64 or address.ipv4_mapped:
            address = IPv4Address(int(address) & 0xFFFFFFFF)
        elif address not in _GLOBAL or address in _6TO4:
            return False
    return address.is_global and not address.is_multicast and address != _OF_AZURE


def _address(url: str) -> httpx.URL:
    """Raises PermanentFailure `webhook_not_allowed` if the URL cannot be read. It may be a secret: it is not quoted."""
    try:
        return httpx.URL(check_web_url(url))
    except (httpx.InvalidURL, ValueError) as error:
        raise _not_allowed("the URL is not a web address") from error


def _not_allowed(message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, "webhook_not_allowed", message)
