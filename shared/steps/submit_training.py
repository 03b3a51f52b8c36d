"""Submit the training job, if the model has a place to go."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from shared.domain import catalog as catalog
from shared.domain import paths
from shared.domain.catalog import Sku, find_sku
from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, Transient
from shared.domain.events import Event, EventData, RetryDue, TrainingRetryDue, TrainingStarted, ValidationPassed
from shared.domain.jobs import RUN_TAG, CoreQuota, EndpointView, JobKind, JobSpec, MachineSize
from shared.domain.recipe import ResolvedRecipe, Tier
from shared.domain.results import CURVE_FILE, SPENT_FILE, TimeLimit, seconds_spent
from shared.domain.run import JobRef, Run, Status
from shared.ports import Config, RunStore, Services
from shared.records import budget, endpoints, runs
from shared.records.blob_documents import write_model
from shared.step_support.candidate import require_same_champion
from shared.step_support.llm_judges import as_input, judges_of, tell_job
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import require_allowed

_IN_FLIGHT = {
    JobKind.VALIDATION: Status.VALIDATING,
    JobKind.TRAINING: Status.TRAINING,
    JobKind.EVALUATION: Status.EVALUATING,
}
_MODULES = {JobKind.TRAINING: "train", JobKind.EVALUATION: "evaluate"}


def training_job(run: Run, config: Config, spent_s: float = 0.0) -> JobSpec:
    """The job of this run's present attempt, which may take what time and money earlier ones have left.

    Raises PermanentFailure `time_spent` of class budget if that is nothing.
    """
    limit = TimeLimit.of(run.resolved)
    if spent_s + 1 > limit.seconds:
        message = f"earlier attempts trained for {spent_s:.0f} s, allowed are {limit.seconds:.0f} s in all"
        param = "budget.deadline_hours" if limit.kind == "deadline" else "budget.max_usd"
        raise PermanentFailure(FailureClass.BUDGET, "time_spent", message, param)
    options, inputs = "--output ${{outputs.run}}", {}
    if run.resolved.continued_from is not None:
        options += " --continue-from ${{inputs.adapter}}"
        inputs["adapter"] = paths.datastore_uri(paths.run(run.resolved.continued_from, "model/adapter"))
    job = job_of(run, JobKind.TRAINING, config, options, inputs, {"run": paths.run(run.id)})
    gpus = catalog.find_sku(run.resolved.training_instance_type).gpus
    nodes, timeout_s = run.resolved.requested.budget.nodes, int(limit.seconds - spent_s)
    return job.model_copy(update={"instances": nodes, "processes": max(1, gpus), "timeout_s": timeout_s})


def job_of(
    run: Run, kind: JobKind, config: Config, options: str, inputs: dict[str, str], outputs: dict[str, str]
) -> JobSpec:
    """A job of the run's present attempt on its machine. Every kind reads rows, base model, recipe, and judges if any.

    `options`: what its command has beside these. `outputs`: paths by name.
    """
    assert run.curated is not None
    name, recipe = paths.job_name(run, kind), run.resolved.requested
    option, judges = as_input(judges_of(recipe, rewards=kind is JobKind.TRAINING), name, run)
    return JobSpec(
        name=name,
        command=(
            f"python -m training_job.{_MODULES[kind]} --job-name {name} --data ${{{{inputs.data}}}} "
            f"--base-model ${{{{inputs.base_model}}}} --recipe ${{{{inputs.recipe}}}} {options}{option}"
        ),
        environment=config.training_environment,
        inputs={
            "data": paths.datastore_uri(paths.curated(run.curated)),
            "base_model": run.resolved.entry.asset,
            "recipe": paths.datastore_uri(paths.run(run.id, "recipe.json")),
            **inputs,
            **judges,
        },
        outputs={name: paths.datastore_uri(path) for name, path in outputs.items()},
        instance_type=run.resolved.training_instance_type,
        tier=recipe.budget.tier,
        timeout_s=int(recipe.budget.deadline_hours * 3600),
        tags=job_tags(run),
    )


def job_tags(run: Run) -> dict[str, str]:
    """Lineage on every job, model and deployment, and what the license asks for: at most 256 characters each (Azure
    Resource Manager, "Use tags to organize your Azure resources")."""
    assert run.curated is not None
    base = run.resolved.entry
    of_run = {RUN_TAG: run.id, "project": run.project, "data_version": run.curated.version}
    asks = {f"license_asks_{n}": text for n, text in enumerate(base.terms.obligations, 1)}
    return {**of_run, "base_model": base.id, "license": base.terms.id, **asks}


def _time_kept(run: Run, services: Services) -> Iterator[bytes]:
    for name in (SPENT_FILE, CURVE_FILE):
        with suppress(BlobNotFound):
            yield b"".join(services.blobs.read(paths.run(run.id, name)))


def submit_training(event: Event[ValidationPassed | TrainingRetryDue], run: Run, services: Services) -> Outcome:
    applied = require_allowed(run, services)
    recipe = with_start(run.resolved, services.store)
    require_same_champion(recipe.continued_from, services)
    run = run.evolve(attempt=next_attempt(event, run, JobKind.TRAINING), recipe=recipe)
    assert run.cost is not None
    spec = training_job(run, services.config, seconds_spent(*_time_kept(run, services)))
    if not any(job.kind is JobKind.TRAINING for job in run.jobs):
        require_room(run, services, services.models.get_endpoint(recipe.endpoint), trained=False)
    budgets = applied.policy.budgets(run.project, services.config.project_monthly_usd)
    warnings = budget.reserve(services.store, run, budgets, applied.policy.warn_at_percent)
    write_model(services.blobs, paths.run(run.id, "recipe.json"), recipe)
    tell_job(judges_of(recipe.requested, rewards=True), spec.name, run, services)
    begun = begin(spec, JobKind.TRAINING, TrainingStarted(job=spec.name, estimate=run.cost), run, services)
    events = (*begun.events, *(Draft(warning, key=warning.budget) for warning in warnings))
    return replace(
        begun.with_changes(recipe=recipe, policy=applied.in_force(run.project)),
        events=events,
        undo=lambda now: _undo(spec.name, now, services),
    )


def next_attempt(event: Event[EventData], run: Run, kind: JobKind) -> int:
    """The first number no job of this kind has yet; a retry may name a later one, where nothing was submitted."""
    free = 1 + max((job.attempt for job in run.jobs if job.kind is kind), default=0)
    return max(free, event.attempt) if isinstance(event.data, RetryDue) else free


def _undo(job: str, run: Run, services: Services) -> None:
    cancel_unless_owned(job, run, services)
    if run.terminal:  # it settled before we reserved
        budget.settle(services.store, run)


def begin(spec: JobSpec, kind: JobKind, fact: EventData, run: Run, services: Services) -> Outcome:
    """Submit the job of the run's present attempt, state it, and enter the status in which the job is looked at."""
    view = services.launcher.submit(spec)
    reference = JobRef(
        name=view.name, kind=kind, attempt=run.attempt, submitted_at=services.clock.now(), studio_url=view.studio_url
    )
    return Outcome(
        status=_IN_FLIGHT[kind],
        changes={"attempt": run.attempt, "jobs": (*run.jobs, reference)},
        events=(Draft(fact),),
        note=view.note,
        undo=lambda now: cancel_unless_owned(spec.name, now, services),
    )


