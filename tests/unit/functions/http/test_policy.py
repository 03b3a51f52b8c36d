"""/api/policy: versions, who may apply one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from functions.http.auth import ADMINISTRATOR, APPROVER, OPERATOR, READER
from shared.ports import Services, Write
from shared.records.policies import POLICY
from tests.unit.functions.http.support import asking_as

LIMITED = {"limits": {"deployment.approval": {"one_of": ["required"]}}, "projects": {"shop": {"owners": ["ada"]}}}


def test_a_policy_is_applied_shown_and_kept(client: TestClient) -> None:
    assert client.get("/api/policy").json()["version"] == 0
    with asking_as(client, "root", ADMINISTRATOR):
        applied = client.put("/api/policy?replacing=0", json=LIMITED)
        assert (applied.status_code, applied.json()["version"], applied.json()["by"]) == (200, 1, "root")
        assert client.put("/api/policy?replacing=1", json={}).json()["version"] == 2
        first = client.get("/api/policy?version=1").json()
    assert first["policy"]["limits"]["deployment.approval"]["one_of"] == ["required"]
    assert first["policy"]["projects"]["shop"]["owners"] == ["ada"]
    missing = client.get("/api/policy?version=3")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "policy_not_found")


def test_of_two_administrators_at_once_the_second_is_told(client: TestClient) -> None:
    client.put("/api/policy?replacing=0", json=LIMITED)
    refused = client.put("/api/policy?replacing=0", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "policy_changed")
    assert "version 1 " in refused.json()["error"]["message"]
    assert client.get("/api/policy").json()["version"] == 1


def test_a_policy_that_cannot_be_read_is_replaced_by_one_that_can(client: TestClient, services: Services) -> None:
    client.put("/api/policy?replacing=0", json=LIMITED)
    stored = services.store.get(POLICY, POLICY)
    assert stored is not None
    spoiled = {**stored.document, "content": {"policy": {"approvers": "many"}}}
    services.store.batch(POLICY, [Write("replace", POLICY, spoiled)])
    assert client.get("/api/policy").status_code == 503
    applied = client.put("/api/policy?replacing=1", json={})
    assert (applied.status_code, applied.json()["version"]) == (200, 2)


@pytest.mark.parametrize("role", [READER, OPERATOR, APPROVER])
def test_nobody_but_an_administrator_applies_one(client: TestClient, role: str) -> None:
    client.put("/api/policy?replacing=0", json=LIMITED)
    for name in ("bob", "ada"):  # not an owner of a project either
        with asking_as(client, name, role):
            refused = client.put("/api/policy?replacing=1", json={})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_needed")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"limits": {"deployment.aproval": {"one_of": ["required"]}}}, "limits.deployment.aproval"),
        ({"approvers": 0}, "approvers"),
        ({"aprovers": 1}, "aprovers"),
    ],
)
def test_a_policy_that_is_none_is_refused_by_name(client: TestClient, body: dict[str, Any], param: str) -> None:
    refused = client.put("/api/policy?replacing=0", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "policy_invalid")
    assert refused.json()["error"]["param"] == param
    assert client.get("/api/policy").json()["version"] == 0


def test_everything_that_is_wrong_with_it_is_in_one_answer(client: TestClient) -> None:
    body = {"approvers": 0, "limits": {"base_model": {"one_of": ["nosuch/*"]}}, "projects": {"shop": {"owner": []}}}
    answer = client.put("/api/policy?replacing=0", json=body)
    assert answer.status_code == 400
    found = answer.json()["problems"]
    assert [(one["path"], one["code"]) for one in found] == [
        ("approvers", "policy_value"),
        ("projects.shop.owner", "policy_unknown_key"),
        ("limits.base_model.one_of[0]", "policy_pattern"),
    ]
    assert all(one["message"] and one["remedy"] for one in found)
    lines = answer.json()["error"]["message"].split("\n")
    assert lines[0] == f"approvers: it has to be at least 1 (policy_value). {found[0]['remedy']}"
    assert len(lines) == 3
    assert "problems" not in client.get("/api/policy?version=9").json(), "of a policy alone"
