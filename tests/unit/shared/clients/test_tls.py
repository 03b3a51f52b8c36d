from __future__ import annotations

import ssl
from typing import Any

import pytest

from shared.clients.azure_ml.client import AzureMLClient
from shared.clients.tls import tls_context
from shared.clients.webhook import WebhookNotifier

WORKSPACE = "azureml://subscriptions/s/resourceGroups/g/workspaces/w"


def test_the_authorities_are_loaded_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ssl.SSLContext] = []
    load = ssl.create_default_context

    def counted(*arguments: Any, **named: Any) -> ssl.SSLContext:
        loaded.append(load(*arguments, **named))
        return loaded[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    tls_context.cache_clear()
    for _ in range(2):
        WebhookNotifier().close()
        AzureMLClient(WORKSPACE).close()
    (context,) = loaded
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
