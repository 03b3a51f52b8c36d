"""Webhook delivery: signed as Standard Webhooks, only to public https hosts, checked when connecting."""

import base64
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httpcore
from standardwebhooks import Webhook

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, Transient
from shared.domain.urls import CHANNEL, CHANNEL_NAME, ascii_host, channel_lines, is_public, objection
from shared.ports.services import BUSY, GONE
from shared.tls import tls_context

# Of a whole call, up to the last header of the answer: timeouts of a client count anew for each read.
TIMEOUT_S = 10.0
# Calls at a time to one receiver, and for one project: half of those that `host.json` lets run. And for all projects:
# the others are the platform's.
AT_ONCE, OF_PROJECTS = 4, 6
# ValueError: a name that TLS or the resolver cannot encode.
_UNREACHABLE = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError)


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
        urls = {name: own for name, (own, *_) in self._channels.items()}
        if (why := objection(url, urls, self._private_hosts)) is not None:
            raise _not_allowed(why)
        url, *keys = self._channels[url.removeprefix(CHANNEL)] if url.startswith(CHANNEL) else (url, *self._keys)
        address = urlsplit(url)
        code = self._post(address, _headers(address, keys, message_id, body), body, project)
        if code == HTTPStatus.GONE:
            raise PermanentFailure(FailureClass.PLATFORM, GONE, f"{address.hostname} answered {code}")
        if not 200 <= code < 300:
            raise Transient("webhook_refused", f"{address.hostname} answered {code}")

    def close(self) -> None:
        self._pool.close()

    def _post(self, url: SplitResult, headers: dict[bytes | str, bytes | str], body: bytes, project: str | None) -> int:
        """The status of the answer, whose body is not read."""
        # RFC 3986: these are let stand in a path and a query, and what is percent-encoded already.
        path = quote(f"{url.path or '/'}{url.query and '?'}{url.query}", safe="%!$&'()*+,;=:@/?~[]")
        target = httpcore.URL(scheme=url.scheme, host=ascii_host(url), port=url.port, target=path)
        at = f"at {_host_and_port(url)}"
        counted = {f"{at} for projects": AT_ONCE, f"for {project}": AT_ONCE, "for projects": OF_PROJECTS}
        counted = counted if project else {at: AT_ONCE}
        self._calls += counted
        try:
            for call, limit in counted.items():
                if self._calls.count(call) > limit:
                    raise Transient(BUSY, f"{limit} calls {call} are in progress")
            with self._pool.stream("POST", target, headers=headers, content=body) as response:
                return response.status
        except _UNREACHABLE as error:
            raise Transient("webhook_unreachable", f"{url.hostname}: {type(error).__name__}") from error
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
    for line in channel_lines(text):
        name, url, keys = (*line.split(maxsplit=2), "", "")[:3]
        if not re.fullmatch(CHANNEL_NAME, name) or name in channels or not url.startswith("http"):
            message = f"NOTIFY_CHANNELS: channel {len(channels) + 1} is not NAME URL KEY, or has the name of another"
            raise InvalidInput("bad_settings", message, "NOTIFY_CHANNELS")
        channels[name] = [url, *keys_of(keys, "NOTIFY_CHANNELS")]
    return channels


def _host_and_port(url: SplitResult) -> str:
    """As in the header `host`: a default port is left out."""
    host, is_default = ascii_host(url), url.port in (None, {"http": 80, "https": 443}[url.scheme])
    return (f"[{host}]" if ":" in host else host) + ("" if is_default else f":{url.port}")


def _headers(url: SplitResult, keys: Sequence[str], message_id: str, body: bytes) -> dict[bytes | str, bytes | str]:
    now = datetime.now(UTC)
    headers: dict[bytes | str, bytes | str] = {
        "host": _host_and_port(url),
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if keys:
        headers["webhook-signature"] = " ".join(Webhook(key).sign(message_id, now, body.decode()) for key in keys)
    if url.username is not None:
        user = f"{unquote(url.username)}:{unquote(url.password or '')}"
        headers["authorization"] = b"Basic " + base64.b64encode(user.encode())
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


def _not_allowed(message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, "webhook_not_allowed", message)
