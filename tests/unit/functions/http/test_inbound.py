"""Events of other systems over HTTP: by token or intake key, in each schema, once."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from azure.functions.servicebus import ServiceBusMessage
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http import inbound
from functions.http.auth import OPERATOR, READER
from functions.stages import stage_functions
from shared.domain.policy import PlatformPolicy, Project
from shared.ports import BlobInfo, Message, Services
from shared.records import policies, runs
from shared.runner import Runner
from tests.azure_events import blob_created
from tests.paths import ROOT
from tests.unit.functions.http.support import SettableClock, asking_as, in_production
from tests.unit.shared.support import ROW, drop, take

SAMPLES: list[dict[str, Any]] = json.loads((ROOT / "tests/data/storage_events.json").read_text())
WORKSPACE = "eeeeeeee-4444-5555-6666-ffffffffffff"
ALLOWED = ("my-storage-account/testcontainer", "my-storage-account/my-file-system", f"onelake/{WORKSPACE}")
OURS = "https://ours.blob.core.windows.net"


class Accounts:
    """The drop zone, and blobs of other accounts by their URL."""

    def __init__(self, own: Any) -> None:
        self.own, self.others = own, dict[str, bytes]()

    def info(self, path: str) -> BlobInfo | None:
        if "://" not in path:
            return cast(BlobInfo | None, self.own.info(path))
        if path not in self.others:
            return None
        beside = self.own.write("runs/source", [self.others[path]])
        return replace(cast(BlobInfo, beside), path=path, modified_at=beside.modified_at - timedelta(hours=1))

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        return iter([self.others[path]]) if "://" in path else self.own.read(path, etag=etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


@pytest.fixture
def accounts(services: Services) -> Accounts:
    return Accounts(services.blobs)


@pytest.fixture
def tenant(client: TestClient, services: Services, accounts: Accounts) -> Services:
    """With an account of its own name, other accounts, and two projects."""
    config = replace(services.config, blob_store_url=OURS)
    found = replace(services, config=config, blobs=cast(Any, accounts))
    cast(FastAPI, client.app).state.services = lambda: found
    projects = {
        "shop": Project(operators=("ada", "queue:inbound"), storage_accounts=ALLOWED),
        "bank": Project(operators=("bob",)),
    }
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    return found


def key_url(client: TestClient, project: str = "shop", by: str = "ada", query: str = "") -> str:
    with asking_as(client, by):
        made = client.post(f"/api/intake-keys/{project}{query}")
    assert made.status_code == 201, made.text
    return cast(str, made.json()["url"])


def event(act: str, id: str = "1", **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id, "source": "/s", "type": f"droptune.request.{act}.v1", "data": data}


def post(client: TestClient, url: str, events: Any, content_type: str = "application/cloudevents+json") -> Any:
    return client.post(url, content=json.dumps(events), headers={"content-type": content_type})


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def deliver(services: Services, function: str, sent: Message) -> None:
    brought = ServiceBusMessage(
        body=sent.body, message_id=sent.id, application_properties=sent.properties, user_properties={}
    )
    stage_functions(lambda: services)[function](brought)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: f"{one['name']}, {one['schema']}")
def test_each_documented_event_of_storage_starts_the_right_run_or_is_refused_by_name(
    client: TestClient, tenant: Services, accounts: Accounts, sample: dict[str, Any]
) -> None:
    is_grid = sample["schema"] == "Event Grid"
    body = [sample["event"]] if is_grid else sample["event"]
    sent = post(client, key_url(client), body, "application/json" if is_grid else "application/cloudevents+json")
    [found] = sent.json()["data"]
    assert (found["status"], (found["reason"] or {}).get("code")) == (sample["status"], sample.get("code"))
    assert sent.status_code == (400 if sample["status"] == "refused" else 202)
    commands = take(tenant, "storage-events")
    if sample["status"] != "accepted":
        assert commands == []
        return
    accounts.others[sample["copies"]] = ROW
    [command] = commands
    for _ in range(2):  # a redelivery writes nothing
        deliver(tenant, "receive_dataset", command.message)
    copy = tenant.blobs.info(found["path"])
    assert copy is not None
    deliver(tenant, "receive_dataset", blob_created(copy.path, copy.etag))
    [run] = runs.page(tenant.store).runs
    assert (run.project, run.dataset.path, run.status) == ("shop", found["path"], "received")
    assert run.uploader_ids is None, "nobody knows whose the file is: two persons approve"
    assert b"".join(tenant.blobs.read(found["path"])) == ROW


def test_a_blob_of_our_own_account_starts_its_run_and_another_file_none(client: TestClient, tenant: Services) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    url, sample = key_url(client), SAMPLES[0]["event"]
    for name, expected in (
        ("shop/train.jsonl", "accepted"),
        ("shop/README.md", "ignored"),
        ("shop/gone.csv", "refused"),
    ):
        given = {**sample, "id": name, "data": {"api": "PutBlob", "url": f"{OURS}/datasets/{name}"}}
        assert post(client, url, given).json()["data"][0]["status"] == expected
    [command] = take(tenant, "storage-events")
    deliver(tenant, "receive_dataset", command.message)
    [run] = runs.page(tenant.store).runs
    assert (run.dataset.path, run.requested_by) == ("datasets/shop/train.jsonl", "intake key of shop")
    other = {**sample, "id": "bank", "data": {"api": "PutBlob", "url": f"{OURS}/datasets/bank/train.jsonl"}}
    assert code(post(client, url, other)) == (400, "dataset_not_found")


def test_the_same_event_again_gets_the_same_answer_and_starts_nothing(client: TestClient, tenant: Services) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    url = key_url(client)
    first = post(client, url, event("run", dataset="shop/train.jsonl"))
    assert first.json()["data"][0]["run"].startswith("run-")
    assert len(take(tenant, "storage-events")) == 1
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW, ROW])
    again = post(client, key_url(client), event("run", dataset="shop/train.jsonl"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert take(tenant, "storage-events") == []
    other = post(client, url, {**event("run", dataset="shop/train.jsonl"), "source": "/t"})
    assert other.json()["data"][0]["run"] != first.json()["data"][0]["run"]


def test_what_was_refused_is_accepted_once_it_is_allowed(client: TestClient, tenant: Services) -> None:
    url, given = key_url(client), event("run", dataset="shop/train.jsonl")
    assert code(post(client, url, given)) == (400, "dataset_not_found")
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    assert post(client, url, given).status_code == 202


def test_a_batch_says_of_each_event_what_became_of_it(client: TestClient, tenant: Services) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    events = [event("run", "1", dataset="shop/train.jsonl"), event("promote", "2"), event("dance", "3")]
    answer = post(client, key_url(client), events, "application/cloudevents-batch+json")
    assert code(answer) == (400, "promotion_not_offered")
    found = [(one["status"], (one["reason"] or {}).get("code")) for one in answer.json()["data"]]
    assert found == [("accepted", None), ("refused", "promotion_not_offered"), ("refused", "unknown_event_type")]
    assert len(take(tenant, "storage-events")) == 1


def test_the_binary_mode_has_its_attributes_in_headers(client: TestClient, tenant: Services) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "%E2%82%AC%20100%25",
        "ce-source": "/s",
        "ce-type": "droptune.request.run.v1",
        "content-type": "application/json",
    }
    answer = client.post(key_url(client), json={"dataset": "shop/train.jsonl"}, headers=headers)
    assert (answer.status_code, answer.json()["data"][0]["id"]) == (202, "€ 100%")


def test_an_event_does_what_a_person_could_over_the_api(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    record = in_production(services)
    answers = [post(client, "/api/events", event(act, act, **data)).json()["data"][0] for act, data in (
        ("cancel", {"run": run.id}), ("retrain", {"endpoint": "shop"}), ("rollback", {"endpoint": "shop"}),
    )]  # fmt: skip
    assert [one["status"] for one in answers] == ["accepted"] * 3, answers
    [command] = take(services, "storage-events")
    body = json.loads(command.message.body)["data"]
    assert (body["parent_run"], body["requested_by"]) == (record.champion, "local")
    assert {one.message.subject for one in take(services, "pipeline/cancel_run")} == {
        "droptune.run.cancel_requested.v1"
    }
    assert len(take(services, "pipeline/roll_back")) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event("cancel", run="run-0123456789ab"), "run_not_found"),
        (event("cancel", run="../x"), "malformed_event"),
        (event("cancel"), "malformed_event"),
        (event("run"), "malformed_event"),
        (event("run", dataset=5), "malformed_event"),
        (event("run", dataset="nonsense"), "dataset_not_found"),
        (event("run", dataset="shop/../bank/a.jsonl"), "bad_blob_path"),
        (event("run", dataset="bank/a.jsonl"), "dataset_not_found"),
        (event("run", url="https://lake.blob.core.windows.net/raw/a.jsonl"), "storage_account_not_allowed"),
        (event("run", url="https://127.0.0.1/raw/a.jsonl"), "bad_storage_url"),
        (event("run", url="https://my-storage-account.blob.core.windows.net/testcontainer/a?sig=x"), "bad_storage_url"),
        (event("run", url=f"{OURS}/runs/run-1/report.json"), "storage_account_not_allowed"),
        (
            event("run", url="https://my-storage-account.blob.core.windows.net/testcontainer/a", project="bank"),
            "role_needed",
        ),
        (event("retrain", endpoint="shop"), "endpoint_not_found"),
        (event("retrain", endpoint="A B"), "malformed_event"),
        (event("rollback", endpoint="bank"), "endpoint_not_found"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(
    client: TestClient, tenant: Services, given: dict[str, Any], expected: str
) -> None:
    assert code(post(client, key_url(client), given)) == (400, expected)
    assert take(tenant, "storage-events") == []


def test_a_url_may_name_its_project_and_must_where_two_have_the_account(client: TestClient, tenant: Services) -> None:
    both = Project(operators=("ada",), storage_accounts=ALLOWED)
    policy = PlatformPolicy(projects={"shop": both, "bank": both, "other": both.model_copy(update={"operators": ()})})
    policies.apply(tenant.store, policy, 1, "root", "root", tenant.clock.now())
    url = "https://my-storage-account.dfs.core.windows.net/testcontainer/a.jsonl"
    with asking_as(client, "ada"):
        assert code(post(client, "/api/events", event("run", url=url))) == (400, "ambiguous_project")
        answer = post(client, "/api/events", event("run", url=url, project="bank"))
        assert answer.json()["data"][0]["path"].startswith("datasets/bank/my-storage-account-")
        assert code(post(client, "/api/events", event("run", "2", url=url, project="other"))) == (400, "role_needed")


def test_an_account_that_is_no_longer_allowed_is_not_read(
    client: TestClient, tenant: Services, accounts: Accounts
) -> None:
    assert post(client, key_url(client), SAMPLES[0]["event"]).status_code == 202
    [command] = take(tenant, "storage-events")
    accounts.others[SAMPLES[0]["copies"]] = ROW
    policies.apply(tenant.store, PlatformPolicy(), 1, "root", "root", tenant.clock.now())
    deliver(tenant, "receive_dataset", command.message)
    assert reasons(tenant) == ["storage_account_not_allowed"]
    assert list(tenant.blobs.list("datasets/")) == []


def reasons(services: Services) -> list[str]:
    found = [one.path for one in services.blobs.list("quarantine/") if one.path.endswith(".reason.json")]
    return [json.loads(b"".join(services.blobs.read(path)))["code"] for path in found]


def test_event_grid_is_answered_its_code_and_a_sender_of_cloudevents_its_origin(
    client: TestClient, tenant: Services
) -> None:
    url, secret = key_url(client), "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"
    # https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema
    validation = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
        "subject": "",
        "data": {
            "validationCode": secret,
            "validationUrl": "https://rp-eastus2.eventgrid.azure.net/eventsubscriptions/a",
        },
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2022-10-27T14:30:00.0000000Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
    answer = post(client, url, [validation], "application/json")
    assert (answer.status_code, answer.json()) == (200, {"validationResponse": secret})
    origin = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    agreed = client.options(url, headers=origin)
    assert agreed.status_code == 200
    found = {name: agreed.headers.get(name) for name in ("webhook-allowed-origin", "webhook-allowed-rate")}
    assert found == {"webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "*"}
    assert "webhook-allowed-origin" not in client.options(url).headers
    for refused in (url[:-1], url.partition("?")[0]):
        assert client.options(refused, headers=origin).status_code == 401
        assert post(client, refused, [validation], "application/json").status_code == 401


def test_a_key_opens_its_project_until_it_is_replaced_twice_or_expires(
    client: TestClient, tenant: Services, clock: SettableClock
) -> None:
    urls, given = list[str](), event("promote")
    now = tenant.clock.now()
    for n in range(3):
        clock.moment = now + timedelta(seconds=n)
        urls.append(key_url(client, query="?days=10"))
    assert [post(client, url, given).status_code for url in urls] == [401, 400, 400]
    key = urls[2].partition("=")[2]
    bearer = {"authorization": f"Bearer {key}", "content-type": "application/cloudevents+json"}
    by_header = client.post("/api/intake/shop", content=json.dumps(given), headers=bearer)
    assert code(by_header) == (400, "promotion_not_offered")
    assert client.get("/api/runs", headers=bearer).status_code == 200, "on a laptop everybody may; the key is no token"
    clock.moment = now + timedelta(days=11)
    assert [post(client, url, given).status_code for url in urls] == [401] * 3


@pytest.mark.parametrize(
    "hostile",
    ["", "x", "dtk_1_", "dtk_1_" + "a" * 43, "%00", "%ff%fe", "a" * 5000, "dtk_3_" + "a" * 43, "dtk_1_%0a", "..%2f.."],
)
def test_a_hostile_key_is_refused_and_says_nothing_of_the_project(
    client: TestClient, tenant: Services, hostile: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    real = key_url(client).partition("=")[2]
    found = {
        (answer.status_code, answer.json()["error"]["message"])
        for project in ("shop", "bank", "nosuch", "shop%2F..", "S")
        for answer in [post(client, f"/api/intake/{project}?access_token={hostile}", event("promote"))]
    }
    assert len(found) == 1
    assert {status for status, _ in found} == {401}
    assert post(client, f"/api/intake/bank?access_token={real}", event("promote")).status_code == 401
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("httpx")]  # the client's own log
    assert not [one for one in ours if real in one or (len(hostile) > 3 and hostile in one)]


def test_a_key_is_made_by_who_may_start_runs_of_the_project(client: TestClient, tenant: Services) -> None:
    for name in ("bob", "eve"):
        with asking_as(client, name, READER, OPERATOR):
            assert code(client.post("/api/intake-keys/shop")) == (403, "role_needed")
    with asking_as(client, "ada"):
        for wrong in ("shop?days=0", "shop?days=367", "s", "A%20B"):
            assert code(client.post(f"/api/intake-keys/{wrong}"))[0] == 400


def test_what_is_too_large_or_of_another_format_is_refused(client: TestClient, tenant: Services) -> None:
    url = key_url(client)
    assert code(post(client, url, event("run", dataset="a" * 1_000_001))) == (413, "too_large")
    for content_type in ("text/plain", "application/xml", "application/cloudevents+avro", "x" * 300):
        assert code(post(client, url, event("promote"), content_type)) == (415, "unsupported_format")
    for body in (b"", b"\x00", b"[" * 5000, base64.b64encode(b"{}")):
        answer = client.post(url, content=body, headers={"content-type": "application/json"})
        assert code(answer) == (400, "malformed_event")


def test_the_queue_acts_for_projects_that_name_it_and_keeps_what_it_refuses_with_the_reason(
    tenant: Services, accounts: Accounts
) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    tenant.blobs.write("datasets/bank/train.jsonl", [ROW])
    sent = {
        "ok": json.dumps(event("run", dataset="shop/train.jsonl")).encode(),
        "bank": json.dumps(event("run", "2", dataset="bank/train.jsonl")).encode(),
        "garbage": b"\x00\xff garbage",
        "promote": json.dumps([event("promote", "3")]).encode(),
    }
    for name, body in sent.items():
        for _ in range(2):
            deliver(tenant, "receive_event", Message(name, "", body, {"Diagnostic-Id": "00-1"}))
    assert len(take(tenant, "storage-events")) == 1
    assert sorted(reasons(tenant)) == ["dataset_not_found", "malformed_event", "promotion_not_offered"]
    [garbage] = [one.path for one in tenant.blobs.list("quarantine/garbage-") if not one.path.endswith(".reason.json")]
    assert b"".join(tenant.blobs.read(garbage)) == sent["garbage"]
    [reason] = [one.path for one in tenant.blobs.list("quarantine/garbage-") if one.path.endswith(".reason.json")]
    kept = json.loads(b"".join(tenant.blobs.read(reason)))
    assert (kept["message_id"], kept["message"]) == ("garbage", "the body is not JSON in UTF-8")


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_a_message_of_the_queue_may_be_in_binary_mode(tenant: Services, prefix: str) -> None:
    tenant.blobs.write("datasets/shop/train.jsonl", [ROW])
    attributes = {"specversion": "1.0", "id": "1", "source": "/s", "type": "droptune.request.run.v1"}
    properties = {prefix + name: value for name, value in attributes.items()}
    deliver(tenant, "receive_event", Message("m", "", b'{"dataset": "shop/train.jsonl"}', properties))
    assert len(take(tenant, "storage-events")) == 1


def test_the_name_of_the_queue_in_a_policy_is_the_callers(tmp_path: Path) -> None:
    assert inbound.QUEUE.names == {"queue:inbound", OPERATOR}
    assert not inbound.QUEUE.person_id
