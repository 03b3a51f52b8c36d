"""The webhook client: which addresses it refuses, and what it makes of silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.clients.webhook import WebhookNotifier
from shared.domain.errors import PermanentFailure, Transient
from tests.receiver import Receiver
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
