"""Submit the evaluation job: all models answer the held-out set."""

from itertools import count

from shared.domain import paths
from shared.domain.errors import FailureClass, LaterVersion, PermanentFailure, WaitsForRelease
from shared.domain.events import (
    EvaluationDue,
    EvaluationRetryDue,
    EvaluationStarted,
    Event,
    EventData,
    TrainingCompleted,
)
from shared.domain.jobs import JobKind, JobSpec
from shared.domain.results import CostEstimate, JobResult
from shared.domain.run import Run, Status
from shared.ports import Config, Services
from shared.records import claims, endpoints, runs
from shared.records.blob_documents import read_model
from shared.step_support.candidate import require_same_champion, require_same_model
from shared.step_support.llm_judges import judges_of, tell_job
from shared.step_support.outcome import Outcome
from shared.steps.submit_training import begin, job_of, next_attempt


def evaluation_job(run: Run, champion: str | None, config: Config) -> JobSpec:
    """`champion` is the run whose model is in production, if any."""
    options = "--candidate ${{inputs.candidate}} --answers ${{outputs.answers}} --output ${{outputs.evaluation}}"
    options += f" --attempt {run.held_out_attempt or 1}"
    inputs = {"candidate": paths.datastore_uri(paths.run(run.id, "model/merged"))}
    if champion is not None:
        options += " --champion ${{inputs.champion}}"
        inputs["champion"] = paths.datastore_uri(paths.run(champion, "model/merged"))
    outputs = {"evaluation": paths.run(run.id, "evaluation"), "answers": paths.answers(run.project)}
    return job_of(run, JobKind.EVALUATION, config, options, inputs, outputs)


def submit_evaluation(
    event: Event[TrainingCompleted | EvaluationDue | EvaluationRetryDue], run: Run, services: Services
) -> Outcome | None:
    result = read_model(services.blobs, paths.run(run.id, "result.json"), JobResult)
    if result is None:
        raise PermanentFailure(FailureClass.CODE, "no_result", "the training job's result file is gone")
    outcome = evaluate_in_turn(event, run, services)
    if run.status is Status.TRAINED and outcome.status is Status.TRAINED:
        return None  # another was faster; `reconcile` asks again
    if run.training is not None:
        return outcome
    cost = _with_actual(run.cost, result.metrics.seconds * run.resolved.requested.budget.nodes)
    return outcome.with_changes(training=result.metrics, cost=cost)


def evaluate_in_turn(event: Event[EventData], run: Run, services: Services) -> Outcome:
    """Submit the next attempt of the evaluation, or wait as `trained` while it is the turn of another candidate.

    A candidate keeps its turn until its run ends or a person is asked: each is measured against the model it would
    replace, so candidates that were measured together would have to be measured again after each promotion.
    """
    endpoint = run.resolved.endpoint
    try:
        record = endpoints.read(services.store, endpoint)
        owner = _whose_turn(run, endpoint, services)
    except (WaitsForRelease, LaterVersion) as error:  # once it is released, `reconcile` asks again
        return Outcome(status=Status.TRAINED, note=f"waits for its turn at {endpoint}: {error.problem.message}")
    if owner != run.id:
        return Outcome(status=Status.TRAINED, note=f"waits for {owner} at {endpoint}")
    return _evaluate(record.champion if record else None, event, run, services)


def _whose_turn(run: Run, endpoint: str, services: Services) -> str:
    """The run that has the turn; a free one is taken, unless another run waits for longer."""
    name = claims.turn_claim(endpoint)
    held = claims.read(services.store, name)
    if held is not None:
        return held.owner
    first = runs.waiting(services.store).get(endpoint, [run])[0]
    if first.id != run.id:
        return first.id
    return claims.take(services.store, name, run.id, services.clock.now())


def _evaluate(champion: str | None, event: Event[EventData], run: Run, services: Services) -> Outcome:
    number = run.held_out_attempt or _held_out_attempt(run, services)
    run = run.evolve(attempt=next_attempt(event, run, JobKind.EVALUATION), held_out_attempt=number)
    spec = evaluation_job(run, champion, services.config)
    tell_job(judges_of(run.resolved.requested, rewards=False), spec.name, run, services)
    require_same_champion(champion, services)
    sha256 = require_same_model(run, services.blobs)
    begun = begin(spec, JobKind.EVALUATION, EvaluationStarted(job=spec.name), run, services)
    return begun.with_changes(champion=champion, model_sha256=sha256, held_out_attempt=number)


def _held_out_attempt(run: Run, services: Services) -> int:
    """The first number that no other run of the project has for these held-out rows.

    It is claimed before the job is submitted, so two runs at once have two numbers, and whatever comes of the run, it
    was an attempt. Asked again, after a crash say, the run finds the one that it has.
    """
    assert run.curated is not None
    rows, now = run.curated.held_out, services.clock.now()
    names = ((number, claims.attempt_claim(run.project, rows, number)) for number in count(1))
    return next(n for n, name in names if claims.take(services.store, name, run.id, now, settled=1) == run.id)


def _with_actual(cost: CostEstimate | None, machine_seconds: float) -> CostEstimate | None:
    if cost is None:
        return None
    spent = (cost.actual_usd or 0.0) + machine_seconds / 3600 * cost.hourly_usd
    return cost.model_copy(update={"actual_usd": round(spent, 4)})
