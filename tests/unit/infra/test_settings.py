"""The app understands the settings the template gives it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from functions.http.auth import EntraAuth, make_authenticator
from shared.clients.azure_ml.connection import parse_url
from shared.settings import load_settings
from tests.gate import bicep
from tests.paths import ROOT

INFRA = ROOT / "infra"
TENANT = "11111111-2222-3333-4444-555555555555"
# What only a deployment knows, as it would come out.
KNOWN = {
    "environment().authentication.loginEndpoint": "https://login.microsoftonline.com/",
    "environment().suffixes.storage": "core.windows.net",
    "subscription().tenantId": TENANT,
    "subscription().subscriptionId": "sub",
    "resourceGroup().name": "rg-test",
    "account.name": "stdataabc",
    "insights.properties.ConnectionString": "InstrumentationKey=0;IngestionEndpoint=https://x",
    "apiAudience": "audience",
    "controlClientId": "control",
    "jobClientId": "job",
    "importerClientId": "importer",
    "serveId": "/subscriptions/sub/serve",
    "hostStorageName": "sthostabc",
    "defaultBaseModel": "microsoft/Phi-4",
    "projectMonthlyUsd": "500",
    "endpointIdleHours": "0",
    "runRetentionDays": "90",
    "app.properties.defaultHostName": "func-abc.azurewebsites.net",
    "notifyPrivateHosts": "",
    "privateOnly ? 'false' : 'true'": "true",
}


def resolved(value: Any, known: dict[str, str]) -> str:
    """A value of the template with every `${...}` filled in."""
    if isinstance(value, str):
        return value
    text = value.text
    if text in known:
        return known[text]
    assert text.startswith("'"), f"{text} is not known here"
    return re.sub(r"\$\{([^}]+)\}", lambda found: known[found[1]], text[1:-1])


@pytest.fixture
def app_settings() -> dict[str, str]:
    infra = bicep.read(INFRA)
    known = dict(KNOWN)

    def output(file: str, name: str, output_name: str) -> str:
        source = infra.files[f"modules/{file}.bicep"]
        names = {key: value for key, value in source.variables.items() if isinstance(value, str)}
        return resolved(source.outputs[output_name], {**known, "name": name, **names})

    known |= {
        "serviceBusHost": output("messaging", "sb-abc", "host"),
        "cosmosUrl": output("state", "cosmos-abc", "url"),
        "dataBlobUrl": output("storage", "stdataabc", "blobUrl"),
        "workspaceUrl": output("workspace", "mlw-abc", "url"),
    }
    app = infra.files["modules/app.bicep"]
    known["issuer"] = resolved(app.variables["issuer"], known)
    (settings,) = (r for r in app.resources if r.body.get("name") == "appsettings")
    values = dict(settings.body["properties"])
    return {name: resolved(value, known) for name, value in values.items()}


def test_the_app_starts_with_the_settings_of_the_template(
    app_settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in app_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEBSITE_SITE_NAME", "func-abc")
    load_settings.cache_clear()
    settings = load_settings()
    load_settings.cache_clear()
    assert settings.run_store_url == "https://cosmos-abc.documents.azure.com/droptune"
    assert settings.event_bus_url == "sb://sb-abc.servicebus.windows.net"
    assert settings.blob_store_url == "https://stdataabc.blob.core.windows.net"
    workspace = parse_url(settings.azure_ml_url)
    assert (workspace.subscription, workspace.resource_group, workspace.name) == ("sub", "rg-test", "mlw-abc")
    assert (settings.azure_client_id, settings.job_client_id, settings.import_client_id) == (
        "control",
        "job",
        "importer",
    )
    assert (settings.project_monthly_usd, settings.run_retention_days) == (500, 90)
    assert settings.endpoint_is_public is True
    authenticator = make_authenticator(settings.api_auth_url)
    assert isinstance(authenticator, EntraAuth)
    assert (authenticator._issuer, authenticator._audience) == (
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "audience",
    )


def test_the_environments_named_are_those_that_are_registered(app_settings: dict[str, str]) -> None:
    files = sorted((INFRA / "environments").glob("*.yml"))
    if not files:
        pytest.skip("the environments are not there yet")
    registered = {f"{one['name']}:{one['version']}" for one in (yaml.safe_load(file.read_text()) for file in files)}
    assert {app_settings["TRAINING_ENVIRONMENT"], app_settings["SERVING_ENVIRONMENT"]} == registered
