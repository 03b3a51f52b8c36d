"""What routes read of a run: its training job's curves and how far it is."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from functions.http.run_queries import CURVES, CURVES_OF_METHOD, metrics_of, progress_of
from shared.api.models import Metrics, Progress
from shared.domain.jobs import JobKind, MetricPoint
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import JobRef, Run
from shared.ports import Services
from shared.runner import Runner
from tests.unit.functions.http.support import JobCurves
from tests.unit.shared.support import drop


@pytest.fixture
def run(services: Services) -> Run:
    """A run with two training jobs and an evaluation after them."""
    created = drop(services, Runner(services))
    assert created is not None
    kinds = (JobKind.TRAINING, JobKind.TRAINING, JobKind.EVALUATION)
    jobs = [
        JobRef(name=f"job-{number}", kind=kind, attempt=number, submitted_at=created.created_at)
        for number, kind in enumerate(kinds, 1)
    ]
    return created.evolve(jobs=tuple(jobs))


def curves(**values: float) -> JobCurves:
    """Each of these curves with one point at step 3; all others are empty."""
    found = JobCurves()
    found.of = lambda key: [MetricPoint(step=3, value=values[key], at=0)] if key in values else []
    return found


@pytest.mark.parametrize(
    ("logged", "progress"),
    [
        ({"step_total": 9.0, "eta_s": 6.5}, Progress(step=3, total_steps=9, eta_s=6.5)),
        ({}, None),
        ({"step_total": 9.0}, None),
        ({"eta_s": 6.5}, None),
        ({"step_total": nan, "eta_s": 6.5}, None),
        ({"step_total": 9.0, "eta_s": inf}, None),
    ],
    ids=str,
)
def test_progress_is_known_once_both_numbers_are_logged_and_finite(
    run: Run, logged: dict[str, float], progress: Progress | None
) -> None:
    assert progress_of(run, curves(**logged)) == progress


def test_a_run_that_was_not_trained_has_neither_progress_nor_curves(run: Run) -> None:
    evaluated = run.evolve(jobs=run.jobs[2:])
    assert progress_of(evaluated, curves(step_total=9.0, eta_s=6.5)) is None
    assert metrics_of(evaluated, curves(train_loss=1.0)) == Metrics()


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ({"type": "supervised"}, ()),
        ({"type": "dpo"}, CURVES_OF_METHOD["dpo"]),
    ],
)
def test_the_curves_are_those_of_the_newest_training_job_and_of_its_method(
    run: Run, method: dict[str, Any], more: tuple[str, ...]
) -> None:
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "method": method})
    resolved = resolve(recipe, "shop", train_rows=100, characters_max=100)
    found = metrics_of(run.evolve(recipe=resolved), curves(train_loss=1.5))
    assert found.job == "job-2"
    assert set(found.series) == {*CURVES, *more}
    assert {name: points for name, points in found.series.items() if points} == {"train_loss": [(3, 1.5)]}