def cancel_unless_owned(job: str, run: Run, services: Services) -> None:
    """Stop a job whose submitter lost the race, unless the winner submitted the very same one."""
    if job not in {reference.name for reference in run.jobs}:
        services.launcher.begin_cancel(job)


# Decides what an adapter's matrices look like; another of these cannot be continued from.
SHAPE = ("lora_rank", "lora_alpha", "rslora", "dora")


def with_start(recipe: ResolvedRecipe, store: RunStore) -> ResolvedRecipe:
    """The recipe with the run it continues from. A later attempt keeps the one found first, whatever runs by then.

    Raises PermanentFailure of class recipe: `no_champion`, `other_base_model`, `adapter_differs`.
    """
    if recipe.requested.method.continue_from == "base" or recipe.continued_from is not None:
        return recipe
    record = endpoints.read(store, recipe.endpoint)
    run = runs.load(store, record.champion) if record else None
    champion = run.recipe if run else None
    if record is None or champion is None:
        raise _refusal("no_champion", f"there is no model in production at {recipe.endpoint} to continue from")
    if champion.project != recipe.project:  # the policy has given the endpoint to another one since
        raise _refusal("no_champion", f"the model in production at {recipe.endpoint} is of project {champion.project}")
    if champion.requested.base_model != recipe.requested.base_model:
        raise _refusal(
            "other_base_model",
            f"the model in production at {recipe.endpoint} was tuned from {champion.requested.base_model}, "
            f"this recipe tunes {recipe.requested.base_model}",
        )
    in_production, requested = champion.hyperparameters, recipe.hyperparameters
    if differing := [name for name in SHAPE if getattr(in_production, name) != getattr(requested, name)]:
        shape = ", ".join(f"{name}: {getattr(in_production, name)}" for name in differing)
        raise _refusal("adapter_differs", f"the adapter in production has {shape}; set the same in the recipe")
    return recipe.model_copy(update={"continued_from": record.champion})


