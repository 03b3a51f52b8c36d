"""Find all that is wrong with data and recipe before anything is spent; plan the run if nothing is."""

import shlex
from functools import partial
from urllib.parse import quote

from shared.base_models.bundles import base_bundle, bundle_folder
from shared.domain import paths
from shared.domain.catalog import find_entry, known_entry, own_base_option
from shared.domain.dataset import CuratedVersion, Report, ValidationOutcome
from shared.domain.drop_zone import Role, role_of
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.events import (
    DatasetUploaded,
    Event,
    EventData,
    ValidationCompleted,
    ValidationFailed,
    ValidationPassed,
    ValidationRetryDue,
    ValidationStarted,
)
from shared.domain.findings import Findings
from shared.domain.jobs import RUN_TAG, JobKind, JobSpec
from shared.domain.planning.plan import check_budget
from shared.domain.policy import AppliedPolicy
from shared.domain.recipe import Recipe, Tier
from shared.domain.run import Run, RunChanges, Status, ValidationSummary
from shared.grading.engine import given_to_any_answer
from shared.ports import Services
from shared.records import policies, runs, subscriptions
from shared.records.blob_documents import read_model, write_model
from shared.step_support.dataset_files import (
    held_out_files,
    needs_validation_job,
    read_recipe_of,
    reading_pinned,
    replaced,
    require_same_files,
)
from shared.step_support.llm_judges import require_judges
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import violations
from shared.steps.submit_training import begin, next_attempt
from shared.validation.curated import curated_version
from shared.validation.plan import plan_run
from shared.validation.recipes import read_recipe
from shared.validation.sink import Sink, spooled_sink
from shared.validation.validator import ALL_CODES, Earlier, Validated, validate

CHUNK_BYTES = 1024 * 1024
VALIDATION_TIMEOUT_S = 4 * 3600


def validate_dataset(event: Event[DatasetUploaded | ValidationRetryDue], run: Run, services: Services) -> Outcome:
    """Raises PermanentFailure `dataset_replaced` if a file is no longer the one received."""
    run = require_same_files(run, services)
    misplaced = _misplaced(run)
    if misplaced is not None:
        return rejected(run, misplaced, services)
    if needs_validation_job(run, services):
        return _submit(event, run, services)
    with spooled_sink() as sink:
        validated = _validate(run, services, sink)
        if validated.version is None:
            return refused(run, validated.recipe, validated.report, services)
        curated = _curate(run, validated, sink, services)
    assert validated.recipe is not None
    return accepted(run, validated.recipe, validated.report, curated, services)


def conclude_validation(event: Event[ValidationCompleted], run: Run, services: Services) -> Outcome:
    """Take over what the validation job found."""
    found = read_model(services.blobs, paths.run(run.id, "validation/outcome.json"), ValidationOutcome)
    if found is None:
        raise PermanentFailure(FailureClass.CODE, "no_outcome", "the validation job wrote no outcome")
    if found.curated is None or found.recipe is None:
        return refused(run, found.recipe, found.report, services)
    if run.beside is not None and found.sha256 != run.pinned_sha256:
        raise replaced(run)
    # The job knows the bytes it read; the run knows where they lay and holds the pinned etag.
    curated = found.curated.model_copy(update={"source": run.dataset})
    return accepted(run, found.recipe, found.report, curated, services)


def _misplaced(run: Run) -> Report | None:
    """A report of what lies where it must not, so that the data need not be read; None if all is in its place."""
    findings = Findings(ALL_CODES)
    recipes = run.received.recipes
    if role_of(run.dataset.path) is Role.MISPLACED:
        findings.add("no_project_folder", "train")
    elif len(recipes) > 1:
        names = ", ".join(paths.file_name(recipe.path) for recipe in recipes)
        findings.add("several_recipes", "recipe", detail=names)
    if not findings.failed:
        return None
    return Report(passed=False, format="unknown", problems=findings.problems(), eval_source="split")


def _with_unread_files(report: Report, run: Run, services: Services) -> Report:
    """The report with a warning that names the held-out files beside the one that was read."""
    read, *others = [paths.file_name(file.path) for file in held_out_files(run.dataset.path, services)] or [""]
    if not others:
        return report
    findings = Findings(ALL_CODES)
    findings.add_many("held_out_files_unread", "eval", f"{read} is read; {', '.join(others)}", len(others))
    return report.model_copy(update={"problems": report.problems + findings.problems()})


def _submit(event: Event[EventData], run: Run, services: Services) -> Outcome:
    run = run.evolve(attempt=next_attempt(event, run, JobKind.VALIDATION))
    spec = validation_job(run, services)
    return begin(spec, JobKind.VALIDATION, ValidationStarted(job=spec.name), run, services)


