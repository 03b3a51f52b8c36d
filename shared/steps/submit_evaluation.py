"""training -> evaluating: base, candidate and the model in production answer the held-out set."""

from __future__ import annotations

from shared.domain import catalogue
from shared.domain.cost import CostEstimate
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import EvaluationStarted, TrainingCompleted
from shared.domain.jobs import JobSpec
from shared.domain.results import JobResult
from shared.domain.run import JobRef, Run, Status, TrainingSummary
from shared.ports import Config, Services
from shared.steps import endpoints, paths
from shared.steps.blobs import read_model
from shared.steps.outcome import Fact, Outcome
from shared.steps.submit_training import cancel_unless_owned, job_tags

STAGE = "evaluation"


def evaluation_job(run: Run, champion: str | None, config: Config) -> JobSpec:
    """`champion` is the run whose model is in production, if any."""
    assert run.recipe is not None
    assert run.curated is not None
    base = catalogue.find_entry(run.recipe.recipe.base_model)
    name = paths.job_name(run, STAGE)
    command = (
        f"python -m training_job.evaluate --job-name {name} --data ${{{{inputs.data}}}} "
        "--base-model ${{inputs.base_model}} --recipe ${{inputs.recipe}} "
        "--candidate ${{inputs.candidate}} --output ${{outputs.evaluation}}"
    )
    inputs = {
        "data": paths.datastore_uri(paths.curated(run.curated)),
        "base_model": base.asset,
        "recipe": paths.datastore_uri(paths.recipe(run.id)),
        "candidate": paths.datastore_uri(paths.merged_model(run.id)),
    }
    if champion is not None:
        command += " --champion ${{inputs.champion}}"
        inputs["champion"] = paths.datastore_uri(paths.merged_model(champion))
    return JobSpec(
        name=name,
        command=command,
        environment=config.training_environment,
        inputs=inputs,
        outputs={"evaluation": paths.datastore_uri(paths.run(run.id, "evaluation"))},
        instance_type=run.recipe.training_instance_type,
        tier=run.recipe.recipe.budget.tier,
        timeout_s=int(run.recipe.recipe.budget.deadline_hours * 3600),
        tags=job_tags(run),
    )


def submit_evaluation(event: TrainingCompleted, run: Run, services: Services) -> Outcome:
    assert run.recipe is not None
    result = read_model(services.blobs, paths.run(run.id, "result.json"), JobResult)
    if result is None:
        raise PermanentFailure(FailureClass.CODE, "no_result", "the training job's result file is gone")
    record = endpoints.read(services.store, run.recipe.endpoint)
    champion = record.champion if record else None
    spec = evaluation_job(run, champion, services.config)
    job = services.launcher.submit(spec)
    reference = JobRef(
        name=spec.name,
        stage=STAGE,
        attempt=run.attempt,
        submitted_at=services.clock.now(),
        studio_url=job.studio_url,
    )
    return Outcome(
        status=Status.EVALUATING,
        changes={
            "jobs": (*run.jobs, reference),
            "champion": champion,
            "training": TrainingSummary(
                trained_tokens=result.trained_tokens,
                steps=result.last_step,
                train_loss=result.train_loss,
                eval_loss=result.eval_loss,
                seconds=result.seconds,
                dropped_rows=result.dropped_rows,
            ),
            "cost": _with_actual(run.cost, result.seconds),
        },
        facts=(Fact(EvaluationStarted, job=spec.name),),
        undo=lambda now: cancel_unless_owned(spec.name, now, services),
    )


def _with_actual(cost: CostEstimate | None, seconds: float) -> CostEstimate | None:
    if cost is None:
        return None
    spent = (cost.actual_usd or 0.0) + seconds / 3600 * cost.hourly_usd
    return cost.model_copy(update={"actual_usd": round(spent, 4)})
