"""approve, deny, retry: what a person may order, and who may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from fastapi.testclient import TestClient

from functions.http.auth import APPROVER, OPERATOR, READER
from shared.domain import paths
from shared.domain.commands import parse_request
from shared.domain.errors import FailureClass
from shared.domain.evaluation import Verdict
from shared.domain.events import ApprovalDenied, ApprovalGranted, StageRefused, parse_event
from shared.domain.run import Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.runner import Handled, Runner
from shared.step_support.candidate import candidate_sha256, model_sha256
from shared.step_support.outcome import Draft
from shared.steps.receive_dataset import receive_dataset
from tests.unit.functions.http.support import asking_as, awaiting_approval, enter
from tests.unit.shared.support import drop, events_at, take

COMMENT = {"comment": "checked by hand"}


def after_decision(services: Services, run: Run) -> Run:
    """The run once its stage has handled what is on the topic."""
    (event,) = events_at(services, "record_decision")
    assert Runner(services).handle(BY_NAME["record_decision"], event) is Handled.APPLIED
    moved = Runner(services).load(run.id)
    assert moved is not None
    return moved


def code_of(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]  # type: ignore[attr-defined]


def test_an_approval_moves_the_run_on_and_keeps_who_and_why(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    answer = client.post(f"/api/runs/{run.id}/approve", json=COMMENT)
    assert (answer.status_code, answer.json()) == (202, {"id": run.id, "missing": 0})
    approved = after_decision(services, run)
    assert approved.status is Status.APPROVED
    assert approved.decision is not None
    assert (approved.decision.granted, approved.decision.by, approved.decision.comment) == (
        True,
        "local",
        "checked by hand",
    )
    (event,) = events_at(services, "deploy_model")
    assert event.short_type() == "evaluation.passed"
    assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (409, "not_awaiting_approval")


def test_a_denial_ends_the_run_declined(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    assert client.post(f"/api/runs/{run.id}/deny", json=COMMENT).status_code == 202
    denied = after_decision(services, run)
    assert denied.status is Status.DECLINED
    assert denied.decision is not None
    assert (denied.decision.granted, denied.decision.comment) == (False, "checked by hand")
    assert code_of(client.post(f"/api/runs/{run.id}/deny")) == (409, "not_awaiting_approval")


def test_the_events_of_a_run_have_each_decision_that_counts_and_no_other(
    client: TestClient, services: Services
) -> None:
    services.clock.moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)  # type: ignore[attr-defined]
    run, runner = awaiting_approval(services, requested_by=None), Runner(services)
    # Past the route, as in a race: an approval of something else.
    runner.publish(
        run, Draft(ApprovalGranted(by="eve", by_id="eve", by_as=("approver",), candidate="0" * 64), key="eve")
    )
    for person in ("ada", "grace"):
        with asking_as(client, person, APPROVER):
            assert client.post(f"/api/runs/{run.id}/approve", json={"comment": f"of {person}"}).status_code == 202
    for event in events_at(services, "record_decision"):
        assert runner.handle(BY_NAME["record_decision"], event) is Handled.APPLIED
    other = awaiting_approval(services, text=b"other")
    with asking_as(client, "ada", APPROVER):
        client.post(f"/api/runs/{other.id}/deny", json=COMMENT)
    after_decision(services, other)
    found = [
        (event["type"].split(".", 1)[1], event["time"], *map(event["data"].get, ("by_id", "comment", "candidate")))
        for one in (run, other)
        for event in client.get(f"/api/runs/{one.id}/events").json()["data"]
        if event["type"].startswith("droptune.approval.")
    ]
    at, candidate = "2026-01-02T03:04:00Z", candidate_sha256(run)
    assert found == [
        ("approval.granted.v1", at, "ada", "of ada", candidate),
        ("approval.granted.v1", at, "grace", "of grace", candidate),
        ("approval.denied.v1", at, "ada", "checked by hand", candidate_sha256(other)),
    ]
    services.clock.moment += timedelta(minutes=1)  # type: ignore[attr-defined]
    assert runner.publish_all_unsent().failed == {}
    assert events_at(services, "record_decision") == [], "what is in the log was sent, and is not sent again"


def test_a_decision_needs_no_comment_and_a_double_click_is_one(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    for _ in range(2):
        assert client.post(f"/api/runs/{run.id}/approve").status_code == 202
    first, second = events_at(services, "record_decision")
    assert first.id == second.id
    assert isinstance(first.data, ApprovalGranted)
    assert first.data.comment == ""
    assert Runner(services).handle(BY_NAME["record_decision"], first) is Handled.APPLIED
    assert Runner(services).handle(BY_NAME["record_decision"], second) is Handled.REPEATED


def test_of_two_decisions_the_first_handled_holds(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    client.post(f"/api/runs/{run.id}/deny")
    client.post(f"/api/runs/{run.id}/approve")
    denied, granted = events_at(services, "record_decision")
    assert isinstance(denied.data, ApprovalDenied)
    assert Runner(services).handle(BY_NAME["record_decision"], denied) is Handled.APPLIED
    assert Runner(services).handle(BY_NAME["record_decision"], granted) is Handled.IGNORED


@pytest.mark.parametrize("order", ["approve", "deny"])
def test_only_a_run_that_waits_can_be_decided(client: TestClient, services: Services, order: str) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    assert code_of(client.post(f"/api/runs/{run.id}/{order}")) == (409, "not_awaiting_approval")
    assert code_of(client.post(f"/api/runs/run-000000000000/{order}")) == (404, "run_not_found")
    too_long = client.post(f"/api/runs/{run.id}/{order}", json={"comment": "x" * 2001})
    assert code_of(too_long) == (400, "bad_request")
    assert events_at(services, "record_decision") == []


def test_whoever_asked_for_a_run_may_not_approve_it(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services, requested_by="ada@contoso.example")
    with asking_as(client, "ada@contoso.example", APPROVER):
        assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (403, "self_approval")
        assert events_at(services, "record_decision") == []
        assert client.post(f"/api/runs/{run.id}/deny").status_code == 202
    with asking_as(client, "grace@contoso.example", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").status_code == 202
    granted = events_at(services, "record_decision")[-1]
    assert isinstance(granted.data, ApprovalGranted)
    assert granted.data.by == "grace@contoso.example"


@pytest.mark.parametrize("order", ["approve", "deny"])
def test_an_app_decides_about_no_candidate(client: TestClient, services: Services, order: str) -> None:
    run = awaiting_approval(services)
    with asking_as(client, "alice's script", APPROVER, is_person=False):
        assert code_of(client.post(f"/api/runs/{run.id}/{order}")) == (403, "unknown_person")
    assert events_at(services, "record_decision") == []


def test_on_a_laptop_too_somebody_else_approves(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services, requested_by="local")
    assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (403, "self_approval")
    assert client.post(f"/api/runs/{run.id}/approve", headers={"x-droptune-user": "bob"}).status_code == 202


def test_a_run_that_nobody_known_asked_for_needs_two_persons(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services, requested_by=None)
    with asking_as(client, "ada", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").json()["missing"] == 1
        waiting = after_decision(services, run)
        assert (waiting.status, waiting.deadline_at) == (Status.AWAITING_APPROVAL, run.deadline_at)
        assert waiting.history[-1].note == "approved by ada; 1 more must approve"
        assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (403, "approved_already")
    with asking_as(client, "grace", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").json()["missing"] == 0
    approved = after_decision(services, run)
    assert approved.status is Status.APPROVED
    assert [(one.by, one.by_id) for one in approved.approvals] == [("ada", "ada"), ("grace", "grace")]


def test_approvals_of_two_persons_at_once_both_count(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services, requested_by=None)
    for name in ("ada", "grace"):
        with asking_as(client, name, APPROVER):
            assert client.post(f"/api/runs/{run.id}/approve").status_code == 202
    for event in events_at(services, "record_decision"):
        assert Runner(services).handle(BY_NAME["record_decision"], event) is Handled.APPLIED
    approved = Runner(services).load(run.id)
    assert approved is not None
    assert approved.status is Status.APPROVED


@pytest.mark.parametrize(("requested_by", "missing"), [("ada@contoso.example", 2), (None, 2)])
def test_the_policy_says_how_many_persons_approve(
    client: TestClient, services: Services, requested_by: str | None, missing: int
) -> None:
    applied = client.put("/api/policy?replacing=0", json={"approvers": 3, "approvers_if_unknown": 1})
    assert (applied.status_code, applied.json()["version"]) == (200, 1)
    run = awaiting_approval(services, requested_by=requested_by)
    with asking_as(client, "grace", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").json()["missing"] == missing


def test_a_run_that_waits_goes_on_once_the_policy_asks_for_as_many_as_have_approved(
    client: TestClient, services: Services
) -> None:
    client.put("/api/policy?replacing=0", json={"approvers": 2})
    run = awaiting_approval(services, requested_by="ada@contoso.example")
    with asking_as(client, "grace", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").json()["missing"] == 1
        assert after_decision(services, run).status is Status.AWAITING_APPROVAL
        assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (403, "approved_already")
    assert client.put("/api/policy?replacing=1", json={"approvers": 1}).status_code == 200
    with asking_as(client, "grace", APPROVER):
        assert client.post(f"/api/runs/{run.id}/approve").json() == {"id": run.id, "missing": 0}
    assert after_decision(services, run).status is Status.APPROVED


def test_a_model_whose_files_changed_after_its_evaluation_cannot_be_approved(
    client: TestClient, services: Services
) -> None:
    run = awaiting_approval(services)
    path = paths.run(run.id, "model/merged/model.safetensors")
    services.blobs.write(path, [b"evaluated"])
    run = enter(services, run, Status.AWAITING_APPROVAL, model_sha256=model_sha256(run, services.blobs))
    client.post(f"/api/runs/{run.id}/approve")
    services.blobs.write(path, [b"poisoned!"])
    assert code_of(client.post(f"/api/runs/{run.id}/approve")) == (409, "model_changed")
    (event,) = events_at(services, "record_decision")
    assert Runner(services).handle(BY_NAME["record_decision"], event) is Handled.REFUSED
    (refused,) = events_at(services, "fail_run")
    assert isinstance(refused.data, StageRefused)
    assert (refused.data.failure_class, refused.data.problem.code) == (FailureClass.DATA, "model_changed")


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_run_that_changed_since_it_was_looked_at_is_not_decided_on(
    client: TestClient, services: Services, decision: str
) -> None:
    run = awaiting_approval(services)
    seen = client.get(f"/api/runs/{run.id}").headers["ETag"]
    enter(services, run, Status.AWAITING_APPROVAL, verdict=Verdict(passed=True, checks=()))
    refused = client.post(f"/api/runs/{run.id}/{decision}", headers={"If-Match": seen})
    assert code_of(refused) == (412, "run_changed")
    assert events_at(services, "record_decision") == []
    for accepted in ("*", client.get(f"/api/runs/{run.id}").headers["ETag"]):
        assert client.post(f"/api/runs/{run.id}/{decision}", headers={"If-Match": accepted}).status_code == 202


def test_an_approval_of_another_candidate_is_void(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    client.post(f"/api/runs/{run.id}/approve")
    enter(services, run, Status.AWAITING_APPROVAL, verdict=Verdict(passed=True, checks=()))
    waiting = after_decision(services, run)
    assert (waiting.status, waiting.approvals) == (Status.AWAITING_APPROVAL, ())
    assert waiting.history[-1].note == "candidate_changed: approved by local"


@pytest.mark.parametrize(
    ("order", "roles"),
    [("approve", (READER, OPERATOR)), ("deny", (READER, OPERATOR)), ("retry", (READER, APPROVER))],
)
def test_each_order_has_its_role(client: TestClient, services: Services, order: str, roles: tuple[str, ...]) -> None:
    run = awaiting_approval(services)
    with asking_as(client, "ada", *roles):
        assert code_of(client.post(f"/api/runs/{run.id}/{order}")) == (403, "role_needed")


def test_a_run_asked_for_keeps_who_asked(client: TestClient, services: Services) -> None:
    services.blobs.write("datasets/shop/train.jsonl", [b"{}\n"])
    with asking_as(client, "ada", OPERATOR):
        answer = client.post("/api/runs", json={"dataset": "shop/train.jsonl"})
    run = received(services)
    assert (run.id, run.requested_by, run.parent_run) == (answer.json()["id"], "ada", None)


def received(services: Services) -> Run:
    """The run of the one command that waits."""
    [sent] = take(services, "storage-events")
    reception = receive_dataset(parse_request(orjson.loads(sent.message.body)), services)
    assert reception is not None
    return Runner(services).create(reception, sent.message.id, sent.message.subject)


@pytest.mark.parametrize("ended", [Status.FAILED, Status.DECLINED, Status.REJECTED, Status.CANCELLED])
def test_a_retry_is_a_new_run_of_the_same_file_and_so_is_the_next(
    client: TestClient, services: Services, ended: Status
) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    enter(services, run, ended)
    ids = [run.id]
    for _ in range(3):
        with asking_as(client, "ada", OPERATOR):
            answer = client.post(f"/api/runs/{run.id}/retry")
        assert answer.status_code == 202
        child = received(services)
        assert child.id == answer.json()["id"]
        assert (child.status, child.parent_run, child.requested_by) == (Status.RECEIVED, run.id, "ada")
        assert child.dataset.path == run.dataset.path
        ids.append(child.id)
    assert len(set(ids)) == 4


def test_a_retry_after_the_same_file_was_put_again_is_no_duplicate_of_the_first(
    client: TestClient, services: Services
) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    enter(services, run, Status.FAILED)
    client.post(f"/api/runs/{run.id}/retry")
    received(services)
    services.blobs.write(run.dataset.path, list(services.blobs.read(run.dataset.path)))
    client.post(f"/api/runs/{run.id}/retry")
    assert received(services).status is Status.RECEIVED


def test_a_retry_asked_twice_before_it_exists_is_one_run(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    enter(services, run, Status.FAILED)
    first, second = (client.post(f"/api/runs/{run.id}/retry").json()["id"] for _ in range(2))
    assert first == second


def test_the_longest_file_name_can_be_tried_again(client: TestClient, services: Services) -> None:
    name = "t" * 122 + ".jsonl"
    assert client.put(f"/api/datasets/shop/{name}", content=b"{}").status_code == 201
    assert client.post("/api/runs", json={"dataset": f"shop/{name}"}).status_code == 202
    run = received(services)
    enter(services, run, Status.FAILED)
    assert client.post(f"/api/runs/{run.id}/retry").status_code == 202
    assert received(services).parent_run == run.id


def test_a_run_that_cannot_be_tried_again_says_why(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    assert code_of(client.post(f"/api/runs/{run.id}/retry")) == (409, "run_not_finished")
    enter(services, run, Status.DEPLOYED)
    assert code_of(client.post(f"/api/runs/{run.id}/retry")) == (409, "run_deployed")
    assert code_of(client.post("/api/runs/run-000000000000/retry")) == (404, "run_not_found")


def test_a_retry_of_a_file_that_is_gone_is_404(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    enter(services, run, Status.FAILED)
    services.blobs.delete(run.dataset.path)
    assert code_of(client.post(f"/api/runs/{run.id}/retry")) == (404, "dataset_gone")
    assert take(services, "storage-events") == []


def test_the_events_of_a_decision_read_back(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    client.post(f"/api/runs/{run.id}/approve", json=COMMENT)
    (message,) = take(services, "pipeline/notify")[-1:]
    assert message.message.subject == "droptune.approval.granted.v1"
    assert parse_event(orjson.loads(message.message.body)).run_id == run.id
