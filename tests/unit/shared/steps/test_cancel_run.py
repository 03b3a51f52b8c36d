"""Cancel a run: its status x what it has in flight -> the next status, and what is stopped on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.domain.errors import Problem
from shared.domain.events import CancelRequested, EventData, JobStopped, RollbackStarted, RunCancelled
from shared.domain.jobs import JobKind
from shared.domain.run import NON_TERMINAL, JobRef, Rollback, RolloutRef, Run, Status
from shared.ports import Services
from shared.step_support.outcome import Outcome, event_of
from shared.steps.cancel_run import cancel_run
from tests.unit.shared.steps.platform import Platform

KINDS = {
    Status.VALIDATING: JobKind.VALIDATION,
    Status.TRAINING: JobKind.TRAINING,
    Status.EVALUATING: JobKind.EVALUATION,
}
OLD = {"d-old": 100}


def in_status(run: Run, status: Status) -> Run:
    """The run with the job or the rollout that this status has."""
    kind = KINDS.get(status)
    job = JobRef(name=f"{run.id}-{kind}-1", kind=kind, attempt=1, submitted_at=run.created_at) if kind else None
    rollout = RolloutRef(endpoint="shop", deployment="d-new", model="shop:1", previous=OLD, traffic={}, step=1)
    return run.evolve(status=status, jobs=(job,) if job else (), rollout=rollout)


def cancelled(run: Run, services: Services, platform: Platform, data: CancelRequested | JobStopped) -> Outcome | None:
    return cancel_run(event_of(run, data, run.created_at), run, replace(services, launcher=platform))  # type: ignore[arg-type]


def facts_of(outcome: Outcome) -> list[EventData]:
    return [draft.data for draft in outcome.events]


STOPPED_AT_ONCE = {
    Status.RECEIVED: [],
    Status.VALIDATED: ["training-1"],
    Status.TRAINED: ["evaluation-1"],
    Status.AWAITING_APPROVAL: [],
    Status.APPROVED: ["evaluation-1"],
}
STOPPED_WITH_THEIR_JOB = {
    Status.VALIDATING: ["validation-1", "validation-2"],
    Status.TRAINING: ["training-1", "training-2", "evaluation-1"],
    Status.EVALUATING: ["evaluation-1", "evaluation-2"],
}
ON_THEIR_WAY = (Status.CANCELLING, Status.ROLLING_BACK)


def test_the_tables_of_this_file_name_every_status_that_can_be_cancelled() -> None:
    named = {*STOPPED_AT_ONCE, *STOPPED_WITH_THEIR_JOB, *ON_THEIR_WAY, Status.DEPLOYING}
    assert named == NON_TERMINAL


@pytest.mark.parametrize(("status", "jobs"), STOPPED_AT_ONCE.items())
def test_a_run_without_a_job_is_cancelled_at_once_with_what_a_crash_may_have_submitted(
    prepared: Run, services: Services, status: Status, jobs: list[str]
) -> None:
    platform = Platform()
    outcome = cancelled(in_status(prepared, status), services, platform, CancelRequested(by="ada"))
    assert outcome is not None
    assert (outcome.status, dict(outcome.changes)) == (Status.CANCELLED, {"cancel_requested_by": "ada"})
    assert outcome.note == "cancelled by ada"
    assert facts_of(outcome) == [RunCancelled(by="ada")]
    assert platform.cancelled == [f"{prepared.id}-{job}" for job in jobs]


@pytest.mark.parametrize(("status", "jobs"), STOPPED_WITH_THEIR_JOB.items())
def test_a_run_with_a_job_waits_until_the_job_has_stopped(
    prepared: Run, services: Services, status: Status, jobs: list[str]
) -> None:
    platform = Platform()
    outcome = cancelled(in_status(prepared, status), services, platform, CancelRequested(by="ada"))
    assert outcome is not None
    assert (outcome.status, dict(outcome.changes)) == (Status.CANCELLING, {"cancel_requested_by": "ada"})
    assert facts_of(outcome) == []
    assert platform.cancelled == []  # before it is written that this was asked for
    assert outcome.after is not None
    outcome.after()
    assert platform.cancelled == [f"{prepared.id}-{job}" for job in jobs]


def test_a_rollout_is_rolled_back_and_keeps_who_asked(prepared: Run, services: Services) -> None:
    platform, run = Platform(), in_status(prepared, Status.DEPLOYING)
    outcome = cancelled(run, services, platform, CancelRequested(by="ada"))
    assert outcome is not None
    assert outcome.status is Status.ROLLING_BACK
    assert outcome.changes["cancel_requested_by"] == "ada"
    rollout = outcome.changes["rollout"]
    assert rollout is not None
    assert rollout.traffic == OLD
    reason = Problem(code="cancelled", message="cancelled by ada")
    assert facts_of(outcome) == [RollbackStarted(endpoint="shop", reason=reason, by="ada")]
    assert outcome.changes["rollback"] == Rollback(reason=reason, by="ada", at=run.created_at)
    assert platform.cancelled == []


@pytest.mark.parametrize("status", ON_THEIR_WAY)
def test_a_run_that_is_on_its_way_is_left_alone(prepared: Run, services: Services, status: Status) -> None:
    platform = Platform()
    assert cancelled(in_status(prepared, status), services, platform, CancelRequested(by="ada")) is None
    assert platform.cancelled == []


@pytest.mark.parametrize(("requested_by", "by"), [("ada", "ada"), (None, "unknown")])
def test_a_job_that_stopped_ends_the_run_that_waited_for_it(
    prepared: Run, services: Services, requested_by: str | None, by: str
) -> None:
    platform, run = Platform(), prepared.evolve(status=Status.CANCELLING, cancel_requested_by=requested_by)
    outcome = cancelled(run, services, platform, JobStopped(job="j"))
    assert outcome is not None
    assert (outcome.status, facts_of(outcome)) == (Status.CANCELLED, [RunCancelled(by=by)])
    assert platform.cancelled == [f"{run.id}-{kind}-1" for kind in JobKind]  # a crash may have left any unrecorded


@pytest.mark.parametrize("status", sorted(NON_TERMINAL - {Status.CANCELLING}))
def test_a_job_that_stopped_says_nothing_about_any_other_run(prepared: Run, services: Services, status: Status) -> None:
    assert cancelled(in_status(prepared, status), services, Platform(), JobStopped(job="j")) is None
