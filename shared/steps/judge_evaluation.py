"""evaluating -> approved or declined: the gate."""

from __future__ import annotations

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult, judge
from shared.domain.events import EvaluationCompleted, EvaluationFailed, EvaluationPassed
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.steps import paths
from shared.steps.blobs import read_model
from shared.steps.outcome import Fact, Outcome


def judge_evaluation(event: EvaluationCompleted, run: Run, services: Services) -> Outcome:
    assert run.recipe is not None
    result = read_model(services.blobs, paths.run(run.id, "evaluation/report.json"), EvaluationResult)
    if result is None:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", "the evaluation job wrote no report")
    verdict = judge(result, run.recipe.recipe.evaluation.gate)
    failed = [check.name for check in verdict.checks if not check.passed]
    return Outcome(
        status=Status.APPROVED if verdict.passed else Status.DECLINED,
        changes={"evaluation": result, "verdict": verdict},
        facts=(
            Fact(
                EvaluationPassed if verdict.passed else EvaluationFailed,
                base=result.base,
                candidate=result.candidate,
                champion=result.champion,
                gains=result.gains,
                verdict=verdict,
            ),
        ),
        note="" if verdict.passed else f"gate: {', '.join(failed)}",
    )
