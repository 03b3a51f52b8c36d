"""evaluating -> approved, awaiting_approval or declined: the gate."""

from __future__ import annotations

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult, Verdict, judge
from shared.domain.events import (
    ApprovalRequested,
    EvaluationCompleted,
    EvaluationFailed,
    EvaluationPassed,
    Event,
)
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records.blob_documents import read_model
from shared.step_support.outcome import Fact, Outcome


def judge_evaluation(event: EvaluationCompleted, run: Run, services: Services) -> Outcome:
    assert run.recipe is not None
    result = read_model(services.blobs, paths.run(run.id, "evaluation/report.json"), EvaluationResult)
    if result is None:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", "the evaluation job wrote no report")
    verdict = judge(result, run.recipe.requested.evaluation.gate)
    changes = {"evaluation": result, "verdict": verdict}
    if not verdict.passed:
        failed = [check.name for check in verdict.checks if check.blocks]
        fact = verdict_fact(EvaluationFailed, result, verdict)
        return Outcome(Status.DECLINED, changes, (fact,), note=f"gate: {', '.join(failed)}")
    if run.recipe.requested.deployment.approval == "required":
        fact = verdict_fact(ApprovalRequested, result, verdict)
        return Outcome(Status.AWAITING_APPROVAL, changes, (fact,))
    # A new stage begins with its first attempt.
    fact = verdict_fact(EvaluationPassed, result, verdict)
    return Outcome(Status.APPROVED, {**changes, "attempt": 1}, (fact,))


def verdict_fact(event: type[Event], result: EvaluationResult, verdict: Verdict) -> Fact:
    """The gate's decision with its numbers."""
    return Fact(
        event,
        base=result.base,
        candidate=result.candidate,
        champion=result.champion,
        gains=result.gains,
        verdict=verdict,
    )
