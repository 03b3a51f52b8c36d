"""`/api/dead-letters`: seen without being taken, sent again without harm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from functions.dispatch import REPLAYED
from functions.http.auth import ADMINISTRATOR, APPROVER, OPERATOR, READER
from shared.domain.commands import StartRun
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.run import NON_TERMINAL, TERMINAL, Status
from shared.domain.topology import STORAGE_EVENTS
from shared.pipeline import BY_NAME, TOPOLOGY
from shared.ports import DEAD_LETTERS, Message, Services, Write
from shared.records import claims, policies
from shared.runner import Handled, Runner
from shared.steps.fail_run import NEXT_JOB
from shared.steps.reconcile import release_claims
from tests.unit.functions.http.support import RESOLVED, JobCurves, asking_as, awaiting_approval, enter
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import drop, events_at, take

ENTITY = "pipeline/record_decision"
QUEUE = "job-events"


def fail_too_often(services: Services, entity: str) -> None:
    """What waits at the entity is abandoned until the bus gives it up."""
    for _ in range(TOPOLOGY.max_delivery_count):
        for received in services.bus.receive(entity, max_messages=100, wait_s=0):
            services.bus.abandon(received)
    assert services.bus.depth(entity) == 0


def dead(services: Services, *ids: str) -> None:
    services.bus.send(
        QUEUE, [Message(id, "Polled", b"{}", {"droptune.failed": "6", "Diagnostic-Id": "00-0af7"}) for id in ids]
    )
    fail_too_often(services, QUEUE)


def test_without_dead_letters_the_list_is_empty(client: TestClient) -> None:
    assert client.get("/api/dead-letters").json() == {"data": [], "unreadable": []}


def test_a_dead_letter_is_seen_sent_again_and_then_handled_once(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    client.post(f"/api/runs/{run.id}/approve")
    fail_too_often(services, ENTITY)
    take(services, "pipeline/notify")

    (found,) = client.get("/api/dead-letters").json()["data"]
    (shown,) = found.pop("messages")
    assert found == {"entity": ENTITY, "count": 1, "problem": None}
    assert set(shown) == {"id", "subject", "reason", "description", "enqueued_at", "delivery_count"}
    assert shown["id"].startswith(f"{run.id}.approval.granted.{run.revision}.")
    assert shown["subject"] == "droptune.approval.granted.v1"
    assert shown["reason"] == "MaxDeliveryCountExceeded"
    assert shown["description"] == "the message was delivered 10 times, the maximum is 10"
    assert shown["delivery_count"] == 10

    answer = client.post("/api/dead-letters/replay", json={"entity": ENTITY})
    assert (answer.status_code, answer.json()) == (200, {"entity": ENTITY, "replayed": 1})
    assert client.get("/api/dead-letters").json() == {"data": [], "unreadable": []}
    (event,) = events_at(services, "record_decision")
    assert event.id == shown["id"]
    assert len(take(services, "pipeline/notify")) == 1, "a topic's copy reaches every subscription"
    assert Runner(services).handle(BY_NAME["record_decision"], event) is Handled.APPLIED
    assert Runner(services).handle(BY_NAME["record_decision"], event) is Handled.REPEATED
    moved = Runner(services).load(run.id)
    assert moved is not None
    assert moved.status is Status.APPROVED


def test_at_most_twenty_are_shown_and_all_are_counted_and_sent_again(client: TestClient, services: Services) -> None:
    ids = [f"m{n:03}" for n in range(60)]
    dead(services, *ids)
    for _ in range(2):  # looking changes nothing
        (found,) = client.get("/api/dead-letters").json()["data"]
        assert found["count"] == 60
        assert [message["id"] for message in found["messages"]] == ids[:20]
    assert client.post("/api/dead-letters/replay", json={"entity": QUEUE}).json()["replayed"] == 60
    again = take(services, QUEUE)
    assert [received.message.id for received in again] == ids
    assert {received.delivery_count for received in again} == {1}
    # Without what others added, which may be why it failed, and without our own counts.
    assert again[0].message == Message("m000", "Polled", b"{}", {REPLAYED: "1"})


def test_one_message_is_sent_again_and_the_others_stay(client: TestClient, services: Services) -> None:
    dead(services, *(f"m{n}" for n in range(55)))
    order = {"entity": QUEUE, "message_id": "m53"}
    assert client.post("/api/dead-letters/replay", json=order).json() == {"entity": QUEUE, "replayed": 1}
    assert [received.message.id for received in take(services, QUEUE)] == ["m53"]
    assert services.bus.depth(QUEUE + DEAD_LETTERS) == 54
    assert len(services.bus.receive(QUEUE + DEAD_LETTERS, max_messages=99, wait_s=0)) == 54, "none stays locked"


def test_an_entity_that_cannot_be_looked_at_is_named_beside_the_others(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a subscription that a new version has and the namespace has not yet."""
    dead(services, "m1")
    depth = services.bus.depth

    def depth_but_one(entity: str) -> int:
        if entity.startswith(ENTITY):
            raise PermanentFailure(FailureClass.PLATFORM, "entity_not_found", f"no {ENTITY}")
        return depth(entity)

    monkeypatch.setattr(services.bus, "depth", depth_but_one)
    found = {one["entity"]: (one["count"], one["problem"]) for one in client.get("/api/dead-letters").json()["data"]}
    assert found == {QUEUE: (1, None), ENTITY: (0, f"no {ENTITY}")}


