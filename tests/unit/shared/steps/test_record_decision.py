"""A decision about a candidate: who decided and how -> status, record, note and event."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

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
    run = prepared.evolve(status=Status.AWAITING_APPROVAL, evaluation=RESULT, verdict=VERDICT, attempt=2)
    outcome = record_decision(event_of(run, data, AT), run, services)  # type: ignore[arg-type]
    granted, by, comment = decision
    kept = {"decision": Decision(granted=granted, by=by, at=AT, comment=comment)}
    assert (outcome.status, outcome.note) == (status, note)
    assert dict(outcome.changes) == (kept | {"attempt": 1} if granted else kept)
    assert [draft.data for draft in outcome.events] == [event]
