"""Lists of the API beside one item whose document is broken in any way: the others are there, and it is named."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from shared.ports import Services, Write
from shared.records import endpoints, outbox, runs
from shared.runner import Runner
from tests.unit.functions.http.support import in_production
from tests.unit.functions.isolation import emptied, of_other_types, without_time_zones
from tests.unit.shared.support import ROW, drop

COUNT = 6


class Item(NamedTuple):
    """What a list calls an item, and where its document lies."""

    name: str
    partition: str
    id: str


def some_runs(client: TestClient, services: Services) -> list[Item]:
    made = [drop(services, Runner(services), f"datasets/project{n}/train.jsonl") for n in range(COUNT)]
    return [Item(run.id, run.id, runs.RUN) for run in made if run is not None]


def some_endpoints(client: TestClient, services: Services) -> list[Item]:
    made = [in_production(services, name=f"endpoint{n}").endpoint for n in range(COUNT)]
    return [Item(name, f"endpoint:{name}", endpoints.RECORD) for name in made]


def some_events(client: TestClient, services: Services) -> list[Item]:
    """Of the run that was dropped first."""
    run = drop(services, Runner(services))
    assert run is not None
    [entry] = services.store.list_partition(run.id, outbox.OUTBOX)
    found = []
    for n in range(COUNT):
        name = f"e-{n}"
        copy = {**entry.document, "id": name, "message_id": name, "body": {**entry.document["body"], "id": name}}
        services.store.batch(run.id, [Write("create", name, copy)])
        found.append(Item(name, run.id, name))
    return found


def some_files(client: TestClient, services: Services) -> list[Item]:
    answers = [
        client.post("/v1/files", files={"file": (f"f{n}.jsonl", ROW)}, data={"purpose": "fine-tune"})
        for n in range(COUNT)
    ]
    return [Item(answer.json()["id"], answer.json()["id"], "file") for answer in answers]


def some_jobs(client: TestClient, services: Services) -> list[Item]:
    file = some_files(client, services)[0].name
    made = [
        client.post("/v1/fine_tuning/jobs", json={"training_file": file, "model": "droptune/tiny-llama", "seed": n})
        for n in range(COUNT)
    ]
    return [Item(answer.json()["id"], answer.json()["id"], "fine_tuning_job") for answer in made]


class Listed(NamedTuple):
    """`path`: with the victim's partition as `{}`."""

    make: Callable[[TestClient, Services], list[Item]]
    path: str
    name: str


LISTS = {
    "runs": Listed(some_runs, "/api/runs", "id"),
    "endpoints": Listed(some_endpoints, "/api/endpoints", "endpoint"),
    "events": Listed(some_events, "/api/runs/{}/events", "id"),
    "files": Listed(some_files, "/v1/files", "id"),
    "jobs": Listed(some_jobs, "/v1/fine_tuning/jobs", "id"),
}


def of_texts(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name == "created_at" else str(value) for name, value in document.items()}


def deep(document: dict[str, Any]) -> dict[str, Any]:
    return {name: {"a": {"b": [value]}} if isinstance(value, dict) else value for name, value in document.items()}


def inside(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The change to what the document holds."""
    return lambda document: {
        name: change(value) if isinstance(value, dict) else value for name, value in document.items()
    }


def of_another(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "id": "run-000000000001"}


def huge(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: huge(each) for name, each in value.items()}
    return 2**70 if isinstance(value, int) and not isinstance(value, bool) else value


BREAKS: dict[str, Callable[[Any], Any]] = {
    "emptied inside": inside(lambda content: {}),
    "of other types inside": inside(lambda content: {name: [value] for name, value in content.items()}),
    "nothing inside": inside(lambda content: dict.fromkeys(content)),
    "more inside": inside(lambda content: {**content, "more": {"a": 1}}),
    "huge numbers inside": inside(huge),
    "with the id of another": inside(of_another),
    "of a later version": lambda document: {**document, "schema_version": 99},
    "emptied": emptied,
    "of other types": of_other_types,
    "without time zones": without_time_zones,
    "texts": of_texts,
    "deep": deep,
    "large": lambda document: {**document, "created_at": document["created_at"], "more": "x" * 1_000_000},
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_all_others_and_shows_or_names_the_one_that_is_broken(
    client: TestClient, services: Services, name: str, how: str
) -> None:
    listed = LISTS[name]
    items = listed.make(client, services)
    victim = random.Random(name + how).choice(items)
    stored = services.store.get(victim.partition, victim.id)
    assert stored is not None
    kept = {field: stored.document[field] for field in ("id", "type", "created_at")}
    broken = {**BREAKS[how](stored.document), **kept}
    services.store.batch(victim.partition, [Write("replace", victim.id, broken)])
    answer = client.get(listed.path.format(victim.partition))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    shown = {item[listed.name] for item in found["data"]} & {item.name for item in items}
    assert {item.name for item in items} - {victim.name} <= shown
    left_out = [(one["partition"], one["id"]) for one in found["unreadable"]]
    assert left_out == ([] if victim.name in shown else [(victim.partition, victim.id)])


OPENAI_ROUTES = {
    "files": (("GET", "/v1/files/{}"), ("GET", "/v1/files/{}/content"), ("DELETE", "/v1/files/{}")),
    "jobs": (
        ("GET", "/v1/fine_tuning/jobs/{}"),
        ("GET", "/v1/fine_tuning/jobs/{}/events"),
        ("GET", "/v1/fine_tuning/jobs/{}/checkpoints"),
        ("POST", "/v1/fine_tuning/jobs/{}/cancel"),
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("name", OPENAI_ROUTES)
def test_an_object_of_openai_that_is_broken_is_shown_or_said_to_be_unreadable_and_can_be_released(
    client: TestClient, services: Services, name: str, how: str
) -> None:
    victim, *_ = LISTS[name].make(client, services)
    stored = services.store.get(victim.partition, victim.id)
    assert stored is not None
    kept = {field: stored.document[field] for field in ("id", "type", "created_at")}
    services.store.batch(victim.partition, [Write("replace", victim.id, {**BREAKS[how](stored.document), **kept})])
    answers = [client.request(method, path.format(victim.name)) for method, path in OPENAI_ROUTES[name]]
    assert all(answer.status_code < 500 or answer.json()["error"]["code"] == "later_version" for answer in answers)
    codes = {answer.json()["error"]["code"] if answer.status_code >= 409 else None for answer in answers}
    codes = {None if code == "job_not_received" else code for code in codes}
    assert codes in ({None}, {"unreadable_document"}, {"later_version"}), codes
    release = client.post("/api/dead-letters/release", json={"partition": victim.partition, "id": victim.id})
    if codes == {"later_version"}:
        assert (release.status_code, release.json()["error"]["code"]) == (400, "later_version")
    elif codes != {None}:
        assert release.status_code == 200
        assert client.get(f"{LISTS[name].path}/{victim.name}").status_code == 404
    else:
        assert release.status_code in (400, 404)


def test_a_job_whose_run_cannot_be_read_is_named_in_the_list(client: TestClient, services: Services) -> None:
    first, *others = some_jobs(client, services)
    services.store.batch(first.name, [Write("create", runs.RUN, {"id": runs.RUN, "type": runs.RUN, "run": [5]})])
    answer = client.get("/v1/fine_tuning/jobs").json()
    assert {job["id"] for job in answer["data"]} == {item.name for item in others}
    assert [(one["type"], one["partition"], one["id"]) for one in answer["unreadable"]] == [("run", first.name, "run")]
