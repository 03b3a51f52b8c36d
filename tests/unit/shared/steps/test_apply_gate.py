"""The gate's step: evaluation report x recipe -> status and event. What the gate checks: domain/test_evaluation.py."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from shared.domain import evaluation, paths
from shared.domain.errors import PermanentFailure
from shared.domain.evaluation import EvaluationResult, Gain, GradingError, Score, SliceScore
from shared.domain.events import (
    MAX_FAILED_CHECKS,
    ApprovalRequested,
    EvaluationCompleted,
    EvaluationFailed,
    EvaluationPassed,
    GateDecision,
)
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Deployment, Recipe
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.ports.bus import check
from shared.ports.store import checked_bodies
from shared.records import runs
from shared.records.blob_documents import write_model
from shared.runner import Runner
from shared.step_support.outcome import Outcome, event_of
from shared.steps.apply_gate import apply_gate
from shared.steps.notify import delivery
from tests.subscriptions import subscription
from tests.unit.shared.support import drop

Approval = Literal["automatic", "required"]


def score(mean: float, rows: int = 100) -> Score:
    return Score(mean=mean, low=mean - 0.05, high=mean + 0.05, rows=rows)


def report(gain: float, **changes: Any) -> EvaluationResult:
    return EvaluationResult.model_validate(
        {
            "base": score(0.1),
            "candidate": score(0.1 + gain),
            "champion": score(0.2),
            "gains": (Gain(over="base", mean=gain, low=gain - 0.1, high=gain + 0.1),),
            "answers_differ": 0.9,
            "template_sha256": "0" * 64,
            "base_template_sha256": "0" * 64,
            **changes,
        }
    )


BETTER, NO_BETTER, TOO_FEW = report(0.8), report(0.05), report(0.8, candidate=score(0.9, rows=19))


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created.evolve(status=Status.EVALUATING, attempt=2)


def applied(run: Run, services: Services, approval: Approval) -> Outcome:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(approval=approval))
    run = run.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    event = event_of(run, EvaluationCompleted(job="job-1"), run.updated_at)
    return apply_gate(event, run, services)


@pytest.mark.parametrize(
    ("result", "approval", "status", "data", "note", "attempt"),
    [
        (BETTER, "automatic", Status.APPROVED, EvaluationPassed, "", 1),
        (BETTER, "required", Status.AWAITING_APPROVAL, ApprovalRequested, "", None),
        (NO_BETTER, "automatic", Status.DECLINED, EvaluationFailed, "gate: gain_over_base", None),
        (NO_BETTER, "required", Status.DECLINED, EvaluationFailed, "gate: gain_over_base", None),
        (TOO_FEW, "automatic", Status.DECLINED, EvaluationFailed, "gate: min_rows", None),
    ],
    ids=["better", "better, a person decides", "no better", "no better, nobody is asked", "too few rows"],
)
def test_the_gate_decides_and_the_event_has_its_numbers(
    run: Run,
    services: Services,
    result: EvaluationResult,
    approval: Approval,
    status: Status,
    data: type[GateDecision],
    note: str,
    attempt: int | None,
) -> None:
    write_model(services.blobs, paths.run(run.id, "evaluation/report.json"), result)
    outcome = applied(run, services, approval)
    verdict = evaluation.gate_verdict(result, Recipe(base_model="droptune/tiny-llama").evaluation)
    assert (outcome.status, outcome.note) == (status, note)
    assert [draft.data for draft in outcome.events] == [data.of(result, verdict)]
    assert type(outcome.events[0].data) is data
    kept = {"evaluation": result, "verdict": verdict}
    assert dict(outcome.changes) == (kept if attempt is None else {**kept, "attempt": attempt})


def test_a_model_that_was_changed_while_it_was_evaluated_does_not_pass(run: Run, services: Services) -> None:
    write_model(services.blobs, paths.run(run.id, "evaluation/report.json"), BETTER)
    services.blobs.write(paths.run(run.id, "model/merged/model.safetensors"), [b"poisoned!"])
    with pytest.raises(PermanentFailure, match="model_changed"):
        applied(run.evolve(model_sha256="0" * 64), services, "automatic")


def sliced(value: str, count: int) -> EvaluationResult:
    worse = Gain(over="base", mean=-0.5, low=-0.6, high=-0.4)
    slices = [
        SliceScore(field="note", value=f"{value} {number}", rows=9, base=0.9, candidate=0.4, gain=worse)
        for number in range(count)
    ]
    error = GradingError(model="base", grader="g", code="c", message=value * 9, count=1, rows=(1,))
    return report(0.8, slices=slices, errors=(error,))


@pytest.mark.parametrize(
    ("value", "count"), [("a note", 1500), ("n" * 100_000, 250), ("\0" * 2500, 70), ("ü" * 2500, 200)]
)
def test_an_event_fits_into_a_message_and_a_run_into_a_document_whatever_an_evaluation_has(
    run: Run, services: Services, value: str, count: int
) -> None:
    """A container image of one's own may write any report."""
    write_model(services.blobs, paths.run(run.id, "evaluation/report.json"), sliced(value, count))
    outcome = applied(run, services, "automatic")
    [draft] = outcome.events
    assert isinstance(draft.data, EvaluationFailed)
    assert (draft.data.checks, draft.data.failed_checks) == (count + 6, count + 1)
    assert len(draft.data.failed) == MAX_FAILED_CHECKS
    check(delivery(event_of(run, draft.data, run.updated_at).to_cloudevent(), subscription()))
    checked_bodies([runs.creation(run.evolve(**outcome.changes))])


@pytest.mark.parametrize("text", [None, b"{}", b"not json"], ids=["none", "other fields", "no JSON"])
def test_an_evaluation_without_a_readable_report_is_refused_by_name(
    run: Run, services: Services, text: bytes | None
) -> None:
    if text is not None:
        services.blobs.write(paths.run(run.id, "evaluation/report.json"), [text])
    with pytest.raises(PermanentFailure, match="no_evaluation" if text is None else "unreadable_document"):
        applied(run, services, "automatic")
