"""validated -> training: submit the QLoRA job."""

from __future__ import annotations

from shared.domain import catalogue
from shared.domain.events import TrainingStarted, ValidationPassed
from shared.domain.jobs import JobSpec
from shared.domain.run import JobRef, Run, Status
from shared.ports import Config, Services
from shared.steps import paths
from shared.steps.blobs import write_model
from shared.steps.outcome import Fact, Outcome

STAGE = "training"


def training_job(run: Run, config: Config) -> JobSpec:
    """The job of this run's present attempt; equal runs give equal specs."""
    assert run.recipe is not None
    assert run.curated is not None
    base = catalogue.find_entry(run.recipe.recipe.base_model)
    name = paths.job_name(run, STAGE)
    return JobSpec(
        name=name,
        command=(
            f"python -m training_job.train --job-name {name} --data ${{{{inputs.data}}}} "
            "--base-model ${{inputs.base_model}} --recipe ${{inputs.recipe}} --output ${{outputs.run}}"
        ),
        environment=config.training_environment,
        inputs={
            "data": paths.datastore_uri(paths.curated(run.curated)),
            "base_model": base.asset,
            "recipe": paths.datastore_uri(paths.recipe(run.id)),
        },
        outputs={"run": paths.datastore_uri(paths.run(run.id))},
        instance_type=run.recipe.training_instance_type,
        tier=run.recipe.recipe.budget.tier,
        timeout_s=int(run.recipe.recipe.budget.deadline_hours * 3600),
        tags=job_tags(run),
    )


def job_tags(run: Run) -> dict[str, str]:
    """Lineage on every job."""
    assert run.curated is not None
    return {"droptune_run": run.id, "project": run.project, "data_version": run.curated.version}


def submit_training(event: ValidationPassed, run: Run, services: Services) -> Outcome:
    assert run.recipe is not None
    assert run.cost is not None
    write_model(services.blobs, paths.recipe(run.id), run.recipe)
    spec = training_job(run, services.config)
    job = services.launcher.submit(spec)
    reference = JobRef(
        name=spec.name,
        stage=STAGE,
        attempt=run.attempt,
        submitted_at=services.clock.now(),
        studio_url=job.studio_url,
    )
    return Outcome(
        status=Status.TRAINING,
        changes={"jobs": (*run.jobs, reference)},
        facts=(Fact(TrainingStarted, job=spec.name, estimate=run.cost),),
        undo=lambda now: cancel_unless_owned(spec.name, now, services),
    )


def cancel_unless_owned(job: str, run: Run, services: Services) -> None:
    """Stop a job whose submitter lost the race, unless the winner submitted the very same one."""
    if job not in {reference.name for reference in run.jobs}:
        services.launcher.begin_cancel(job)
