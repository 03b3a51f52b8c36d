"""/api/subscriptions: what may be written, by whom, what is shown, and what a test and a redelivery do."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from standardwebhooks import Webhook

from functions.http.auth import ADMINISTRATOR, OPERATOR, READER
from shared.domain.events import TrainingStarted
from shared.domain.policy import PlatformPolicy, Project
from shared.health.doctor import _subscriptions
from shared.ports import Services
from shared.records import policies
from shared.records import subscriptions as records
from shared.settings import Settings
from shared.steps.notify import deliver_notification, delivery
from tests.receiver import Receiver
from tests.unit.functions.http.support import asking_as
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import take

EVENT = failed("run-000000000000").to_cloudevent()
PATH = "/api/subscriptions"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"notify_private_hosts": "127.0.0.1"})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def created(client: TestClient, receiver: Receiver, **fields: Any) -> dict[str, Any]:
    target = {"type": fields.pop("type", "webhook"), "url": f"{receiver.url}?token=zzz"}
    answer = client.post(PATH, json={"name": "ops", "target": target, **fields})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(answer: Any) -> list[tuple[str, str]]:
    return [(one["path"], one["code"]) for one in answer.json()["problems"]]


def test_the_answer_to_the_creation_alone_has_the_keys_and_none_has_the_url(
    client: TestClient, receiver: Receiver, services: Services, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    made = created(client, receiver, project="shop")
    id, keys = made["subscription"]["id"], made["keys"]
    assert len(set(keys)) == 2
    assert all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", key) for key in keys)
    assert made["subscription"]["target"] == {"type": "webhook", "mode": "structured", "url": ANY_HOST(receiver)}
    assert "run.failed" in made["subscription"]["events"]
    new = client.post(f"{PATH}/{id}/rotate").json()["key"]
    receiver.status = 500
    deliver_notification(delivery(EVENT, stored(services, id)), services)
    texts = [
        client.get(PATH).text,
        client.get(f"{PATH}/{id}").text,
        client.get(f"{PATH}/{id}/deliveries").text,
        client.patch(f"{PATH}/{id}", json={"severity": "error"}).text,
        client.post(f"{PATH}/{id}/test").text,
        client.post(
            PATH, json={"name": "ops", "project": "shop", "target": {"type": "webhook", "url": "http://zzz"}}
        ).text,
        client.post(PATH, json={"name": "x", "target": {"type": "webhook", "url": f"{receiver.url}:zzz"}}).text,
        str(_subscriptions(services)),
        caplog.text,
    ]
    assert [text for text in texts if any(secret in text for secret in ("token=", "=zzz", new, *keys))] == []


def ANY_HOST(receiver: Receiver) -> str:
    return receiver.url.replace("/hook", "/***")


def stored(services: Services, id: str) -> Any:
    found = records.by_id(services.store, id)
    assert found is not None
    return found


def test_all_that_is_wrong_comes_in_one_answer(client: TestClient, services: Services) -> None:
    policies.apply(services.store, PlatformPolicy(notify_hosts=("a.example",)), 0, "root", "root", services.clock.now())
    target = {"type": "webhook", "url": "https://10.0.0.4/x"}
    body = {"name": "ops", "project": "shop", "target": target, "events": ["run.faild", "model.*", "nothing.at.all"]}
    refused = client.post(PATH, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "subscription_invalid")
    assert codes(refused) == [
        ("events", "unknown_event"),
        ("events", "unknown_event"),
        ("target.url", "policy"),
        ("target.url", "target_not_allowed"),
    ]
    text = refused.json()["error"]["message"]
    assert "did you mean run.failed" in text
    assert "10.0.0.4 is none of those that the platform allows: a.example" in text
    assert "10.0.0.4 is not a public address" in text
    assert client.get(PATH).json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": "Ops"}, "name"),
        ({"events": []}, "events"),
        ({"events": ["x" * 101]}, "events[0]"),
        ({"severity": "fatal"}, "severity"),
        ({"secret": "x"}, "secret"),
        ({"target": {"type": "webhook", "url": "ftp://x"}}, "target.url"),
        ({"target": {"type": "webhook", "url": "https://[::1"}}, "target.url"),
        ({"target": {"type": "pigeon", "url": "https://a.example"}}, "target"),
        ({"target": {"type": "teams", "url": "https://a.example", "mode": "binary"}}, "target.mode"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_by_its_field(
    client: TestClient, fields: dict[str, Any], param: str
) -> None:
    target = {"type": "webhook", "url": "https://10.0.0.4/"}
    refused = client.post(PATH, json={"name": "ops", "target": target, **fields})
    assert (refused.status_code, refused.json()["error"]["code"], refused.json()["error"]["param"]) == (
        400,
        "bad_request",
        param,
    )


def test_what_a_receiver_cannot_check_is_warned_about(client: TestClient, receiver: Receiver) -> None:
    warned = {
        type: created(client, receiver, name=type, type=type)["warnings"] for type in ("webhook", "teams", "slack")
    }
    assert warned["webhook"] == []
    assert "checks no signature" in warned["teams"][0]
    assert "checks no signature" in warned["slack"][0]
    target = {"type": "webhook", "url": receiver.url, "mode": "binary"}
    binary = client.post(PATH, json={"name": "binary", "target": target}).json()
    assert "are not signed" in binary["warnings"][0]


def test_a_name_is_of_one_and_a_project_has_twenty(client: TestClient, receiver: Receiver) -> None:
    created(client, receiver, project="shop")
    target = {"type": "webhook", "url": receiver.url}
    twice = client.post(PATH, json={"name": "ops", "project": "shop", "target": target})
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "subscription_exists")
    for number in range(19):
        created(client, receiver, project="shop", name=f"n{number}")
    more = client.post(PATH, json={"name": "more", "project": "shop", "target": target})
    assert (more.status_code, more.json()["error"]["code"]) == (409, "too_many_subscriptions")
    created(client, receiver, project="bank", name="more")


def test_a_change_keeps_the_rest_and_needs_the_version_that_was_looked_at(
    client: TestClient, receiver: Receiver, services: Services
) -> None:
    id = created(client, receiver, events=["run.*"])["subscription"]["id"]
    etag = client.get(f"{PATH}/{id}").headers["etag"]
    before = stored(services, id)
    changed = client.patch(f"{PATH}/{id}", json={"severity": "error"}, headers={"if-match": etag})
    assert (changed.status_code, changed.json()["severity"], changed.json()["events"]) == (200, "error", ["run.*"])
    late = client.patch(f"{PATH}/{id}", json={"events": ["model.*"]}, headers={"if-match": etag})
    assert (late.status_code, late.json()["error"]["code"]) == (412, "subscription_changed")
    wrong = client.patch(f"{PATH}/{id}", json={"events": ["nothing"]})
    assert (wrong.status_code, codes(wrong)) == (400, [("events", "unknown_event")])
    assert stored(services, id) == before.model_copy(update={"severity": "error", "version": 2})


def test_a_test_is_sent_at_once_and_says_status_and_time(client: TestClient, receiver: Receiver) -> None:
    made = created(client, receiver)
    path = f"{PATH}/{made['subscription']['id']}/test"
    done = client.post(path).json()
    assert (done["status"], done["code"]) == (204, None)
    assert done["ms"] > 0
    [(headers, body)] = receiver.got
    Webhook(made["keys"][0]).verify(body, headers)
    event = json.loads(body)
    assert (event["type"], event["data"]["by"]) == ("droptune.subscription.test.v1", "local")
    receiver.status = 401
    assert (client.post(path).json()["status"], client.post(path).json()["code"]) == (401, "target_refused")
    receiver.close()
    assert (client.post(path).json()["status"], client.post(path).json()["code"]) == (None, "target_unreachable")


def test_what_was_held_while_it_was_disabled_is_redelivered_after_it_was_enabled(
    client: TestClient, receiver: Receiver, services: Services, clock: Any
) -> None:
    id = created(client, receiver)["subscription"]["id"]
    clock.moment = services.clock.now()
    begun = clock.moment
    receiver.status = 410
    for number in range(4):
        deliver_notification(delivery({**EVENT, "id": f"e-{number}"}, stored(services, id)), services)
        clock.moment += timedelta(minutes=1)
        receiver.status = 410 if number else 200
    log = client.get(f"{PATH}/{id}/deliveries").json()["data"]
    assert [(one["event"]["id"], one["state"]) for one in log] == [
        ("e-3", "held"),
        ("e-2", "held"),
        ("e-1", "held"),
        ("e-0", "failed"),
    ]
    check = _subscriptions(services)
    assert (check.status, "ops of all projects" in check.detail) == ("fix", True)
    again = {"since": begun.isoformat()}
    refused = client.post(f"{PATH}/{id}/redeliver", params=again)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "subscription_disabled")
    receiver.status = 200
    assert client.patch(f"{PATH}/{id}", json={"enabled": True}).json()["disabled"] is None
    until = (begun + timedelta(minutes=2)).isoformat()
    ranged = client.post(f"{PATH}/{id}/redeliver", params={**again, "until": until})
    assert (ranged.status_code, ranged.json()) == (202, {"redelivered": 3})
    receiver.got.clear()
    for received in take(services, "deliveries"):
        deliver_notification(received.message, services)
    assert [json.loads(body)["id"] for _, body in receiver.got] == ["e-0", "e-1", "e-2"]
    assert client.post(f"{PATH}/{id}/redeliver", params=again).json() == {"redelivered": 1}
    assert client.post(f"{PATH}/{id}/redeliver", params={**again, "all": True}).json() == {"redelivered": 4}
    assert client.post(f"{PATH}/{id}/redeliver", params={"event": "e-0"}).json() == {"redelivered": 1}
    missing = client.post(f"{PATH}/{id}/redeliver", params={"event": "e-9"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "delivery_not_found")
    assert client.post(f"{PATH}/{id}/redeliver", params={}).status_code == 400


def test_a_person_disables_one_and_deletes_it(client: TestClient, receiver: Receiver, services: Services) -> None:
    id = created(client, receiver)["subscription"]["id"]
    shown = client.patch(f"{PATH}/{id}", json={"enabled": False}).json()
    assert (shown["disabled"]["code"], shown["disabled"]["message"]) == ("disabled", "local disabled it")
    assert client.delete(f"{PATH}/{id}").json()["id"] == id
    for answer in (client.get(f"{PATH}/{id}"), client.delete(f"{PATH}/{id}"), client.post(f"{PATH}/{id}/rotate")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "subscription_not_found")


def test_owners_write_those_of_their_project_and_administrators_those_of_all(
    client: TestClient, receiver: Receiver, services: Services
) -> None:
    projects = {"shop": Project(owners=("ada",), operators=("bob",)), "bank": Project(owners=("eve",))}
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    statuses = {}
    for person, roles in (
        ("ada", ()),
        ("bob", ()),
        ("eve", ()),
        ("app", (READER, OPERATOR)),
        ("root", (ADMINISTRATOR,)),
    ):
        with asking_as(client, person, *roles):
            target = {"type": "webhook", "url": receiver.url}
            for project in ("shop", None):
                body = {"name": f"of-{person}", "project": project, "target": target}
                statuses[person, project] = client.post(PATH, json=body).status_code
    assert {who for who, status in statuses.items() if status == 201} == {
        ("ada", "shop"),
        ("root", "shop"),
        ("root", None),
    }
    assert {status for status in statuses.values()} == {201, 403}
    with asking_as(client, "bob"):
        assert [one["name"] for one in client.get(PATH).json()["data"]] == ["of-ada", "of-root"]
    with asking_as(client, "eve"):
        assert client.get(PATH).json()["data"] == []


def test_of_a_log_for_all_projects_a_reader_sees_what_is_of_projects_that_he_may_see(
    client: TestClient, receiver: Receiver, services: Services
) -> None:
    id = created(client, receiver)["subscription"]["id"]
    for project in ("shop", "open"):
        event = {**EVENT, "id": f"e-{project}", "source": f"/projects/{project}"}
        deliver_notification(delivery(event, stored(services, id)), services)
    shop = {"shop": Project(owners=("ada",))}
    policies.apply(services.store, PlatformPolicy(projects=shop), 0, "root", "root", services.clock.now())
    with asking_as(client, "app", READER):
        assert [one["event"]["id"] for one in client.get(f"{PATH}/{id}/deliveries").json()["data"]] == ["e-open"]
        assert "e-shop" not in client.get(PATH).text
    with asking_as(client, "ada"):
        assert client.get(f"{PATH}/{id}").status_code == 404


def test_the_catalog_says_how_severe_each_event_is(client: TestClient) -> None:
    schema = client.get("/api/events/schemas/droptune.run.failed.v1").json()
    assert schema["properties"]["severity"] == {"const": "error"}
    assert TrainingStarted.severity.value == "info"
    assert EVENT["severity"] == "error"
