"""The receiver of docs/how-to/subscribe-to-events.md takes what we send, and only that."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from shared.clients.targets import TargetNotifier
from shared.domain.errors import Transient
from tests.paths import ROOT
from tests.subscriptions import KEYS, subscription

SECRET, SECOND, OTHER = KEYS
PAGE = (ROOT / "docs" / "how-to" / "subscribe-to-events.md").read_text(encoding="utf-8")


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the documented receiver listens."""
    monkeypatch.setenv("WEBHOOK_KEY", SECRET)
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, type] = {"__name__": str}
    exec(compile(found[1], "subscribe-to-events.md", "exec"), names)
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Receiver"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def send(url: str, *keys: str) -> None:
    notifier = TargetNotifier(private_hosts=["127.0.0.1"])
    event = {"type": "droptune.run.failed.v1", "subject": "run-1", "id": "run-1.run.failed.3"}
    notifier.deliver(subscription(url, keys=keys), event)
    notifier.close()


def test_the_documented_receiver_reads_a_signed_event_once(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    send(url, SECOND, SECRET)
    send(url, SECRET, OTHER)
    assert capfd.readouterr().out == "droptune.run.failed.v1 run-1\n"


@pytest.mark.parametrize("keys", [(OTHER, SECOND), ()])
def test_the_documented_receiver_refuses_another_signature_without_losing_the_event(
    url: str, keys: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Transient, match="target_refused"):
        send(url, *keys)
    assert capfd.readouterr().out == ""
