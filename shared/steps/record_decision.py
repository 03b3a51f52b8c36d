"""A person decided about a candidate that passed the gate, or the time for it is over."""

from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    EvaluationPassed,
    Event,
    ModelDeclined,
)
from shared.domain.run import Decision, Run, RunChanges, Status
from shared.ports import Services
from shared.records import policies
from shared.step_support.candidate import approvals_missing, objection, require_same_model
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import require_allowed


def record_decision(
    event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired], run: Run, services: Services
) -> Outcome:
    """Raises PermanentFailure `model_changed`; as `require_allowed`."""
    decision = _decision(event)
    policy = policies.read(services.store).policy
    # Also in the note: an approval that was about other numbers does not stay the run's decision.
    comment = f": {decision.comment}" if decision.comment else ""
    if not isinstance(event.data, ApprovalExpired) and not policy.membership(run.project, "approver", event.data.by_as):
        return Outcome(Status.AWAITING_APPROVAL, note=f"not_an_approver: {decision.by}{comment}")
    if not decision.granted:
        declined = Draft(ModelDeclined(by=decision.by, comment=decision.comment))
        expired = isinstance(event.data, ApprovalExpired)
        note = "approval expired" if expired else f"declined by {decision.by}"
        return Outcome(Status.DECLINED, {"decision": decision}, (declined,), note=note + comment)
    assert isinstance(event.data, ApprovalGranted)
    assert run.evaluation is not None
    assert run.verdict is not None
    note = f"approved by {decision.by}{comment}"
    if (problem := objection(run, decision.by_id, event.data.candidate, policy)) is not None:
        # Here too, whatever the route looked at: this is what the rollout goes by.
        return Outcome(Status.AWAITING_APPROVAL, note=f"{problem.code}: {note}")
    require_allowed(run, services)
    require_same_model(run, services.blobs)
    passed = Draft(EvaluationPassed.of(run.evaluation, run.verdict))
    run = run.evolve(approvals=(*run.approvals, decision))
    if missing := approvals_missing(run, policy):
        more = f"{note}; {missing} more must approve"
        return Outcome(Status.AWAITING_APPROVAL, {"approvals": run.approvals}, note=more)
    changes = RunChanges(approvals=run.approvals, decision=decision, attempt=1)
    return Outcome(Status.APPROVED, changes, (passed,), note=note)


def _decision(event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired]) -> Decision:
    if isinstance(event.data, ApprovalExpired):
        comment = f"no decision by {event.data.deadline_at.isoformat(timespec='seconds')}"
        return Decision(granted=False, by="deadline", at=event.time, comment=comment)
    granted, who = isinstance(event.data, ApprovalGranted), event.data.model_dump(include={"by", "by_id", "by_as"})
    return Decision(granted=granted, at=event.time, comment=event.data.comment, **who)
