"""Which workspace a URL names, and to whom a token goes."""

from __future__ import annotations

import pytest

from shared.clients.azure_ml.connection import parse_url
from shared.domain.errors import InvalidInput
from tests.unit.local_stack.azure_ml.support import Local


def test_a_workspace_url_names_azure_or_this_machine() -> None:
    azure = parse_url("azureml://subscriptions/S/resourceGroups/R/workspaces/W")
    assert (azure.subscription, azure.resource_group, azure.name, azure.emulator) == ("S", "R", "W", None)
    local = parse_url("azureml+http://127.0.0.1:8765/subscriptions/S/resourceGroups/R/workspaces/W")
    assert local.emulator == "http://127.0.0.1:8765"


@pytest.mark.parametrize(
    "url",
    [
        "azureml+http://10.0.0.7:8765/subscriptions/S/resourceGroups/R/workspaces/W",
        "azureml+http://127.0.0.1.example.com/subscriptions/S/resourceGroups/R/workspaces/W",
        "azureml+http://127.0.0.1@example.com/subscriptions/S/resourceGroups/R/workspaces/W",
        "azureml://example.com/subscriptions/S/resourceGroups/R/workspaces/W",
        "azureml://subscriptions/S/resourceGroups/R",
        "http://127.0.0.1:8765",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_url(url)
    assert refused.value.problem.code == "bad_azure_ml_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://westeurope.api.azureml.ms/discovery",
        "https://management.azure.com/subscriptions/S",
        "https://e.westeurope.inference.ml.azure.com/v1/chat/completions",
    ],
)
def test_in_azure_a_token_goes_to_azure_only(url: str) -> None:
    azure = parse_url("azureml://subscriptions/S/resourceGroups/R/workspaces/W")
    assert azure.reachable(url) == url
    for foreign in ("http://127.0.0.1:1/", url.replace("https", "http"), "https://azureml.ms.example.com/"):
        with pytest.raises(InvalidInput):
            azure.reachable(foreign)


def test_a_token_goes_to_no_foreign_host(local: Local) -> None:
    with pytest.raises(InvalidInput) as refused:
        local.client.session.workspace.reachable("https://example.com/steal")
    assert refused.value.problem.code == "untrusted_host"
