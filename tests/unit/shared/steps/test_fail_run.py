"""What a run has in flight when it fails."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.errors import RETRY_RULES, FailureClass, Problem
from shared.domain.events import JobFailed, RunFailed, StageRefused
from shared.domain.jobs import JobKind
from shared.domain.run import JobRef, Run
from shared.ports import Services
from shared.runner import Runner
from shared.step_support.outcome import Outcome, event_of
from shared.steps.fail_run import RETRY_OF_JOB, RETRY_OF_STAGE, fail_run, stop_jobs
from tests.unit.shared.support import ROW, drop


class Cancelling:
    """A platform that keeps the names of the jobs it is to cancel."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def begin_cancel(self, name: str) -> None:
        self.cancelled.append(name)


@pytest.mark.parametrize(
    ("text", "jobs"),
    [(ROW, 0), (gzip.compress(ROW), 0), (b"PAR1" + ROW, 1), (gzip.compress(b"x" * 20_000_001), 1)],
    ids=["text", "a gzip", "Parquet", "a gzip with much text"],
)
def test_a_job_that_may_have_been_sent_off_before_the_run_says_so_is_cancelled(
    services: Services, runner: Runner, text: bytes, jobs: int
) -> None:
    run = drop(services, runner, text=text)
    assert run is not None
    platform = Cancelling()
    stop_jobs(run, replace(services, launcher=platform))  # type: ignore[arg-type]
    assert len(platform.cancelled) == jobs


RETRIED = [failure_class for failure_class, rule in RETRY_RULES.items() if rule.attempts > 1]
CAUSE = Problem(code="OutOfQuota", message="0 of 8 cores are left in westeurope", param="instance_type")


def failed(run: Run, services: Services, data: JobFailed | StageRefused) -> Outcome:
    ports = replace(services, launcher=Cancelling())  # type: ignore[arg-type]
    return fail_run(event_of(run, data, run.updated_at), run, ports)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("failure_class", RETRIED)
@pytest.mark.parametrize("what", [*RETRY_OF_STAGE, *RETRY_OF_JOB])
def test_each_retry_leaves_its_cause_on_the_run_and_in_an_event(
    services: Services, runner: Runner, what: str | JobKind, failure_class: FailureClass
) -> None:
    run = drop(services, runner)
    assert run is not None
    data: JobFailed | StageRefused = StageRefused(stage=what, failure_class=failure_class, problem=CAUSE)
    if isinstance(what, JobKind):
        job = JobRef(name=f"{run.id}-{what}-1", kind=what, attempt=1, submitted_at=run.created_at)
        run = run.evolve(jobs=(job,))
        data = JobFailed(job=job.name, failure_class=failure_class, problem=CAUSE)
    salvaged = run.evolve(history=())
    assert [event.data for event in failed(salvaged, services, data).events] == [
        event.data for event in failed(run.evolve(updated_at=run.history[-1].at), services, data).events
    ]
    first = failed(run, services, data)
    assert first.note.startswith(f"{failure_class}: {CAUSE.code}, again in ")
    assert first.note.endswith(CAUSE.message)
    retry = first.events[0].data
    assert (getattr(retry, "failure_class", None), getattr(retry, "problem", None)) == (failure_class, CAUSE)
    rule = RETRY_RULES[failure_class]
    later = run.created_at + timedelta(seconds=rule.lasts * services.config.retry_wait_s)
    last = failed(run.evolve(attempt=rule.attempts, updated_at=later), services, data)
    assert last.events[0].data == RunFailed(failure_class=failure_class, problem=CAUSE)
    error = last.changes["error"]
    assert error is not None
    assert (error.failure_class, error.problem) == (failure_class, CAUSE)
