"""`/api/endpoints`: what is in production, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from functions.http.auth import APPROVER, READER
from shared.domain.endpoint import PRICE_NOTE, ServedDeployment, Stopped
from shared.domain.events import EndpointOrdered, RollbackRequested
from shared.domain.policy import PlatformPolicy
from shared.ports import Services, Write
from shared.records import claims, endpoints, policies, runs, serving_costs
from shared.records.endpoints import RECORD
from shared.runner import Runner
from tests.unit.functions.http.support import SettableClock, asking_as, in_production
from tests.unit.shared.support import drop, events_at


def test_endpoints_are_listed_by_name(client: TestClient, services: Services) -> None:
    assert client.get("/api/endpoints").json() == {"data": [], "costs": [], "unreadable": []}
    for name in ("shop", "bank"):
        in_production(services, name=name)
    data = client.get("/api/endpoints").json()["data"]
    assert [record["endpoint"] for record in data] == ["bank", "shop"]
    assert data[1]["previous"]["deployment"] == "d-old"


def test_an_endpoint_that_was_given_to_another_project_is_shown_to_its_owner_alone(
    client: TestClient, services: Services
) -> None:
    in_production(services, name="letters")
    projects = {"shop": {"owners": ["sue"]}, "claims": {"owners": ["cleo"], "endpoints": ["letters"]}}
    policy = PlatformPolicy.model_validate({"projects": projects})
    policies.apply(services.store, policy, 0, "root", "root", services.clock.now())
    for person, status in (("sue", 404), ("cleo", 200)):
        with asking_as(client, person):
            listed = client.get("/api/endpoints").json()
            assert client.get("/api/endpoints/letters").status_code == status
        assert [one["endpoint"] for one in listed["data"]] == (["letters"] if status == 200 else [])
        assert [one["endpoint"] for one in listed["costs"]] == [one["endpoint"] for one in listed["data"]]


@pytest.mark.parametrize("content", [None, {}, {"endpoint": "bank"}, "x", [1]])
def test_an_endpoint_whose_record_cannot_be_read_is_named_beside_the_others(
    client: TestClient, services: Services, content: object
) -> None:
    for name in ("shop", "bank"):
        in_production(services, name=name)
    stored = services.store.get("endpoint:bank", RECORD)
    assert stored is not None
    services.store.batch("endpoint:bank", [Write("replace", RECORD, {**stored.document, "record": content})])
    listed = client.get("/api/endpoints").json()
    assert [record["endpoint"] for record in listed["data"]] == ["shop"]
    assert [(one["type"], one["partition"], one["id"]) for one in listed["unreadable"]] == [
        ("endpoint", "endpoint:bank", "endpoint")
    ]


def test_an_endpoint_is_shown_with_its_previous_deployment(client: TestClient, services: Services) -> None:
    record = in_production(services)
    answer = client.get("/api/endpoints/shop")
    nothing = {"endpoint": "shop", "running": [], "ended": [], "ended_usd": {}}
    costs = {"costs": nothing, "usd_per_hour": 0, "usd_this_month": 0, "price_note": PRICE_NOTE}
    assert (answer.status_code, answer.json()) == (200, record.model_dump(mode="json") | costs)
    missing = client.get("/api/endpoints/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "endpoint_not_found")


@pytest.mark.parametrize("price", [2.0, None])
def test_an_endpoint_is_shown_with_what_its_deployments_cost(
    client: TestClient, services: Services, clock: SettableClock, price: float | None
) -> None:
    in_production(services)
    since = datetime(2026, 11, 30, 12, tzinfo=UTC)
    first, second = (
        ServedDeployment(
            deployment=f"d-{n}", run=f"run-{n}", instance_type="x", instances=1, usd_per_hour=usd, since=since
        )
        for n, usd in ((1, 1.0), (2, price))
    )
    serving_costs.change(services.store, "shop", lambda costs: costs.begun(first, second))
    clock.moment = since + timedelta(minutes=30)
    answer = client.get("/api/endpoints/shop").json()
    assert [one["deployment"] for one in answer["costs"]["running"]] == ["d-1", "d-2"]
    found = (answer["usd_per_hour"], answer["usd_this_month"], answer["price_note"])
    assert found == (3.0 if price else None, 1.5 if price else None, PRICE_NOTE)


def test_the_list_has_the_costs_of_each_endpoint_also_of_one_that_was_deleted_this_month(
    client: TestClient, services: Services, clock: SettableClock
) -> None:
    for name in ("shop", "bank"):
        in_production(services, name=name)
    since = datetime(2026, 10, 31, 23, tzinfo=UTC)

    def serve(name: str, usd: float | None, until: datetime | None = None) -> None:
        one = ServedDeployment(
            deployment="d-1", run="run-1", instance_type="x", instances=1, usd_per_hour=usd, since=since
        )
        serving_costs.change(services.store, name, lambda costs: costs.begun(one))
        if until is not None:
            serving_costs.change(services.store, name, lambda costs: costs.left((), until))

    serve("shop", 2.0)
    serve("deleted", 1.0, until=since + timedelta(hours=3))
    serve("deleted-before", 1.0, until=since + timedelta(minutes=30))
    serve("candidate", None)
    clock.moment = since + timedelta(hours=5)
    assert client.get("/api/endpoints").json()["costs"] == [
        {"endpoint": "bank", "usd_per_hour": 0.0, "usd_this_month": 0.0},
        {"endpoint": "candidate", "usd_per_hour": None, "usd_this_month": None},
        {"endpoint": "deleted", "usd_per_hour": 0.0, "usd_this_month": 2.0},
        {"endpoint": "shop", "usd_per_hour": 2.0, "usd_this_month": 8.0},
    ]


def test_a_rollback_orders_the_previous_deployment_back(client: TestClient, services: Services) -> None:
    record = in_production(services)
    with asking_as(client, "ada", READER, "operator"):
        answer = client.post("/api/endpoints/shop/rollback", json={"comment": "wrong torque"})
    assert (answer.status_code, answer.json()) == (202, {"endpoint": "shop", "from": "d-new", "to": "d-old"})
    (event,) = events_at(services, "roll_back")
    assert isinstance(event.data, RollbackRequested)
    expected = RollbackRequested(
        endpoint="shop", project="shop", deployment="d-new", to="d-old", by="ada", comment="wrong torque"
    )
    assert (event.run_id, event.data) == (record.champion, expected)


@pytest.mark.parametrize("kept", [True, False], ids=["previous run readable", "no readable run"])
def test_a_rollback_does_not_wait_for_the_repair_of_the_run_in_production_which_is_named(
    client: TestClient, services: Services, kept: bool
) -> None:
    record = in_production(services)
    assert record.previous is not None
    old = drop(services, Runner(services), text=b"old")
    assert old is not None
    if kept:
        previous = record.previous.model_copy(update={"champion": old.id})
        endpoints.write(services.store, record.model_copy(update={"previous": previous}), replacing=record)
    stored = services.store.get(record.champion, runs.RUN)
    assert stored is not None
    services.store.batch(record.champion, [Write("replace", runs.RUN, {**stored.document, "run": {}})])
    [named] = client.get("/api/dead-letters").json()["unreadable"]
    assert (named["partition"], named["id"]) == (record.champion, runs.RUN)
    answer = client.post("/api/endpoints/shop/rollback")
    if kept:
        assert answer.status_code == 202
        [event] = events_at(services, "roll_back")
        assert event.run_id == old.id
    else:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (409, "unreadable_document", record.champion)
        assert f"droptune dlq release {record.champion} --id run" in error["message"]


def test_a_later_order_is_another_event(client: TestClient, services: Services, clock: SettableClock) -> None:
    in_production(services)
    start = clock.now()
    keys = []
    for second in (0, 0, 2):
        clock.moment = start.replace(microsecond=0, second=second)
        client.post("/api/endpoints/shop/rollback")
        keys += [event.key for event in events_at(services, "roll_back")]
    assert keys[0] == keys[1] == f"d-new.{int(start.replace(second=0).timestamp())}"
    assert keys[2] != keys[0]


@pytest.mark.parametrize("kept_h", [None, -0.01])
def test_without_a_previous_deployment_that_is_kept_there_is_no_way_back(
    client: TestClient, services: Services, kept_h: float | None
) -> None:
    in_production(services, kept_h=kept_h)
    answer = client.post("/api/endpoints/shop/rollback")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "nothing_to_roll_back_to")
    assert events_at(services, "roll_back") == []


def test_a_rollback_is_an_operators_order(client: TestClient, services: Services) -> None:
    in_production(services)
    with asking_as(client, "ada", READER, APPROVER):
        answer = client.post("/api/endpoints/shop/rollback")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_needed")
    unknown = client.post("/api/endpoints/nothing/rollback")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "endpoint_not_found")


def test_a_deletion_is_ordered_of_the_run_in_production(client: TestClient, services: Services) -> None:
    record = in_production(services)
    with asking_as(client, "ada", READER, "operator"):
        answer = client.request("DELETE", "/api/endpoints/shop", json={"comment": "not needed"})
    assert (answer.status_code, answer.json()) == (202, {"id": record.champion})
    (event,) = events_at(services, "roll_back")
    assert event.data == EndpointOrdered(endpoint="shop", project="shop", to="deleted", by="ada", comment="not needed")


def test_a_restore_is_ordered_of_a_stopped_endpoint_only(client: TestClient, services: Services) -> None:
    record = in_production(services)
    refused = client.post("/api/endpoints/shop/restore")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "endpoint_serves")
    assert refused.json()["error"]["message"] == "shop is not stopped: its model answers, nothing is to restore"
    assert events_at(services, "roll_back") == []
    stopped = Stopped(deployment=record.deployment, at=record.promoted_at, reason="no request for 8:00:00")
    endpoints.write(services.store, record.model_copy(update={"stopped": stopped}), replacing=record)
    assert client.post("/api/endpoints/shop/restore").status_code == 202
    (event,) = events_at(services, "roll_back")
    assert isinstance(event.data, EndpointOrdered)
    assert (event.run_id, event.data.to) == (record.champion, "restored")
    assert client.get("/api/endpoints/shop").json()["stopped"]["reason"] == "no request for 8:00:00"


@pytest.mark.parametrize("claim", ["endpoint:shop", "turn:shop"])
def test_an_endpoint_that_a_candidate_holds_is_not_deleted(client: TestClient, services: Services, claim: str) -> None:
    in_production(services)
    claims.take(services.store, claim, "run-other", services.clock.now())
    answer = client.delete("/api/endpoints/shop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "endpoint_busy")
    assert "run-other" in answer.json()["error"]["message"]
    assert events_at(services, "roll_back") == []


def test_a_deletion_is_an_operators_order(client: TestClient) -> None:
    with asking_as(client, "ada", READER, APPROVER):
        answer = client.delete("/api/endpoints/shop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_needed")
    unknown = client.delete("/api/endpoints/nothing")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "endpoint_not_found")
