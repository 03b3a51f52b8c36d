"""The receiver of docs/how-to/connect-a-webhook.md takes what we send, and only that."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from shared.clients.webhook import WebhookNotifier
from shared.domain.errors import Transient
from tests.paths import ROOT

SECRET, OTHER = (f"whsec_{base64.b64encode(bytes([n] * 32)).decode()}" for n in (1, 2))
PAGE = (ROOT / "docs" / "how-to" / "connect-a-webhook.md").read_text(encoding="utf-8")


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the documented receiver listens."""
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    found = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, type] = {"__name__": str}
    exec(compile(found[1], "connect-a-webhook.md", "exec"), names)
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Receiver"])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def send(url: str, secret: str | None) -> None:
    notifier = WebhookNotifier(keys=[secret] if secret else [], private_hosts=["127.0.0.1"])
    notifier.deliver(url, "run-1.run.failed.3@0", b'{"type": "droptune.run.failed.v1", "subject": "run-1"}')
    notifier.close()


def test_the_documented_receiver_reads_a_signed_event_once(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    send(url, SECRET)
    send(url, SECRET)
    assert capfd.readouterr().out == "droptune.run.failed.v1 run-1\n"


@pytest.mark.parametrize("secret", [OTHER, None])
def test_the_documented_receiver_refuses_another_signature_without_losing_the_event(
    url: str, secret: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Transient, match="webhook_refused"):
        send(url, secret)
    assert capfd.readouterr().out == ""
