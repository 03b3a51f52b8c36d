"""A decision about a candidate: who decided and how -> status, record, note and event."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.approval import candidate_sha256
from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    EvaluationPassed,
    EventData,
    ModelDeclined,
)
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.step_support.outcome import event_of
from shared.steps.record_decision import record_decision
from tests.unit.shared.support import RESULT, VERDICT

AT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
EXPIRED = "no decision by 2026-01-02T03:04:05+00:00"
PASSED = EvaluationPassed.of(RESULT, VERDICT)


def waiting(run: Run, requester_id: str | None = "bob") -> Run:
    changes = {
        "requester_id": requester_id,
        "uploader_ids": (requester_id,) if requester_id else None,
        "evaluation": RESULT,
        "verdict": VERDICT,
    }
    return run.evolve(status=Status.AWAITING_APPROVAL, attempt=2, **changes)


@pytest.mark.parametrize(
    ("data", "status", "decision", "note", "event"),
    [
        (ApprovalGranted(by="ada"), Status.APPROVED, (True, "ada", ""), "approved by ada", PASSED),
        (
            ApprovalGranted(by="ada", comment="good"),
            Status.APPROVED,
            (True, "ada", "good"),
            "approved by ada: good",
            PASSED,
        ),
        (
            ApprovalDenied(by="ada"),
            Status.DECLINED,
            (False, "ada", ""),
            "declined by ada",
            ModelDeclined(by="ada", comment=""),
        ),
        (
            ApprovalDenied(by="ada", comment="rude"),
            Status.DECLINED,
            (False, "ada", "rude"),
            "declined by ada: rude",
            ModelDeclined(by="ada", comment="rude"),
        ),
        (
            ApprovalExpired(deadline_at=AT),
            Status.DECLINED,
            (False, "deadline", EXPIRED),
            f"approval expired: {EXPIRED}",
            ModelDeclined(by="deadline", comment=EXPIRED),
        ),
    ],
    ids=["granted", "granted with a comment", "denied", "denied with a comment", "expired"],
)
def test_a_decision_is_kept_with_who_and_why(
    prepared: Run,
    services: Services,
    data: EventData,
    status: Status,
    decision: tuple[bool, str, str],
    note: str,
    event: EventData,
) -> None:
    run = waiting(prepared)
    if isinstance(data, ApprovalGranted):
        data = data.model_copy(update={"by_id": "ada", "candidate": candidate_sha256(run)})
    outcome = record_decision(event_of(run, data, AT), run, services)  # type: ignore[arg-type]
    granted, by, comment = decision
    decided = Decision(granted=granted, by=by, by_id="ada" if granted else "", at=AT, comment=comment)
    kept = {"decision": decided}
    assert (outcome.status, outcome.note) == (status, note)
    assert dict(outcome.changes) == (kept | {"attempt": 1, "approvals": (decided,)} if granted else kept)
    assert [draft.data for draft in outcome.events] == [event]


@pytest.mark.parametrize(
    ("by_id", "candidate", "code"),
    [
        ("bob", None, "self_approval"),
        ("", None, "unknown_person"),
        ("ada", "", "candidate_changed"),  # of an app that did not say what was looked at
        ("ada", "0" * 64, "candidate_changed"),
    ],
)
def test_an_approval_that_does_not_count_is_refused_here_too_whatever_the_route_let_through(
    prepared: Run, services: Services, by_id: str, candidate: str | None, code: str
) -> None:
    run = waiting(prepared)
    looked_at = candidate_sha256(run) if candidate is None else candidate
    event = event_of(run, ApprovalGranted(by="ada", by_id=by_id, candidate=looked_at), AT)
    outcome = record_decision(event, run, services)
    assert (outcome.status, outcome.changes, outcome.events) == (Status.AWAITING_APPROVAL, {}, ())
    assert outcome.note == f"{code}: approved by ada"


def test_one_person_does_not_count_twice(prepared: Run, services: Services) -> None:
    run = waiting(prepared, requester_id=None)
    granted = ApprovalGranted(by="ada", by_id="ada", candidate=candidate_sha256(run))
    first = record_decision(event_of(run, granted, AT), run, services)
    run = run.evolve(**first.changes)
    assert (first.status, len(run.approvals)) == (Status.AWAITING_APPROVAL, 1)
    again = record_decision(event_of(run, granted, AT), run, services)
    assert (again.status, again.note) == (Status.AWAITING_APPROVAL, "approved_already: approved by ada")
