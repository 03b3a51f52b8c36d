"""A job may have ended: read it and say how. Changes no run."""

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.events import EvaluationCompleted, JobFailed, JobStopped, TrainingCompleted, ValidationCompleted
from shared.domain.jobs import JobKind, JobStatus, JobView
from shared.domain.results import JobResult
from shared.domain.run import JobRef, Run, Status
from shared.ports import Services
from shared.records.blob_documents import read_model
from shared.step_support.outcome import Draft
from shared.steps.fail_run import BY_A_PERSON, stop_jobs

IN_FLIGHT = frozenset({Status.VALIDATING, Status.TRAINING, Status.EVALUATING, Status.CANCELLING})


def inspect_job(job_name: str, run: Run, services: Services) -> Draft | None:
    """The event to publish; None if it is not this run's present job or still runs.

    Raises PermanentFailure if the platform refuses to say how it ended: it is asked again.
    """
    job = run.job
    if job is None or job.name != job_name or run.status not in IN_FLIGHT:
        return None
    if job.attempt != run.attempt and run.status is not Status.CANCELLING:
        return None  # its failure is known; the next attempt waits to be submitted
    view = services.launcher.get_job(job_name)
    if run.status is Status.CANCELLING:
        if view is None or view.status.final:
            return Draft(JobStopped(job=job_name))
        if view.status is not JobStatus.CANCELLING:  # who was to stop it may have died
            stop_jobs(run, services)
        return None
    if view is None:
        return _failed(job_name, FailureClass.PLATFORM, "job_vanished", "the platform has no such job")
    if not view.status.final:
        return None
    return _ended(job, view, run, services)


def _ended(job: JobRef, view: JobView, run: Run, services: Services) -> Draft:
    try:
        result = read_model(services.blobs, paths.run(run.id, RESULTS[job.kind]), JobResult)
    except PermanentFailure as error:
        if error.failure_class is not FailureClass.CODE:
            raise
        if view.status is JobStatus.COMPLETED:
            return Draft(JobFailed(job=job.name, failure_class=error.failure_class, problem=error.problem))
        result = None  # cut off as the job was
    if result is not None and result.job != job.name:
        result = None  # an earlier attempt's
    if result is not None and result.failure_class and result.problem and not _knows_better(view, result.problem):
        return Draft(JobFailed(job=job.name, failure_class=result.failure_class, problem=result.problem))
    if view.status is JobStatus.CANCELLED and view.error_code is None:
        who = f"; {view.error_message}" if view.error_message else ""
        return _failed(job.name, FailureClass.PLATFORM, BY_A_PERSON, f"cancelled at the platform, not by Droptune{who}")
    if view.status is not JobStatus.COMPLETED:  # by itself, or cancelled by its time limit
        known, code = view.failure_class or FailureClass.PLATFORM, view.error_code or "job_failed"
        return _failed(job.name, known, code, view.error_message or "no reason was given")
    if result is None:
        message = "the job says Completed but wrote no result"
        return _failed(job.name, FailureClass.CODE, "no_result", message)
    if job.kind is JobKind.EVALUATION:
        return Draft(EvaluationCompleted(job=job.name))
    if job.kind is JobKind.VALIDATION:
        return Draft(ValidationCompleted(job=job.name))
    return Draft(
        TrainingCompleted(
            job=job.name,
            train_loss=result.metrics.train_loss,
            eval_loss=result.metrics.eval_loss,
            processed_tokens=result.metrics.processed_tokens,
            seconds=result.metrics.seconds,
        )
    )


def _knows_better(view: JobView, problem: Problem) -> bool:
    """A job that was told to stop cannot say why; its exit with 143 may look like a fault of its own."""
    known = view.failure_class not in (None, FailureClass.PLATFORM, FailureClass.CODE)
    return view.status is JobStatus.CANCELLED or (known and problem.code == "interrupted")


# Beside what the job wrote.
RESULTS = {
    JobKind.VALIDATION: "validation/result.json",
    JobKind.TRAINING: "result.json",
    JobKind.EVALUATION: "evaluation/result.json",
}


def _failed(job: str, failure_class: FailureClass, code: str, message: str) -> Draft:
    problem = Problem(code=code, message=message, param=job)
    return Draft(JobFailed(job=job, failure_class=failure_class, problem=problem))
