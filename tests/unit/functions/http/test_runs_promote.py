"""promote: the model of a run that ended goes into production again, once another person approves it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from functions.http.auth import LOCAL_USER
from shared.domain import paths
from shared.domain.run import Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.records import endpoints
from shared.runner import Handled, Runner
from shared.step_support.candidate import model_sha256
from tests.unit.functions.http.support import RESOLVED, awaiting_approval, enter, in_production
from tests.unit.functions.http.test_runs_commands import COMMENT, after_decision, code_of
from tests.unit.shared.support import RESULT, VERDICT, drop, events_at


def user(name: str) -> dict[str, str]:
    return {LOCAL_USER: name}


def ended(services: Services, status: Status) -> Run:
    """A run whose candidate passed the gate, at its end."""
    return enter(services, awaiting_approval(services), status)


def reopened(services: Services, run: Run) -> Run:
    (event,) = events_at(services, "reopen")
    assert Runner(services).handle(BY_NAME["reopen"], event) is Handled.APPLIED
    moved = Runner(services).load(run.id)
    assert moved is not None
    return moved


@pytest.mark.parametrize("status", [Status.DEPLOYED, Status.DECLINED, Status.ROLLED_BACK])
def test_a_model_that_passed_waits_for_approval_again_and_then_rolls_out(
    client: TestClient, services: Services, status: Status
) -> None:
    run = ended(services, status)
    answer = client.post(f"/api/runs/{run.id}/promote", json=COMMENT, headers=user("bob"))
    assert answer.status_code == 202
    assert answer.json()["verdict"]["passed"] is True
    assert answer.json()["evaluation"]["candidate"] == RESULT.candidate.model_dump()
    waiting = reopened(services, run)
    assert (waiting.status, waiting.rollout, waiting.champion) == (Status.AWAITING_APPROVAL, None, None)
    assert waiting.deadline_at is not None
    assert waiting.history[-1].note == "requested by bob: checked by hand"
    own = client.post(f"/api/runs/{run.id}/approve", headers=user("bob"))
    assert code_of(own) == (403, "self_approval")
    assert client.post(f"/api/runs/{run.id}/approve", headers=user("grace")).status_code == 202
    approved = after_decision(services, run)
    assert approved.status is Status.APPROVED
    assert approved.decision is not None
    assert approved.decision.by == "grace"


def test_what_it_would_replace_is_what_is_in_production_now(client: TestClient, services: Services) -> None:
    run = ended(services, Status.DEPLOYED)
    champion = in_production(services).champion
    assert client.post(f"/api/runs/{run.id}/promote").status_code == 202
    assert reopened(services, run).champion == champion


@pytest.mark.parametrize("status", [Status.AWAITING_APPROVAL, Status.FAILED, Status.CANCELLED])
def test_a_run_that_has_not_ended_with_a_verdict_is_refused(
    client: TestClient, services: Services, status: Status
) -> None:
    run = enter(services, awaiting_approval(services), status)
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "run_not_finished")


def test_a_candidate_that_did_not_pass_the_gate_is_refused(client: TestClient, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    failed = VERDICT.model_copy(update={"passed": False})
    enter(services, run, Status.DECLINED, recipe=RESOLVED, evaluation=RESULT, verdict=failed)
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "gate_not_passed")


def test_the_model_in_production_is_not_promoted_again(client: TestClient, services: Services) -> None:
    run = ended(services, Status.DEPLOYED)
    record = in_production(services)
    endpoints.write(services.store, record.model_copy(update={"champion": run.id}), replacing=record)
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "in_production")


def test_the_model_before_it_comes_back_by_a_rollback(client: TestClient, services: Services) -> None:
    run = ended(services, Status.DEPLOYED)
    record = in_production(services)
    assert record.previous is not None
    warm = record.previous.model_copy(update={"champion": run.id})
    endpoints.write(services.store, record.model_copy(update={"previous": warm}), replacing=record)
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "previous_is_warm")


def test_a_model_whose_files_changed_is_refused(client: TestClient, services: Services) -> None:
    run = awaiting_approval(services)
    enter(services, run, Status.DEPLOYED, model_sha256=model_sha256(run, services.blobs))
    services.blobs.write(paths.run(run.id, "model/merged/model.safetensors"), [b"other"])
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "model_changed")


def test_two_requests_are_one(client: TestClient, services: Services) -> None:
    run = ended(services, Status.DECLINED)
    for _ in range(2):
        assert client.post(f"/api/runs/{run.id}/promote").status_code == 202
    first, second = events_at(services, "reopen")
    assert first.id == second.id
    handled = [Runner(services).handle(BY_NAME["reopen"], event) for event in (first, second)]
    assert handled == [Handled.APPLIED, Handled.REPEATED]
    assert code_of(client.post(f"/api/runs/{run.id}/promote")) == (409, "run_not_finished")
