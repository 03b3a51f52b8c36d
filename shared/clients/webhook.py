"""Webhook delivery: signed as Standard Webhooks, only to public https hosts, checked when connecting."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpcore
import httpx
from standardwebhooks import Webhook

from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.urls import check_web_url
from shared.tls import tls_context

TIMEOUT_S = 10.0
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
        transport._pool = httpcore.ConnectionPool(tls_context(), network_backend=_GuardedBackend(self._private_hosts))
        self._client = httpx.Client(transport=transport, timeout=TIMEOUT_S, follow_redirects=False)

    def deliver(self, url: str, message_id: str, body: bytes) -> None:
        """Post once.

        Raises PermanentFailure `webhook_not_allowed`, `webhook_gone`; Transient `webhook_unreachable`,
        `webhook_refused`.
        """
        host = _host(url)
        if not url.startswith("https://") and host not in self._private_hosts:
            raise _not_allowed(f"{host}: only https")
        try:
            response = self._client.post(url, content=body, headers=self._headers(message_id, body))
        except _UNREACHABLE as error:
            raise Transient("webhook_unreachable", f"{host}: {type(error).__name__}", url) from error
        if response.status_code in GONE:
            code = response.status_code
            raise PermanentFailure(FailureClass.PLATFORM, "webhook_gone", f"{host} answered {code}", url)
        if not response.is_success:
            raise Transient("webhook_refused", f"{host} answered {response.status_code}", url)

    def close(self) -> None:
        self._client.close()

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
        if host in self._private_hosts:
            return super().connect_tcp(host, port, *args, **options)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        address = str(found[0][4][0])
        if not ipaddress.ip_address(address).is_global:
            raise _not_allowed(f"{host} is not a public address")
        return super().connect_tcp(address, port, *args, **options)


def _host(url: str) -> str:
    """Raises PermanentFailure `webhook_not_allowed` if the URL cannot be read."""
    try:
        return httpx.URL(check_web_url(url)).host
    except (httpx.InvalidURL, ValueError) as error:
        raise _not_allowed(f"{url!r} is not a web address") from error


def _not_allowed(message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, "webhook_not_allowed", message)