def encoded(value: str) -> str:
    """A user's words for a command line: percent-encoded, so that neither a shell nor Azure ML (which fills in
    `${{...}}`) reads anything in them. The job decodes them."""
    return quote(value, safe="")


def validation_job(run: Run, services: Services) -> JobSpec:
    """The same validator as a CPU job: it writes the curated version itself and says so in its outcome."""
    name, dropped = paths.job_name(run, JobKind.VALIDATION), paths.file_name(run.dataset.path)
    beside = run.received
    with reading_pinned(run):
        text = read_recipe_of(run, services)
    policies.read(services.store)  # whose own base models are found from then on
    recipe = read_recipe(text, beside.default_base_model, Findings(ALL_CODES)).recipe
    own = own_base_option(recipe.base_model) if recipe else ""
    command = (
        f"python -m training_job.validate --job-name {name} --project={encoded(run.project)} "
        f"--dataset ${{{{inputs.dataset}}}} --name={encoded(dropped)} --sha256 {run.pinned_sha256} "
        f"--default-base-model {shlex.quote(beside.default_base_model)}{own} "
        "--curated ${{outputs.curated}} --output ${{outputs.run}}"
    )
    inputs = {"dataset": paths.datastore_uri(run.dataset.path)}
    others = {
        "held_out": beside.held_out.path if beside.held_out else None,
        "recipe": beside.recipes[0].path if beside.recipes else None,
        **_inputs_of_recipe(run, recipe, services),
    }
    for option, path in others.items():
        if path is not None:
            command += f" --{option.replace('_', '-')} ${{{{inputs.{option}}}}}"
            inputs[option] = paths.datastore_uri(path)
    return JobSpec(
        name=name,
        command=command,
        environment=services.config.training_environment,
        inputs=inputs,
        outputs={
            "curated": paths.datastore_uri(f"{paths.CURATED}/{run.project}"),
            "run": paths.datastore_uri(paths.run(run.id, "validation")),
        },
        instance_type=services.config.cpu_instance_type,
        tier=Tier.DEDICATED,
        timeout_s=VALIDATION_TIMEOUT_S,
        tags={RUN_TAG: run.id, "project": run.project},
    )


def _inputs_of_recipe(run: Run, recipe: Recipe | None, services: Services) -> dict[str, str | None]:
    """Folders the recipe sends the job to: the base model's tokenizer, and the version that rows are appended to."""
    if recipe is None or known_entry(recipe.base_model) is None:
        return {}  # the job rejects the data, whatever it counts
    earlier = _earlier_version(run, services) if recipe.data.mode == "append" else None
    return {
        "tokenizer": bundle_folder(find_entry(recipe.base_model), services.blobs),
        "earlier": paths.curated(earlier) if earlier else None,
    }


def _earlier_version(run: Run, services: Services) -> CuratedVersion | None:
    """What the project's last deployed run trained on; None if there is no such run.

    Raises PermanentFailure `earlier_version_gone`.
    """
    deployed = runs.last_deployed(services.store, run.project)
    curated = deployed.curated if deployed else None
    if curated is not None and services.blobs.info(paths.curated(curated, "manifest.json")) is None:
        message = f"version {curated.version[:12]}, which data.mode: append adds to, was deleted"
        raise PermanentFailure(FailureClass.DATA, "earlier_version_gone", message, "data.mode")
    return curated


def _earlier(run: Run, services: Services) -> Earlier | None:
    curated = _earlier_version(run, services)
    if curated is None:
        return None
    chunks = (chunk for name in curated.files_of_rows for chunk in services.blobs.read(paths.curated(curated, name)))
    return Earlier(curated.version, chunks)


def _validate(run: Run, services: Services, sink: Sink) -> Validated:
    beside = run.received
    policies.read(services.store)  # whose own base models are found from then on
    with reading_pinned(run):
        return validate(
            services.blobs.read(run.dataset.path, etag=run.dataset.etag),
            services.blobs.read(beside.held_out.path, etag=beside.held_out.etag) if beside.held_out else None,
            read_recipe_of(run, services),
            project=run.project,
            file_name=paths.file_name(run.dataset.path),
            default_base_model=beside.default_base_model,
            sink=sink,
            bundle_of=lambda base_model: base_bundle(base_model, services.blobs),
            earlier=lambda: _earlier(run, services),
        )


