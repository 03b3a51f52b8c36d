"""One TLS context for every client of a process."""

from __future__ import annotations

import ast
import ssl
from pathlib import Path
from typing import Any

import pytest

from cli.client import Api
from shared.clients.azure_ml.client import AzureMLClient
from shared.clients.targets import TargetNotifier
from shared.tls import tls_context
from tests.paths import ROOT

WORKSPACE = "azureml://subscriptions/s/resourceGroups/g/workspaces/w"
SHIPPED = ("benchmarks", "cli", "functions", "local_stack", "shared", "training_job")
MAKE_A_CONTEXT = {
    "AsyncClient",
    "AsyncHTTPTransport",
    "Client",
    "HTTPTransport",
    *("delete", "get", "head", "options", "patch", "post", "put", "request", "stream"),
}


def test_the_authorities_are_loaded_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[ssl.SSLContext] = []
    load = ssl.create_default_context

    def counted(*arguments: Any, **named: Any) -> ssl.SSLContext:
        loaded.append(load(*arguments, **named))
        return loaded[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    tls_context.cache_clear()
    for _ in range(2):
        TargetNotifier().close()
        AzureMLClient(WORKSPACE).close()
        with Api("https://droptune.example"):
            pass
    (context,) = loaded
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def clients_of(source: Path) -> list[ast.Call]:
    """The calls of httpx that make a client of their own."""
    calls = (node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call))
    return [call for call in calls if ast.unparse(call.func) in {f"httpx.{name}" for name in MAKE_A_CONTEXT}]


def given_a_context(call: ast.Call) -> bool:
    """Itself, or by a transport, which is another of these calls."""
    named = {each.arg: ast.unparse(each.value) for each in call.keywords}
    return "transport" in named or named.get("verify") == "tls_context()"


def test_every_client_of_httpx_is_given_the_one_context() -> None:
    sources = [source for package in SHIPPED for source in sorted((ROOT / package).rglob("*.py"))]
    found = [(source.relative_to(ROOT), call) for source in sources for call in clients_of(source)]
    assert len(found) >= 8
    without = [f"{source}:{call.lineno}" for source, call in found if not given_a_context(call)]
    assert without == []
