"""A client of a workspace in Azure, all of whose requests are answered here, below azure-core's transport."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from shared.clients.azure_ml.client import AzureMLClient
from shared.clients.azure_ml.connection import LocalCredential

WORKSPACE = "https://management.azure.com/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W"


def answer(status: int, body: Any = None, **headers: str) -> requests.Response:
    found = requests.Response()
    found.status_code, found.encoding = status, "utf-8"
    found.raw = io.BytesIO(b"" if body is None else json.dumps(body).encode())
    found.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return found


def refusal(status: int, code: str, message: str, **headers: str) -> requests.Response:
    return answer(status, {"error": {"code": code, "message": message}}, **headers)


def client_answered(
    monkeypatch: pytest.MonkeyPatch, respond: Callable[[str, str], requests.Response]
) -> tuple[AzureMLClient, list[str]]:
    """The client, and the requests it sends, as METHOD URL. `respond` takes both, the URL without the workspace's."""
    sent: list[str] = []

    def request(session: requests.Session, method: str, url: str, **_: Any) -> requests.Response:
        sent.append(f"{method} {url.removeprefix(WORKSPACE)}")
        return respond(method, url.removeprefix(WORKSPACE))

    monkeypatch.setattr(requests.Session, "request", request)
    return AzureMLClient("azureml://subscriptions/S/resourceGroups/R/workspaces/W", LocalCredential("x" * 32)), sent
