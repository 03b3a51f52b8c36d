"""awaiting_approval -> approved or declined: a person decided, or nobody did in time."""

from __future__ import annotations

from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    EvaluationPassed,
    ModelDeclined,
)
from shared.domain.run import Decision, Run, Status
from shared.ports import Services
from shared.step_support.outcome import Fact, Outcome
from shared.steps.judge_evaluation import verdict_fact


def record_decision(event: ApprovalGranted | ApprovalDenied | ApprovalExpired, run: Run, services: Services) -> Outcome:
    decision = _decision(event)
    if not decision.granted:
        fact = Fact(ModelDeclined, by=decision.by, comment=decision.comment)
        expired = isinstance(event, ApprovalExpired)
        note = f"approval expired: {decision.comment}" if expired else f"declined by {decision.by}"
        return Outcome(Status.DECLINED, {"decision": decision}, (fact,), note=note)
    assert run.evaluation is not None
    assert run.verdict is not None
    fact = verdict_fact(EvaluationPassed, run.evaluation, run.verdict)
    return Outcome(Status.APPROVED, {"decision": decision, "attempt": 1}, (fact,), note=f"approved by {decision.by}")


def _decision(event: ApprovalGranted | ApprovalDenied | ApprovalExpired) -> Decision:
    if isinstance(event, ApprovalExpired):
        comment = f"nobody decided by {event.deadline_at.isoformat(timespec='seconds')}"
        return Decision(granted=False, by="nobody", at=event.time, comment=comment)
    granted = isinstance(event, ApprovalGranted)
    return Decision(granted=granted, by=event.by, at=event.time, comment=event.comment)
