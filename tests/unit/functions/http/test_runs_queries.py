"""What routes read of a run: its training job's curves and how far it is."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import pytest
from fastapi.testclient import TestClient

from functions.http.auth import READER
from functions.http.runs import CURVES, CURVES_OF_METHOD, metrics_of, progress_of
from shared.api.models import Metrics, Progress
from shared.domain.commands import BlobCreated
from shared.domain.jobs import JobKind, MetricPoint
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.recipe import Recipe
from shared.domain.run import JobRef, Run
from shared.ports import Services
from shared.records import policies, waits
from shared.runner import Runner
from shared.steps.receive_dataset import receive_dataset
from tests.unit.functions.http.support import JobCurves, asking_as
from tests.unit.shared.support import ROW, drop


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


def test_a_run_that_waits_for_a_place_in_its_project_says_so_until_it_is_there(
    client: TestClient, services: Services
) -> None:
    run_id = client.put("/api/datasets/shop/train.jsonl", content=ROW).json()["run_id"]
    again_at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    waits.note(services.store, run_id, waits.Wait("shop", "2 runs of shop are being validated or trained", again_at))
    for method, path in (("GET", ""), ("GET", "/events"), ("GET", "/report"), ("POST", "/cancel")):
        answer = client.request(method, f"/api/runs/{run_id}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "run_waits")
        assert "2 runs of shop are" in answer.json()["error"]["message"]
        assert "at 2026-01-02T03:04:00+00:00" in answer.json()["error"]["message"]
    policies.apply(services.store, PlatformPolicy(projects={"shop": Project()}), 0, "root", "root", again_at)
    with asking_as(client, "ada", READER):
        answer = client.get(f"/api/runs/{run_id}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "run_not_found")
    reception = receive_dataset(BlobCreated(id="e", path="datasets/shop/train.jsonl"), services)
    assert reception is not None
    assert Runner(services).create(reception, "e", BlobCreated.wire_type).id == run_id
    assert client.get(f"/api/runs/{run_id}").status_code == 200
    assert client.put("/api/datasets/shop/recipe.yaml", content=ROW).json()["run_id"] is None