def _refusal(code: str, message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, code, message, "method.continue_from")


def endpoint_cores(sku: Sku, cores: int, instances: int = 1) -> int:
    """Azure docs, "Virtual machine quota allocation for deployment": ceil(1.2 x instances) x cores."""
    return (math.ceil(1.2 * instances) if sku.endpoint_reserve else instances) * cores


def free_cores(size: MachineSize, quotas: list[CoreQuota], *, spot: bool, unlisted: float) -> float:
    """The family's, within all families'. Spot quota is one number; a family's own limit is there for some only."""
    kind = [quota for quota in quotas if quota.spot is spot]
    family = [quota.free for quota in kind if quota.family == size.family.lower()] or [math.inf if spot else unlisted]
    total = [quota.free for quota in kind if quota.family is None] or [unlisted if spot else math.inf]
    return max(0, min(*family, *total))


def require_room(run: Run, services: Services, view: EndpointView | None, *, trained: bool) -> None:
    """`view`: the run's endpoint, if there is one. Its deployments, such as production and the previous one, are among
    the cores in use. Training waits for those in the queue, but for ever if the whole quota is too small. What is not
    listed, or may not be read, is left to Azure to refuse.

    Raises PermanentFailure `endpoint_name_taken` (recipe), `cores_missing` (quota).
    """
    resolved, endpoint, budget = run.resolved, run.resolved.endpoint, run.resolved.requested.budget
    if view is None and services.models.is_name_taken(endpoint):
        message = f"another endpoint in the region is called {endpoint}: choose another name"
        raise PermanentFailure(FailureClass.RECIPE, "endpoint_name_taken", message, "deployment.endpoint")
    try:
        sizes = {size.name.lower(): size for size in services.launcher.machine_sizes()}
        quotas = services.launcher.core_quotas()
    except (Transient, PermanentFailure):
        return
    if not trained and (size := sizes.get(resolved.training_instance_type.lower())):
        whole = [quota.model_copy(update={"used": 0}) for quota in quotas]
        free = free_cores(size, whole, spot=budget.tier is Tier.SPOT, unlisted=math.inf)
        _require(size, budget.nodes * size.cores, free, f"{budget.tier} cores", "for training", "budget.instance_type")
    if size := sizes.get(resolved.serving_instance_type.lower()):
        sku, requested = find_sku(resolved.serving_instance_type), resolved.requested.deployment
        needed = endpoint_cores(sku, size.cores, requested.max_instances or requested.instances)
        beside = f"beside {len(view.deployments) if view else 0} deployments at {endpoint}"
        free = free_cores(size, quotas, spot=False, unlisted=math.inf)
        _require(size, needed, free, "dedicated cores", beside, "deployment.instance_type")


def _require(size: MachineSize, needed: int, free: float, what: str, why: str, param: str) -> None:
    if needed > free:
        message = f"{needed} {what} of {size.family} are needed {why}, {needed - free:.0f} are missing"
        raise PermanentFailure(FailureClass.QUOTA, "cores_missing", message, param)
