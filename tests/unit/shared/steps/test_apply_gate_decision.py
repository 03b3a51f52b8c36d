"""A decision about a candidate: who decided and how -> status, record, note and event."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.errors import PermanentFailure
from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    EvaluationPassed,
    EventData,
    ModelDeclined,
)
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.records import policies
from shared.step_support.candidate import candidate_sha256
from shared.step_support.outcome import event_of
from shared.steps.apply_gate import record_decision
from tests.unit.shared.support import RESULT, VERDICT

AT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
EXPIRED = "no decision by 2026-01-02T03:04:05+00:00"
AS = ("approver",)
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
        (ApprovalGranted(by="ada", by_as=AS), Status.APPROVED, (True, "ada", ""), "approved by ada", PASSED),
        (
            ApprovalGranted(by="ada", by_as=AS, comment="good"),
            Status.APPROVED,
            (True, "ada", "good"),
            "approved by ada: good",
            PASSED,
        ),
        (
            ApprovalDenied(by="ada", by_as=AS),
            Status.DECLINED,
            (False, "ada", ""),
            "declined by ada",
            ModelDeclined(by="ada", comment=""),
        ),
        (
            ApprovalDenied(by="ada", by_as=AS, comment="rude"),
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
    decided = Decision(
        granted=granted,
        by=by,
        by_id="ada" if by == "ada" and granted else "",
        by_as=AS if by == "ada" else (),
        at=AT,
        comment=comment,
    )
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
    event = event_of(run, ApprovalGranted(by="ada", by_as=AS, by_id=by_id, candidate=looked_at), AT)
    outcome = record_decision(event, run, services)
    assert (outcome.status, outcome.changes, outcome.events) == (Status.AWAITING_APPROVAL, {}, ())
    assert outcome.note == f"{code}: approved by ada"


def test_one_person_does_not_count_twice(prepared: Run, services: Services) -> None:
    run = waiting(prepared, requester_id=None)
    granted = ApprovalGranted(by="ada", by_as=AS, by_id="ada", candidate=candidate_sha256(run))
    first = record_decision(event_of(run, granted, AT), run, services)
    run = run.evolve(**first.changes)
    assert (first.status, len(run.approvals)) == (Status.AWAITING_APPROVAL, 1)
    again = record_decision(event_of(run, granted, AT), run, services)
    assert (again.status, again.note) == (Status.AWAITING_APPROVAL, "approved_already: approved by ada")


def test_the_approval_of_who_is_no_approver_any_more_does_not_count(prepared: Run, services: Services) -> None:
    run = waiting(prepared, requester_id=None)
    for version, members in enumerate((["eve", "sam", "sue"], ["sam", "sue"])):
        rules = PlatformPolicy.model_validate({"projects": {run.project: {"approvers": members}}})
        policies.apply(services.store, rules, version, "root", "root", AT)
        person = members[0]
        granted = ApprovalGranted(by=person, by_as=(person,), by_id=person, candidate=candidate_sha256(run))
        outcome = record_decision(event_of(run, granted, AT), run, services)
        assert (outcome.status, outcome.note) == (
            Status.AWAITING_APPROVAL,
            f"approved by {person}; 1 more must approve",
        )
        run = run.evolve(**outcome.changes)
    granted = ApprovalGranted(by="sue", by_as=("sue",), by_id="sue", candidate=candidate_sha256(run))
    assert record_decision(event_of(run, granted, AT), run, services).status is Status.APPROVED


@pytest.mark.parametrize(
    ("by_as", "approvers", "counts"),
    [
        (("approver",), None, True),
        (("operator", "owner"), None, False),
        ((), None, False),
        (("approver",), ["grace"], False),
        (("ada",), ["grace"], False),
        (("ada",), ["ada"], True),
        (("group:clinicians",), ["group:clinicians"], True),
        (("group:clinicians",), ["group:nurses"], False),
    ],
)
@pytest.mark.parametrize("kind", [ApprovalGranted, ApprovalDenied])
def test_who_is_no_approver_by_the_policy_of_now_decides_nothing(
    prepared: Run,
    services: Services,
    kind: type[ApprovalGranted | ApprovalDenied],
    by_as: tuple[str, ...],
    approvers: list[str] | None,
    counts: bool,
) -> None:
    run = waiting(prepared)
    if approvers:
        policy = PlatformPolicy.model_validate({"projects": {"shop": {"approvers": approvers}}})
        policies.apply(services.store, policy, 0, "root", "root", AT)
    decision = kind(by="ada", by_id="ada", by_as=by_as, candidate=candidate_sha256(run))
    outcome = record_decision(event_of(run, decision, AT), run, services)
    if not counts:
        assert (outcome.status, outcome.changes, outcome.events) == (Status.AWAITING_APPROVAL, {}, ())
        assert outcome.note == "not_an_approver: ada"
    else:
        assert outcome.status is (Status.APPROVED if kind is ApprovalGranted else Status.DECLINED)


def test_a_candidate_whose_endpoint_went_to_another_project_is_not_approved(prepared: Run, services: Services) -> None:
    policy = PlatformPolicy.model_validate({"projects": {"bank": {"endpoints": ["shop"]}}})
    policies.apply(services.store, policy, 0, "root", "root", AT)
    run = waiting(prepared)
    granted = ApprovalGranted(by="ada", by_id="ada", by_as=AS, candidate=candidate_sha256(run))
    with pytest.raises(PermanentFailure, match="endpoint_of_another_project"):
        record_decision(event_of(run, granted, AT), run, services)