def test_what_is_not_there_cannot_be_sent_again(client: TestClient, services: Services) -> None:
    dead(services, "m1")
    for order, code in (
        ({"entity": QUEUE, "message_id": "m2"}, "dead_letter_not_found"),
        ({"entity": "nowhere"}, "entity_not_found"),
        ({"entity": QUEUE + DEAD_LETTERS}, "entity_not_found"),
        ({"entity": "pipeline"}, "entity_not_found"),
    ):
        answer = client.post("/api/dead-letters/replay", json=order)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
    empty = client.post("/api/dead-letters/replay", json={"entity": ENTITY})
    assert (empty.status_code, empty.json()["replayed"]) == (200, 0)
    assert services.bus.depth(QUEUE + DEAD_LETTERS) == 1


def test_readers_see_and_operators_replay(client: TestClient, services: Services) -> None:
    with asking_as(client, "ada", READER, APPROVER):
        assert client.get("/api/dead-letters").status_code == 200
        answer = client.post("/api/dead-letters/replay", json={"entity": QUEUE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_needed")


def spoil(services: Services, run_id: str, **fields: Any) -> None:
    """Without `fields`: the whole run."""
    stored = services.store.get(run_id, "run")
    assert stored is not None
    content = {**stored.document["run"], **fields} if fields else {"of": "tomorrow"}
    services.store.batch(run_id, [Write("replace", "run", {**stored.document, "run": content})])


def test_a_run_that_cannot_be_read_is_named_released_and_its_data_may_come_again(
    client: TestClient, services: Services
) -> None:
    run, other = awaiting_approval(services), drop(services, Runner(services), "datasets/other/train.jsonl")
    assert other is not None
    spoil(services, run.id)
    answer = client.get(f"/api/runs/{run.id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unreadable_document")
    assert [each["id"] for each in client.get("/api/runs").json()["data"]] == [other.id]
    (named,) = client.get("/api/dead-letters").json()["unreadable"]
    assert (named["type"], named["partition"], named["id"]) == ("run", run.id, "run")

    order = {"partition": run.id, "id": "run"}
    released = client.post("/api/dead-letters/release", json=order).json()
    path = released["path"]
    assert released["run"] == run.id
    kept = orjson.loads(b"".join(services.blobs.read(path)))
    assert (kept["partition"], kept["document"]["run"]) == (run.id, {"of": "tomorrow"})
    assert client.get("/api/dead-letters").json()["unreadable"] == []
    shown = client.get(f"/api/runs/{run.id}").json()
    assert (shown["status"], shown["dataset"]["path"]) == ("failed", "datasets/shop/unknown")
    answer = client.post("/api/dead-letters/release", json=order)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "document_readable")
    answer = client.post("/api/dead-letters/release", json={"partition": "run-none", "id": "run"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "document_not_found")
    answer = client.post("/api/dead-letters/release", json={"partition": other.id, "id": "run"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "document_readable")
    assert client.get(f"/api/runs/{other.id}").status_code == 200
    with asking_as(client, "ada", READER, APPROVER):
        assert client.post("/api/dead-letters/release", json=order).status_code == 403


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", sorted(NON_TERMINAL - {Status.RECEIVED}))
def test_a_released_run_under_way_ends_as_failed_says_so_and_gives_back_what_it_held(
    client: TestClient, services: Services, curves: JobCurves, status: Status
) -> None:
    platform = Platform()
    curves.platform = platform  # type: ignore[assignment]
    run = drop(services, Runner(services))
    assert run is not None
    turn = claims.turn_claim("shop")
    claims.take(services.store, turn, run.id, services.clock.now())
    enter(services, run, status, recipe=RESOLVED, cancel_requested_by="ada")
    spoil(services, run.id, curated={"rows": "all"}, fingerprint=None)
    take(services, "pipeline/notify")
    with asking_as(client, "grace", OPERATOR):
        released = client.post("/api/dead-letters/release", json={"partition": run.id, "id": "run"}).json()
    assert released["run"] == run.id
    shown = client.get(f"/api/runs/{run.id}").json()
    assert (shown["status"], shown["error"]["failure_class"]) == ("failed", "code")
    assert shown["error"]["problem"]["code"] == "unreadable_document"
    assert f"grace released it, and it is kept as {released['path']}" in shown["error"]["problem"]["message"]
    assert (shown["curated"], shown["recipe"]["endpoint"], shown["cancel_requested_by"]) == (None, "shop", "ada")
    assert [line["status"] for line in shown["history"]] == ["received", status, "failed"]
    assert [event.short_type() for event in events_at(services, "notify")] == ["run.failed"]
    assert claims.read(services.store, turn) is None
    assert bool(platform.cancelled) == (status in NEXT_JOB)
    ports = replace(services, launcher=platform, models=platform)  # type: ignore[arg-type]
    release_claims(ports, Runner(ports).note_timer)
    assert [claim for claim in claims.unsettled(services.store) if claim.kind == "dataset"] == []
    kept = orjson.loads(b"".join(services.blobs.read(released["path"])))
    assert kept["document"]["run"]["curated"] == {"rows": "all"}


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_released_run_that_is_over_stays_as_it_ended(client: TestClient, services: Services, status: Status) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    over = enter(services, run, status, recipe=RESOLVED)
    spoil(services, run.id, verdict=5)
    take(services, "pipeline/notify")
    assert client.post("/api/dead-letters/release", json={"partition": run.id, "id": "run"}).json()["run"] == run.id
    shown = client.get(f"/api/runs/{run.id}").json()
    assert (shown["status"], shown["deadline_at"], shown["revision"]) == (status, None, over.revision + 1)
    assert "kept as quarantine/document-" in shown["history"][-1]["note"]
    assert events_at(services, "notify") == []


def test_a_run_that_was_repaired_meanwhile_is_not_released(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = awaiting_approval(services)
    document = services.store.get(run.id, "run")
    spoil(services, run.id, verdict=5)
    write = services.blobs.write

    def write_late(path: str, chunks: Any, **more: Any) -> Any:
        assert document is not None
        services.store.batch(run.id, [Write("replace", "run", document.document)])
        return write(path, chunks, **more)

    monkeypatch.setattr(services.blobs, "write", write_late)
    answer = client.post("/api/dead-letters/release", json={"partition": run.id, "id": "run"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "store_conflict")
    assert client.get(f"/api/runs/{run.id}").json()["status"] == "awaiting_approval"


OF_SHOP: dict[str, tuple[str, dict[str, Any]]] = {
    "an event of a run": (ENTITY, {"source": "/projects/shop"}),
    "a command": (
        STORAGE_EVENTS,
        {"source": "/droptune", "type": StartRun.wire_type, "data": {"path": "datasets/shop/a.jsonl", "etag": "1"}},
    ),
    "a blob of Event Grid": (
        STORAGE_EVENTS,
        {
            "source": "/subscriptions/s",
            "type": "Microsoft.Storage.BlobCreated",
            "subject": "/blobServices/default/containers/datasets/blobs/shop/a.jsonl",
        },
    ),
    "an event of a job": (QUEUE, {"source": "/subscriptions/s", "data": {"runId": "RUN-training-1"}}),
    "our look at a job": (
        QUEUE,
        {"source": "/droptune", "type": "droptune.job.inspect.v1", "data": {"job": "RUN-training-1", "poll": "1"}},
    ),
}


@pytest.mark.parametrize(("entity", "body"), OF_SHOP.values(), ids=OF_SHOP)
def test_dead_letters_of_a_project_are_its_members_and_administrators_only(
    client: TestClient, services: Services, entity: str, body: dict[str, Any]
) -> None:
    """Those of which nobody knows whose they are, administrators' only."""
    run = awaiting_approval(services)
    spoil(services, run.id)  # what is damaged says no less whose it is
    projects = {"shop": Project(readers=("rita",), operators=("ada",)), "bank": Project(owners=("bob", "rita"))}
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    text = json.dumps(body).replace("RUN", run.id).encode()
    bus, dead_letters = services.bus, entity + DEAD_LETTERS
    for name, content in (("of-shop", text), ("of-nobody", b"{"), ("of-other", b'{"source": "/projects/other"}')):
        bus.send(entity.split("/")[0], [Message(name, "droptune.approval.granted.v1", content)])
    fail_too_often(services, entity)

    def seen(person: str, *roles: str) -> tuple[list[str], int, int]:
        with asking_as(client, person, *roles):
            found = client.get("/api/dead-letters").json()
        [at] = [one for one in found["data"] if one["entity"] == entity] or [{"messages": [], "count": 0}]
        return [message["id"] for message in at["messages"]], at["count"], len(found["unreadable"])

    assert seen("bob") == ([], 0, 0)
    assert seen("object-1", READER, OPERATOR, APPROVER) == (["of-other"], 1, 0)
    assert seen("rita") == seen("ada") == (["of-shop"], 1, 1), "who owns another project too sees no more of this one"
    assert seen("root", ADMINISTRATOR) == (["of-shop", "of-nobody", "of-other"], 3, 1)

    order, document = {"entity": entity, "message_id": "of-shop"}, {"partition": run.id, "id": "run"}
    for person, roles in (("bob", ()), ("object-1", (READER, OPERATOR))):
        with asking_as(client, person, *roles):
            assert (
                client.post("/api/dead-letters/replay", json=order).json()["error"]["code"] == "dead_letter_not_found"
            )
            assert (
                client.post("/api/dead-letters/release", json=document).json()["error"]["code"] == "document_not_found"
            )
    with asking_as(client, "rita"):
        assert client.post("/api/dead-letters/release", json=document).json()["error"]["code"] == "role_needed"
    assert bus.depth(dead_letters) == 3
    with asking_as(client, "ada"):
        assert client.post("/api/dead-letters/replay", json={"entity": entity}).json()["replayed"] == 1
        assert client.post("/api/dead-letters/release", json=document).status_code == 200
    assert sorted(dead.message.id for dead in bus.peek(dead_letters, limit=9)) == ["of-nobody", "of-other"]
