"""`/api/runs`: exact statuses and error codes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from functions.http import runs as routes
from functions.http.auth import READER, Access, Caller
from shared.domain import paths
from shared.domain.errors import BlobNotFound, DroptuneError, FailureClass, PermanentFailure, Transient
from shared.domain.events import CancelRequested
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services, Write
from shared.records import outbox, runs
from shared.runner import Handled, Runner
from shared.step_support.outcome import event_of
from tests.unit.shared.support import drop, events_at, take


@pytest.fixture
def run(services: Services) -> Run:
    created = drop(services, Runner(services))
    assert created is not None
    return created


def test_a_run_is_shown_with_status_and_history(client: TestClient, run: Run) -> None:
    answer = client.get(f"/api/runs/{run.id}")
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"1"'
    body = answer.json()
    assert (body["id"], body["status"]) == (run.id, "received")
    assert [line["status"] for line in body["history"]] == ["received"]


@pytest.mark.parametrize(("part", "code"), [("report", "no_report"), ("evaluation", "no_evaluation")])
def test_what_a_run_has_not_reached_yet_is_404(client: TestClient, run: Run, part: str, code: str) -> None:
    answer = client.get(f"/api/runs/{run.id}/{part}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermanentFailure(FailureClass.PLATFORM, "blob_refused", "403"), 502),
        (Transient("blob_busy", "503"), 503),
        (BlobNotFound("runs/r/report.json"), 404),
    ],
)
@pytest.mark.parametrize("part", ["report", "evaluation/rows"])
def test_what_a_service_refuses_to_a_reader_is_no_fault_of_the_app(
    client: TestClient,
    services: Services,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    error: DroptuneError,
    status: int,
    part: str,
) -> None:
    services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [b""])

    def refuse(path: str, **options: Any) -> Iterator[bytes]:
        raise error

    monkeypatch.setattr(services.blobs, "read", refuse)
    answer = client.get(f"/api/runs/{run.id}/{part}")
    found = (404, "no_report") if (status, part) == (404, "report") else (status, error.problem.code)
    assert (answer.status_code, answer.json()["error"]["code"]) == found


def test_metrics_of_a_run_without_a_job_are_empty(client: TestClient, run: Run) -> None:
    assert client.get(f"/api/runs/{run.id}/metrics").json() == {"job": None, "series": {}, "progress": None}


def test_events_are_cloudevents_in_order(client: TestClient, run: Run) -> None:
    (event,) = client.get(f"/api/runs/{run.id}/events").json()["data"]
    assert (event["type"], event["subject"]) == ("droptune.dataset.uploaded.v1", run.id)


def test_runs_are_listed_newest_first_in_pages_and_by_filter(client: TestClient, services: Services) -> None:
    ids = list[str]()
    for number in range(3):
        created = drop(services, Runner(services), f"datasets/shop/{number}.jsonl", b"%d\n" % number)
        assert created is not None
        ids.insert(0, created.id)
    first = client.get("/api/runs", params={"limit": 2}).json()
    second = client.get("/api/runs", params={"limit": 2, "after": first["next"]}).json()
    assert [r["id"] for r in first["data"] + second["data"]] == ids
    assert second["next"] is None
    assert client.get("/api/runs", params={"project": "other"}).json()["data"] == []
    assert len(client.get("/api/runs", params={"status": "received"}).json()["data"]) == 3


def test_a_long_poll_answers_304_when_nothing_changes(client: TestClient, run: Run) -> None:
    answer = client.get(f"/api/runs/{run.id}", params={"wait_s": 0.3}, headers={"if-none-match": '"1"'})
    assert answer.status_code == 304


def test_a_long_poll_answers_as_soon_as_the_run_changes(client: TestClient, services: Services, run: Run) -> None:
    event = event_of(run, CancelRequested(by="someone"), run.updated_at)
    move = threading.Timer(0.3, lambda: Runner(services).handle(BY_NAME["cancel_run"], event))
    move.start()
    answer = client.get(f"/api/runs/{run.id}", params={"wait_s": 30}, headers={"if-none-match": '"1"'})
    move.join()
    assert answer.json()["status"] == "cancelled"


def test_sixteen_who_wait_at_once_leave_room_for_sixteen_more(
    client: TestClient, api: FastAPI, services: Services, run: Run
) -> None:
    """An instance gets 16 requests at once (infra/modules/app.bicep), and waiting ones may be all of them."""

    async def ask() -> tuple[list[int], list[str]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url=str(client.base_url)) as caller:
            url, headers = f"/api/runs/{run.id}", {"if-none-match": '"1"'}
            waiting = [asyncio.create_task(caller.get(url, params={"wait_s": 60}, headers=headers)) for _ in range(16)]
            others = await asyncio.gather(*(caller.get("/api/runs") for _ in range(16)))
            assert not any(one.done() for one in waiting)
            event = event_of(run, CancelRequested(by="someone"), run.updated_at)
            Runner(services).handle(BY_NAME["cancel_run"], event)
            answers = await asyncio.gather(*waiting)
            return [one.status_code for one in others], [one.json()["status"] for one in answers]

    assert asyncio.run(ask()) == ([200] * 16, ["cancelled"] * 16)


def test_the_more_a_caller_waits_for_the_less_often_each_request_looks_and_nobody_else_notices(
    services: Services, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: dict[str, list[float]] = {"many": [], "one": []}

    async def wait(name: str) -> None:
        access = Access(Caller(name, frozenset({READER}), id=name), READER, PlatformPolicy)
        with pytest.raises(TimeoutError):
            await routes.get_run(run.id, Response(), access, services, wait_s=60, if_none_match='"1"')

    async def pause(seconds: float) -> None:
        paused[asyncio.current_task().get_name()].append(seconds)  # type: ignore[union-attr]
        if sum(map(len, paused.values())) == 21:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 60)
        raise TimeoutError

    async def all_wait() -> None:
        tasks = [asyncio.create_task(wait(name), name=name) for name in ["many"] * 20 + ["one"]]
        await asyncio.gather(*tasks)

    everybody = asyncio.Event()
    loop = asyncio.get_running_loop
    monkeypatch.setattr(routes, "asyncio", SimpleNamespace(sleep=pause, get_running_loop=loop))
    asyncio.run(all_wait())
    assert paused == {"many": [0.25] * 4 + [0.25 * number / 4 for number in range(5, 21)], "one": [0.25]}
    assert routes._waiting.total() == 0


def test_cancel_asks_and_a_finished_run_cannot_be_cancelled(client: TestClient, services: Services, run: Run) -> None:
    assert client.post(f"/api/runs/{run.id}/cancel").status_code == 202
    (event,) = events_at(services, "cancel_run")
    assert isinstance(event.data, CancelRequested)
    assert event.data.by == "local"
    assert Runner(services).handle(BY_NAME["cancel_run"], event) is Handled.APPLIED
    answer = client.post(f"/api/runs/{run.id}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "run_finished")


def test_a_run_can_be_asked_for_by_name_and_the_id_is_known_at_once(client: TestClient, services: Services) -> None:
    services.blobs.write("datasets/shop/train.jsonl", [b"{}\n"])
    answer = client.post("/api/runs", json={"dataset": "shop/train.jsonl"})
    assert answer.status_code == 202
    assert answer.json()["id"].startswith("run-")
    assert len(take(services, "storage-events")) == 1
    gone = client.post("/api/runs", json={"dataset": "shop/gone.jsonl"})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "dataset_not_found")


def test_another_machine_or_page_is_refused_where_no_authentication_is_configured(client: TestClient) -> None:
    foreign_host = client.get("/api/runs", headers={"host": "droptune.example"})
    assert (foreign_host.status_code, foreign_host.json()["error"]["code"]) == (403, "not_loopback")
    foreign_page = client.post("/api/runs", json={"dataset": "a/b"}, headers={"origin": "https://evil.example"})
    assert (foreign_page.status_code, foreign_page.json()["error"]["code"]) == (403, "foreign_origin")


def test_a_cancelled_run_is_terminal(client: TestClient, run: Run) -> None:
    assert not run.terminal
    assert run.evolve(status=Status.CANCELLED).terminal


def test_a_run_that_cannot_be_read_is_named_in_the_list_and_refused_alone(
    client: TestClient, services: Services, run: Run
) -> None:
    other = run.evolve(id="run-000000000001")
    services.store.batch(other.id, [Write("create", runs.RUN, {**runs.document_of(other), "run": {}})])
    listed = client.get("/api/runs").json()
    why = "ValidationError: it does not fit this version"
    left_out = {"type": "run", "partition": other.id, "id": "run", "problem": why}
    assert ([one["id"] for one in listed["data"]], listed["unreadable"]) == ([run.id], [left_out])
    answer = client.get(f"/api/runs/{other.id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "unreadable_document")


def test_a_run_of_a_later_version_is_for_another_host_to_answer(
    client: TestClient, services: Services, run: Run
) -> None:
    later = {**runs.document_of(run), "schema_version": 2}
    services.store.batch(run.id, [Write("replace", runs.RUN, later)])
    answer = client.get(f"/api/runs/{run.id}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "later_version")


def test_the_events_of_a_run_are_there_though_it_or_one_of_them_cannot_be_read(
    client: TestClient, services: Services, run: Run
) -> None:
    facts = client.get(f"/api/runs/{run.id}/events").json()
    assert (len(facts["data"]), facts["unreadable"]) == (1, [])
    [entry] = services.store.list_partition(run.id, outbox.OUTBOX)
    body = {**entry.document["body"], "id": "e-9", "time": "soon"}
    spoiled = {**entry.document, "id": "e-9", "message_id": "e-9", "body": body}
    services.store.batch(run.id, [Write("create", "e-9", spoiled)])
    services.store.batch(run.id, [Write("replace", runs.RUN, {**runs.document_of(run), "run": {}})])
    answer = client.get(f"/api/runs/{run.id}/events").json()
    assert answer["data"] == facts["data"]
    assert [(each["type"], each["partition"], each["id"]) for each in answer["unreadable"]] == [
        ("outbox", run.id, "e-9")
    ]
    missing = client.get("/api/runs/run-none/events")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "run_not_found")


def test_who_waits_for_a_run_sees_that_a_timer_fails_with_it_and_that_it_does_not_any_more(
    client: TestClient, services: Services, run: Run
) -> None:
    """The revision stays, the ETag does not."""
    seen = [client.get(f"/api/runs/{run.id}")]
    for problem in ("down: 503", None):
        Runner(services).note_timer(run.id, "reconcile", problem)
        etag = seen[-1].headers["etag"]
        seen.append(client.get(f"/api/runs/{run.id}", params={"wait_s": 60}, headers={"if-none-match": etag}))
    assert [answer.status_code for answer in seen] == [200, 200, 200]
    assert [each["problem"] for each in seen[1].json()["attention"]] == ["down: 503"]
    assert seen[2].json() == seen[0].json()
