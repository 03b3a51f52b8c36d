"""The gate: may the candidate replace what is in production?"""

from shared.domain import evaluation, paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult
from shared.domain.events import ApprovalRequested, EvaluationCompleted, EvaluationFailed, EvaluationPassed, Event
from shared.domain.run import Run, RunChanges, Status
from shared.ports import Services
from shared.records import claims
from shared.records.blob_documents import read_model
from shared.step_support.candidate import require_same_model
from shared.step_support.outcome import Draft, Outcome


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