def _curate(run: Run, validated: Validated, sink: Sink, services: Services) -> CuratedVersion:
    """Write the immutable version; the manifest comes last and marks it complete."""
    curated = curated_version(validated, run.project, run.dataset)
    for name, file in (("train.jsonl", sink.train), ("eval.jsonl", sink.eval)):
        services.blobs.write(paths.curated(curated, name), iter(partial(file.read, CHUNK_BYTES), b""))
    write_model(services.blobs, paths.curated(curated, "report.json"), validated.report)
    write_model(services.blobs, paths.curated(curated, "manifest.json"), curated)
    return curated


def accepted(run: Run, recipe: Recipe, report: Report, curated: CuratedVersion, services: Services) -> Outcome:
    """-> validated, with the recipe resolved and the cost estimated; or rejected for what the policy does not allow."""
    applied = policies.read(services.store)
    recipe, tightened = applied.policy.tightened(recipe, run.project)
    resolved, cost = plan_run(recipe, run.project, report.statistics, report.tokens)
    planned, over = run.evolve(recipe=resolved), check_budget(recipe, cost)
    found = [*violations(planned, applied.policy, services), *over]
    report = _with_policy(report, run, recipe, found, tightened, applied, services)
    if not report.passed:
        return rejected(run, report, services)
    require_judges(resolved, services)
    resolved = resolved.model_copy(update={"reasons": resolved.reasons | tightened})
    report = _with_unread_files(report, run, services)
    write_model(services.blobs, paths.run(run.id, "report.json"), report)
    draft = Draft(ValidationPassed(version=curated.version, train_rows=curated.train_rows, eval_rows=curated.eval_rows))
    changes = RunChanges(validation=summary(report), curated=curated, recipe=resolved, cost=cost, attempt=1)
    return Outcome(Status.VALIDATED, {**changes, "policy": report.policy}, (draft,))


def refused(run: Run, recipe: Recipe | None, report: Report, services: Services) -> Outcome:
    """-> rejected for what is in the files; the report also has what the policy does not allow of a valid recipe."""
    if recipe is not None:
        applied = policies.read(services.store)
        recipe, tightened = applied.policy.tightened(recipe, run.project)
        known = {one.code for one in report.problems}
        more = [one for one in violations(run, applied.policy, services, recipe) if one.code not in known]
        report = _with_policy(report, run, recipe, more, tightened, applied, services)
    return rejected(run, report, services)


def _with_policy(
    report: Report,
    run: Run,
    recipe: Recipe,
    found: list[Problem],
    tightened: dict[str, str],
    applied: AppliedPolicy,
    services: Services,
) -> Report:
    findings = Findings(ALL_CODES)
    for path, why in tightened.items():
        findings.add("policy_applied", "recipe", detail=f"{path} is {why} (policy version {applied.version})")
    for problem in found:
        findings.add(problem.code, "recipe", detail=problem.message)
    known = {one.name for one in subscriptions.of_project(services.store, run.project)} if recipe.notify else set()
    for number, one in enumerate(recipe.notify):
        if one.subscription not in known:
            detail = f"notify[{number}].subscription: {run.project} has none named {one.subscription}"
            findings.add("unknown_subscription", "recipe", detail=detail)
    if report.passed and applied.policy.sets_floor(run.project):
        for name in given_to_any_answer(recipe.evaluation.graders):
            detail = f"evaluation.graders: {name} gives a score to any answer, which min_score of the policy then has"
            findings.add("policy", "recipe", detail=detail)
    needed = recipe.evaluation.gate.min_rows
    # The recipe had a smaller number when the rows were split.
    if report.passed and report.statistics.eval_rows < needed:
        findings.add("policy", "recipe", detail=f"evaluation.gate.min_rows: set it to {needed}, or hold out more rows")
    update = {"problems": report.problems + findings.problems(), "policy": applied.in_force(run.project)}
    return report.model_copy(update={**update, "passed": report.passed and not findings.failed})


def rejected(run: Run, report: Report, services: Services) -> Outcome:
    """-> rejected, with the report where the API reads it."""
    report = _with_unread_files(report, run, services)
    write_model(services.blobs, paths.run(run.id, "report.json"), report)
    found = summary(report)
    draft = Draft(ValidationFailed(codes=found.codes, errors=found.errors, report=f"/api/runs/{run.id}/report"))
    return Outcome(
        Status.REJECTED, {"validation": found, "policy": report.policy}, (draft,), note=", ".join(found.codes)
    )


def summary(report: Report) -> ValidationSummary:
    errors = [group for group in report.problems if group.severity == "error"]
    return ValidationSummary(
        passed=report.passed,
        errors=sum(group.count for group in errors),
        warnings=sum(group.count for group in report.problems if group.severity != "error"),
        codes=tuple(dict.fromkeys(group.code for group in errors)),
    )
