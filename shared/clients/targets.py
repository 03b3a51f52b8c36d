"""Delivery to the targets of subscriptions: only to public https hosts, checked when connecting."""

import socket
import time
from collections.abc import Callable, Iterable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, urlsplit

import httpcore

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential

from shared.clients.target_formats import request_of
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.subscriptions import EventGrid, Subscription, Target
from shared.domain.urls import ascii_host, is_loopback, is_public, objection
from shared.ports.services import BUSY, GONE
from shared.tls import tls_context

# Of a whole call, up to the last header of the answer: timeouts of a client count anew for each read.
TIMEOUT_S = 10.0
# Calls at a time to one receiver, and for one project: half of those that `host.json` lets run. And for all projects:
# the others are the platform's.
AT_ONCE, OF_PROJECTS = 4, 6
# ValueError: a name that TLS or the resolver cannot encode.
_UNREACHABLE = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError)
# The clouds of Microsoft, of the US government and of China ("Domain names" of Event Grid's topics): no other host gets
# a token of the app's identity.
_EVENT_GRID = (".eventgrid.azure.net", ".eventgrid.azure.us", ".eventgrid.azure.cn")


class TargetNotifier:
    """Sends one CloudEvent to one target.

    `token`: for Event Grid, of the app's identity; an emulator on this machine gets none of it. `app_url`: where people
    reach the app, for links.
    """

    def __init__(
        self, *, private_hosts: Iterable[str] = (), app_url: str = "", token: Callable[[], str] = lambda: ""
    ) -> None:
        self._private_hosts, self._app_url, self._token = frozenset(private_hosts), app_url.rstrip("/"), token
        # Not httpx: this knows no cookie, redirect, proxy of the environment or encoding of a body, and its network
        # backend, which sees the very address used, is public. A deadline belongs to a connection, so none is kept.
        self._backend = _GuardedBackend(self._private_hosts)
        self._pool = httpcore.ConnectionPool(
            tls_context(), max_connections=None, max_keepalive_connections=0, network_backend=self._backend
        )
        self._calls: list[str] = []

    def deliver(self, subscription: Subscription, event: dict[str, Any]) -> int:
        """Post once; the status of the answer.

        Raises PermanentFailure `target_not_allowed`, and GONE: the target wants no more; Transient
        `target_unreachable`, `target_refused`, and BUSY: nothing was sent, AT_ONCE calls are in progress.
        """
        target, project = subscription.target, subscription.project
        if (why := self._objection(target)) is not None:
            raise _not_allowed(why)
        address, headers, body = request_of(subscription, event, self._app_url)
        url = urlsplit(address)
        headers["host"] = _host_and_port(url)
        if isinstance(target, EventGrid):
            headers["authorization"] = f"Bearer {'emulator' if is_loopback(target.url) else self._token()}"
        code = self._post(url, headers, body, project)
        if code == HTTPStatus.GONE:
            raise PermanentFailure(FailureClass.PLATFORM, GONE, f"{url.hostname} answered {code}", str(code))
        if not 200 <= code < 300:
            raise Transient("target_refused", f"{url.hostname} answered {code}", str(code))
        return code

    def problem(self, target: Target) -> str | None:
        """Why nothing would be delivered there: its text, or that nobody answers; the URL is not quoted."""
        if (why := self._objection(target)) is not None:
            return why
        url = urlsplit(target.url)
        try:
            self._backend.connect_tcp(target.host, url.port or {"http": 80, "https": 443}[url.scheme]).close()
        except PermanentFailure as error:
            return error.problem.message
        except _UNREACHABLE as error:
            return f"{target.host} cannot be connected to: {type(error).__name__}"
        return None

    def _objection(self, target: Target) -> str | None:
        why = objection(target.url, self._private_hosts)
        if why is None and isinstance(target, EventGrid):
            is_topic = target.host.endswith(_EVENT_GRID) and target.url.startswith("https:")
            if not is_topic and not is_loopback(target.url):
                return f"{target.host} is no topic of Event Grid: its name ends in {' or '.join(_EVENT_GRID)}"
        return why

    def close(self) -> None:
        self._pool.close()

    def _post(self, url: SplitResult, headers: dict[str, str], body: bytes, project: str | None) -> int:
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
            sent = [(name.encode(), value.encode()) for name, value in headers.items()]
            with self._pool.stream("POST", target, headers=sent, content=body) as response:
                return response.status
        except _UNREACHABLE as error:
            raise Transient("target_unreachable", f"{url.hostname}: {type(error).__name__}") from error
        finally:
            for call in counted:
                self._calls.remove(call)


def _host_and_port(url: SplitResult) -> str:
    """As in the header `host`: a default port is left out."""
    host, is_default = ascii_host(url), url.port in (None, {"http": 80, "https": 443}[url.scheme])
    return (f"[{host}]" if ":" in host else host) + ("" if is_default else f":{url.port}")


def event_grid_token(identity_client_id: str | None) -> Callable[[], str]:
    """Gives a token of the app's identity (Event Grid docs, "Authenticate clients with Microsoft Entra ID")."""

    @cache
    def credential() -> "DefaultAzureCredential":
        from azure.identity import DefaultAzureCredential  # only an Event Grid target needs it

        return DefaultAzureCredential(managed_identity_client_id=identity_client_id)

    return lambda: credential().get_token("https://eventgrid.azure.net/.default").token


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
    return PermanentFailure(FailureClass.RECIPE, "target_not_allowed", message)
