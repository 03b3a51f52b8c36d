"""A person decided about a candidate that passed the gate, or the time for it is over."""

from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    EvaluationPassed,
    Event,
    ModelDeclined,
)
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.step_support.outcome import Draft, Outcome


def record_decision(
    event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired], run: Run, services: Services
) -> Outcome:
    decision = _decision(event)
    # Also in the note: an approval that was about other numbers does not stay the run's decision.
    comment = f": {decision.comment}" if decision.comment else ""
    if not decision.granted:
        declined = Draft(ModelDeclined(by=decision.by, comment=decision.comment))
        expired = isinstance(event.data, ApprovalExpired)
        note = "approval expired" if expired else f"declined by {decision.by}"
        return Outcome(Status.DECLINED, {"decision": decision}, (declined,), note=note + comment)
    assert run.evaluation is not None
    assert run.verdict is not None
    passed = Draft(EvaluationPassed.of(run.evaluation, run.verdict))
    note = f"approved by {decision.by}{comment}"
    return Outcome(Status.APPROVED, {"decision": decision, "attempt": 1}, (passed,), note=note)


def _decision(event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired]) -> Decision:
    if isinstance(event.data, ApprovalExpired):
        comment = f"no decision by {event.data.deadline_at.isoformat(timespec='seconds')}"
        return Decision(granted=False, by="deadline", at=event.time, comment=comment)
    granted = isinstance(event.data, ApprovalGranted)
    return Decision(granted=granted, by=event.data.by, at=event.time, comment=event.data.comment)
