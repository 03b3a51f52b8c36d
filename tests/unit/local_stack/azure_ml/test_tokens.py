"""Who may use the emulator: nobody without its secret, and no web page of another site."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.azure_ml.tokens import (
    ARM_AUDIENCE,
    RUN_TOKEN,
    SCORING_AUDIENCE,
    identity_token,
    job_token,
    load_secret,
)
from shared.clients.azure_ml.connection import local_token
from tests.unit.local_stack.azure_ml.support import (
    ARM_WORKSPACE,
    Local,
)

ARM, SCORING = ARM_AUDIENCE, SCORING_AUDIENCE
# One of every route; `test_every_route_is_in_the_table` compares with the app. The audience of its tokens: None, any.
ROUTES = [
    ("GET", "/discovery", None),
    ("GET", "/_emulator/jobs", None),
    ("GET", "/_emulator/requests", None),
    ("GET", "/_emulator/calls", None),
    ("POST", "/_emulator/faults", None),
    ("POST", "/endpoints/plant/v1/chat/completions", SCORING),
    ("POST", "/mlflow/v2.0/api/2.0/mlflow/runs/log-metric", ARM),
    ("GET", "/mlflow/v2.0/api/2.0/mlflow-artifacts/artifacts/x", ARM),
    ("PUT", f"{ARM_WORKSPACE}/jobs/any", ARM),
    ("POST", f"{ARM_WORKSPACE}/jobs/any/cancel", ARM),
    ("PUT", f"{ARM_WORKSPACE}/models/any/versions/1", ARM),
    ("DELETE", f"{ARM_WORKSPACE}/onlineEndpoints/plant", ARM),
    ("PUT", f"{ARM_WORKSPACE}/onlineEndpoints/plant/deployments/blue", ARM),
    ("GET", f"/history/v1.0{ARM_WORKSPACE}/runs/any/details", ARM),
    ("OPTIONS", f"{ARM_WORKSPACE}/jobs/any", ARM),
    ("GET", "/no/such/route", ARM),
]
ANY_ROUTE = pytest.mark.parametrize(("method", "path", "audience"), ROUTES)


Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def call(local: Local) -> Iterator[Call]:
    """Status and error code of a request that holds the secret, unless its headers say otherwise."""
    with httpx.Client(base_url=local.url, trust_env=False, verify=False) as http:

        def ask(method: str, path: str, **headers: str) -> tuple[int, str]:
            answer = http.request(method, path, headers={**local.token, **headers}, json={})
            error = answer.json().get("error") if answer.content else None
            return answer.status_code, error["code"] if isinstance(error, dict) else ""

        yield ask


def signed(secret: str, audience: str, for_s: float = 60) -> dict[str, str]:
    return {"Authorization": f"Bearer {local_token(secret, audience, int(time.time() + for_s))}"}


def test_every_route_is_in_the_table(app_paths: set[str]) -> None:
    kinds = {"/" + path.split("/")[1] for _, path, _ in ROUTES} | {"/msi/token"}
    assert app_paths == {"/discovery", "/msi/token", "/_emulator", "/endpoints", "/mlflow", "/"}
    assert app_paths - kinds == {"/"}  # which takes what the others do not


@pytest.fixture
def app_paths(local: Local) -> set[str]:
    from local_stack.azure_ml.app import build_app

    routes = build_app(local.emulator.config, lambda _: None).routes
    return {str(route.path).partition("/{")[0] or "/" for route in routes}  # type: ignore[attr-defined]


@pytest.mark.few_cases(3)
@ANY_ROUTE
@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer local", "Bearer a.b.c", "Basic {secret}", "Bearer {secret}x", "{secret}"]
)
def test_without_the_secret_nothing_is_answered(
    call: Call, local: Local, method: str, path: str, audience: str | None, authorization: str
) -> None:
    given = authorization.format(secret=local.emulator.config.secret)
    status, code = call(method, path, Authorization=given)
    assert (status, code) in [(401, "AuthenticationFailed"), (401, "InvalidAuthenticationToken")]


@ANY_ROUTE
def test_a_token_signed_with_another_secret_or_too_old_is_refused(
    call: Call, local: Local, method: str, path: str, audience: str | None
) -> None:
    secret, audience_ = local.emulator.config.secret, audience or ARM
    assert call(method, path, **signed("another" * 5, audience_)) == (401, "InvalidAuthenticationToken")
    assert call(method, path, **signed(secret, audience_, for_s=-1)) == (401, "ExpiredAuthenticationToken")


@ANY_ROUTE
def test_a_token_for_another_service_is_refused(
    call: Call, local: Local, method: str, path: str, audience: str | None
) -> None:
    other = {ARM: SCORING, SCORING: ARM}
    secret = local.emulator.config.secret
    status, code = call(method, path, **signed(secret, other[audience] if audience else ARM))
    assert (code == "InvalidAuthenticationTokenAudience") == (audience is not None)
    assert (status == 401) == (audience is not None)


@ANY_ROUTE
def test_a_token_of_the_client_is_taken(call: Call, local: Local, method: str, path: str, audience: str | None) -> None:
    status, _ = call(method, path, **signed(local.emulator.config.secret, audience or ARM))
    assert status not in (401, 403)


HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.1.evil.example:{port}",
    "[::1]:{port}",
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("method", "path"), [*((m, p) for m, p, _ in ROUTES), ("GET", "/msi/token")])
@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_resolves_to_this_machine_is_refused(
    call: Call, local: Local, method: str, path: str, host: str
) -> None:
    named = host.format(port=local.emulator.config.port)
    assert call(method, path, Host=named) == (403, "HostNotAllowed")


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("method", "path"), [*((m, p) for m, p, _ in ROUTES), ("GET", "/msi/token")])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost"])
def test_a_page_of_another_site_is_refused(call: Call, method: str, path: str, origin: str) -> None:
    assert call(method, path, Origin=origin) == (403, "OriginNotAllowed")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_its_own_name_and_origin_are_taken(call: Call, local: Local, name: str) -> None:
    ours = f"{name}:{local.emulator.config.port}"
    assert call("GET", "/_emulator/jobs", Host=ours, Origin=f"http://{ours}")[0] == 200


def test_the_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    secret = load_secret(tmp_path / "azure_ml")
    assert load_secret(tmp_path / "azure_ml") == secret
    assert len(secret) >= 40
    assert load_secret(tmp_path / "another") != secret
    [file] = (tmp_path / "azure_ml").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_platform_hands_a_token_only_to_who_has_the_jobs_secret(local: Local) -> None:
    def ask(secret: str, **arguments: str) -> httpx.Response:
        return httpx.get(f"{local.url}/msi/token", params=arguments, headers={"secret": secret}, verify=False)

    query = {"api-version": "2017-09-01", "resource": "https://ml.azure.com"}
    answer: dict[str, Any] = ask(local.emulator.config.secret, **query).json()
    claims = answer["access_token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["aud"] == "https://ml.azure.com"
    assert ask("guessed", **query).status_code == 401
    assert ask(local.emulator.config.secret, resource="https://ml.azure.com").status_code == 400


def test_calls_are_kept_with_the_client_id_of_the_identity_whose_token_they_have(local: Local) -> None:
    secret, client_id = local.emulator.config.secret, "11111111-2222-3333-4444-555555555555"
    query = {"api-version": "2017-09-01", "resource": SCORING, "clientid": client_id}
    tokens = {
        client_id: identity_token(query, secret, secret)["access_token"],
        RUN_TOKEN: job_token(secret),
        "": secret,
    }
    for number, token in enumerate(tokens.values()):
        path = f"/endpoints/of-{number}/" if number == 0 else f"/mlflow/of-{number}"
        httpx.get(f"{local.url}{path}", headers={"Authorization": f"Bearer {token}"}, verify=False)
    calls = httpx.get(f"{local.url}/_emulator/calls", headers=local.token).json()["calls"]
    assert [one for one in calls if "/of-" in one[2]] == [
        ["", "GET", "/mlflow/of-2"],
        [client_id, "GET", "/endpoints/of-0/"],
        [RUN_TOKEN, "GET", "/mlflow/of-1"],
    ]


@pytest.mark.parametrize("client_id", [None, "11111111-2222-3333-4444-555555555555"])
def test_a_job_finds_its_identity_in_its_environment(client_id: str | None) -> None:
    from local_stack.azure_ml.tokens import managed_identity

    found = managed_identity("http://127.0.0.1:1", "s", {"identityType": "Managed", "clientId": client_id})
    assert found.get("DEFAULT_IDENTITY_CLIENT_ID") == client_id
    assert found["MSI_ENDPOINT"] == "http://127.0.0.1:1/msi/token"
