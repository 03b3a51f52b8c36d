"""Whom a session lets in, and what it makes of answers."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from azure.core.pipeline.transport import RequestsTransport

from shared.domain.errors import InvalidInput, PermanentFailure, Transient
from tests.unit.local_stack.azure_ml.support import Local, client_of, job
from tests.unit.shared.clients.azure_ml.answered import WORKSPACE, answer, client_answered, refusal


@pytest.mark.parametrize("secret", ["guessed" * 5, ""])
def test_a_client_with_another_secret_or_none_cannot_submit_a_job(local: Local, secret: str) -> None:
    client = client_of(local.emulator.config.port, secret)
    with pytest.raises(Exception, match="AZURE_ML_SECRET"):
        client.submit(job("not-mine", "true"))
    client.close()
    assert local.client.get_job("not-mine") is None


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed_and_is_no_answer(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    client, sent = client_answered(monkeypatch, lambda *_: answer(status, Location="https://example.com/steal"))
    for method in ("GET", "PUT", "DELETE"):
        with pytest.raises(PermanentFailure) as refused:
            client.session.call(method, "jobs/a")
        assert refused.value.problem.code == "azure_ml_refused"
    assert len(sent) == 3


@pytest.mark.parametrize(
    ("status", "retry_after", "waits"),
    [
        (429, "5", [5.0] * 3),
        (503, None, [0, 1.6, 3.2]),
        (429, "6", []),
        (503, "17", []),
        (409, "3600", []),
        (404, "300", []),
        (429, "Fri, 31 Dec 2999 23:59:59 GMT", []),
    ],
)
def test_no_wait_is_longer_than_some_seconds(
    monkeypatch: pytest.MonkeyPatch, status: int, retry_after: str | None, waits: list[float]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: waited.append(seconds))
    headers = {"Retry_After": retry_after} if retry_after else {}
    client, sent = client_answered(monkeypatch, lambda *_: refusal(status, "TooManyRequests", "later", **headers))
    if status == 404:
        assert client.session.call("GET", "jobs/a") is None
    else:
        with pytest.raises(Transient) as later:
            client.session.call("GET", "jobs/a")
        assert later.value.problem.code == "azure_ml_busy"
    assert [wait for wait in waited if wait] == [wait for wait in waits if wait]
    assert len(sent) == 1 + len(waits)


def test_all_tries_of_a_service_that_hangs_end_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    real, late = time.time, [0.0]

    def hang(_: requests.Session, method: str, url: str, timeout: tuple[float, float], **__: Any) -> None:
        late[0] += timeout[1]
        raise requests.ReadTimeout("hangs")

    client, _ = client_answered(monkeypatch, lambda *_: answer(200))
    monkeypatch.setattr(requests.Session, "request", hang)
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: None)
    monkeypatch.setattr(time, "time", lambda: real() + late[0])
    with pytest.raises(Transient) as unreachable:
        client.session.call("PUT", "jobs/a", {})
    assert unreachable.value.problem.code == "azure_ml_unreachable"
    assert 60 <= late[0] < 61


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("", "2023-08-01-preview"),
        ("jobs/deployments", "2025-01-01-preview"),
        ("jobs/deployments-1/cancel", "2025-01-01-preview"),
        ("environments/deployments/versions/1", "2023-04-01-preview"),
        ("models/deployments/versions/1", "2023-08-01-preview"),
        ("models/deployments-of-b/versions/1", "2023-08-01-preview"),
        ("onlineEndpoints/shop", "2022-02-01-preview"),
        ("onlineEndpoints/deployments", "2022-02-01-preview"),
        ("onlineEndpoints/shop/deployments", "2023-04-01-preview"),
        ("onlineEndpoints/deployments/deployments/blue", "2023-04-01-preview"),
    ],
)
def test_each_kind_of_resource_has_its_version_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch, path: str, version: str
) -> None:
    client, sent = client_answered(monkeypatch, lambda *_: answer(200, {}))
    client.session.call("GET", path)
    assert sent == [f"GET {'/' if path else ''}{path}?api-version={version}"]


def test_what_a_query_holds_arrives_as_it_is(local: Local) -> None:
    local.client.submit(job("any-key", "true"))
    keys = ["loss&run_id=x", "a+b", "50% of c", "d/e=f", "#g", "ü"]
    for step, key in enumerate(keys):
        local.emulator.store.add_metric("any-key", key, step, step, 1)
    found = [[point.step for point in local.client.metric_history("any-key", key)] for key in keys]
    assert found == [[step] for step in range(len(keys))]


def test_what_is_not_there_for_a_write_is_said_by_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = refusal(404, "UserError", "Environment droptune-training:6 was not found")
    client, _ = client_answered(monkeypatch, lambda method, _: lacks if method == "PUT" else answer(404))
    with pytest.raises(PermanentFailure) as refused:
        client.submit(job("lacks", "true"))
    assert refused.value.problem.code == "azure_ml_not_found"
    assert refused.value.problem.message == "UserError: Environment droptune-training:6 was not found"


def test_a_list_is_read_to_its_last_page_and_never_with_a_token_on_another_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def respond(_: str, url: str) -> requests.Response:
        if url.startswith("?"):
            return answer(200, {"location": "here"})
        page = int(url.rpartition("skip=")[2]) if "skip=" in url else 0
        host = "https://management.azure.com:443" if page < 2 else "https://example.com"
        sizes = [{"name": f"S{page}", "family": "F", "vCPUs": page}]
        return answer(200, {"value": sizes, "nextLink": f"{host}/next?$skip={page + 1}" if page < last else None})

    last = 2
    client, sent = client_answered(monkeypatch, respond)
    assert [size.name for size in client.machine_sizes()] == ["S0", "S1", "S2"]
    last = 3
    with pytest.raises(InvalidInput) as refused:
        client.machine_sizes()
    assert refused.value.problem.code == "untrusted_host"
    assert not [one for one in sent if "example.com" in one]
    assert WORKSPACE not in "".join(sent)
