"""The gate: may the candidate replace what is in production? And what a person decides about one that passed it."""

from shared.domain import evaluation, paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult
from shared.domain.events import (
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    EvaluationCompleted,
    EvaluationFailed,
    EvaluationPassed,
    Event,
    ModelDeclined,
    PromotionRequested,
)
from shared.domain.run import Decision, Run, RunChanges, Status
from shared.ports import Services
from shared.records import claims, endpoints, policies
from shared.records.blob_documents import read_model
from shared.step_support.candidate import approvals_missing, objection, require_same_model
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import require_allowed


def apply_gate(event: Event[EvaluationCompleted], run: Run, services: Services) -> Outcome:
    result = read_model(services.blobs, paths.run(run.id, "evaluation/report.json"), EvaluationResult)
    if result is None:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", "the evaluation job wrote no report")
    require_same_model(run, services.blobs)
    verdict = evaluation.gate_verdict(result, run.resolved.requested.evaluation)
    changes = RunChanges(evaluation=result, verdict=verdict)
    if not verdict.passed:
        failed = [check.name for check in verdict.checks if check.blocks]
        draft = Draft(EvaluationFailed.of(result, verdict))
        return Outcome(Status.DECLINED, changes, (draft,), note=f"gate: {', '.join(failed)}")
    if run.resolved.requested.deployment.approval == "required":
        # A person may take days. Others are evaluated meanwhile; `deploy_model` sees if one of them was promoted.
        claims.release(services.store, claims.turn_claim(run.resolved.endpoint), run.id)
        return Outcome(Status.AWAITING_APPROVAL, changes, (Draft(ApprovalRequested.of(result, verdict)),))
    # A new stage begins with its first attempt.
    approved = Outcome(Status.APPROVED, changes, (Draft(EvaluationPassed.of(result, verdict)),))
    return approved.with_changes(attempt=1)


def record_decision(
    event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired], run: Run, services: Services
) -> Outcome:
    """A person decided about a candidate that passed the gate, or the time for it is over.

    Raises PermanentFailure `model_changed`; as `require_allowed`.
    """
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


def reopen(event: Event[PromotionRequested], run: Run, services: Services) -> Outcome:
    """A person wants the model of a run that ended, and whose candidate passed the gate, in production again.

    Raises PermanentFailure `promotion_void` if it is in production; as `require_allowed`, `require_same_model`.
    """
    record = endpoints.read(services.store, run.resolved.endpoint)
    if record is not None and record.champion == run.id:
        message = f"{run.id} is in production at {record.endpoint}"
        raise PermanentFailure(FailureClass.PLATFORM, "promotion_void", message, record.endpoint)
    require_allowed(run, services)
    require_same_model(run, services.blobs)
    assert run.evaluation is not None
    assert run.verdict is not None
    changes = RunChanges(
        approvals=(),
        decision=None,
        rollout=None,
        champion=record.champion if record else None,  # what it would replace, so that it is not measured again
        promotion_requester_id=event.data.by_id,
    )
    comment = f": {event.data.comment}" if event.data.comment else ""
    requested = Draft(ApprovalRequested.of(run.evaluation, run.verdict))
    return Outcome(Status.AWAITING_APPROVAL, changes, (requested,), note=f"requested by {event.data.by}{comment}")


def _decision(event: Event[ApprovalGranted | ApprovalDenied | ApprovalExpired]) -> Decision:
    if isinstance(event.data, ApprovalExpired):
        comment = f"no decision by {event.data.deadline_at.isoformat(timespec='seconds')}"
        return Decision(granted=False, by="deadline", at=event.time, comment=comment)
    granted, who = isinstance(event.data, ApprovalGranted), event.data.model_dump(include={"by", "by_id", "by_as"})
    return Decision(granted=granted, at=event.time, comment=event.data.comment, **who)
