"""What a training job measured, on its way from result.json into the run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.domain import paths
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import PermanentFailure
from shared.domain.events import TrainingCompleted
from shared.domain.jobs import JobSpec, JobStatus, JobView
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import JobMetrics, JobResult
from shared.domain.run import Run
from shared.ports import Services
from shared.records import claims, endpoints, runs
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.submit_evaluation import evaluate_in_turn, submit_evaluation
from tests.unit.shared.support import CURATED, drop

MEASURED = JobMetrics(
    last_step=9,
    total_steps=10,
    seconds=60.5,
    processed_tokens=1000,
    dropped_rows=1,
    truncated_rows=2,
    selection_rows=8,
    canaries=2,
    first_train_loss=3.5,
    train_loss=0.5,
    eval_loss=0.75,
    measures={"eval_reward": 0.25},
    best_step=8,
    stopped="early",
    micro_batch_size=4,
    predicted_peak_bytes=5,
    measured_peak_bytes=6,
    merged_agreement=0.875,
    diagnosis=("Overfit.",),
)


class Launcher:
    """A platform that takes every job."""

    def submit(self, spec: JobSpec) -> JobView:
        return JobView(name=spec.name, status=JobStatus.QUEUED)


def test_the_run_keeps_every_figure_of_its_training_job(services: Services, runner: Runner) -> None:
    assert {name for name, value in MEASURED if value == JobMetrics.model_fields[name].default} == set()
    run = drop(services, runner)
    assert run is not None
    recipe = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)
    run = run.model_copy(update={"recipe": recipe, "curated": CURATED})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    result = JobResult(job="job-1", status="completed", metrics=MEASURED, finished_at=now)
    services.blobs.write(paths.run(run.id, "result.json"), [result.model_dump_json().encode()])
    completed = TrainingCompleted(job="job-1", train_loss=0.5, eval_loss=0.75, processed_tokens=1000, seconds=60.5)
    event = event_of(run, completed, now)
    ports = replace(services, launcher=Launcher())  # type: ignore[arg-type]
    outcome = submit_evaluation(event, run, ports)
    assert outcome is not None
    assert outcome.changes["training"] == MEASURED
    kept = Run.model_construct(**{**dict(run), **outcome.changes}).model_dump(mode="json")["training"]
    assert JobMetrics.model_validate(kept) == MEASURED


def test_every_run_that_is_evaluated_is_an_attempt_at_the_held_out_rows(prepared: Run, services: Services) -> None:
    """Whatever comes of it. A run that asks again, after a crash say or for its next job, is the attempt it was."""
    submitted: list[str] = []

    class Kept(Launcher):
        def submit(self, spec: JobSpec) -> JobView:
            submitted.append(spec.command)
            return super().submit(spec)

    ports = replace(services, launcher=Kept())  # type: ignore[arg-type]
    assert prepared.curated is not None
    later = prepared.curated.model_copy(update={"eval_sha256": "e" * 64})
    runs_of_project = [
        prepared,
        prepared.evolve(id="run-000000000002"),
        prepared.evolve(id="run-000000000003", curated=later),
        prepared.evolve(id="run-000000000004", project="other"),
        prepared.evolve(id="run-000000000002"),  # its first write was lost
        prepared.evolve(id="run-000000000005"),
        prepared.evolve(id="run-000000000006", held_out_attempt=9),
    ]
    completed = TrainingCompleted(job="job-1", train_loss=0.5, eval_loss=0.75, processed_tokens=1000, seconds=60.5)
    found = []
    for run in runs_of_project:
        outcome = evaluate_in_turn(event_of(run, completed, services.clock.now()), run, ports)
        found.append(outcome.changes["held_out_attempt"])
        claims.release(services.store, claims.turn_claim(run.resolved.endpoint), run.id)
    assert found == [1, 2, 1, 1, 2, 3, 9]
    assert [command.rpartition("--attempt ")[2] for command in submitted] == [str(number) for number in found]
    assert {claim.kind for claim in claims.unsettled(services.store)} == {"dataset"}  # attempts are kept for good


def test_nothing_is_measured_against_a_champion_whose_files_were_changed(prepared: Run, services: Services) -> None:
    """A model that answers nothing would let every candidate pass."""
    stored = runs.read(services.store, prepared.id)
    assert stored is not None
    now, champion = services.clock.now(), prepared.evolve(model_sha256="0" * 64)
    services.store.batch(champion.id, [runs.replacement(champion, stored)])
    names = {"endpoint": "shop", "project": "shop", "champion": champion.id, "deployment": "d", "model": "shop:1"}
    endpoints.write(services.store, EndpointRecord(**names, scoring_uri="http://x/", promoted_at=now), replacing=None)
    run = prepared.evolve(id="run-0123456789ab")
    completed = TrainingCompleted(job="job-1", train_loss=0.5, eval_loss=0.75, processed_tokens=1000, seconds=60.5)
    ports = replace(services, launcher=Launcher())  # type: ignore[arg-type]
    with pytest.raises(PermanentFailure, match=f"model_changed: the files of the model of {champion.id} "):
        evaluate_in_turn(event_of(run, completed, now), run, ports)
