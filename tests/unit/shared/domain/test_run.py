"""The state of a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from shared.domain.errors import Problem
from shared.domain.jobs import JobKind
from shared.domain.run import NON_TERMINAL, TERMINAL, JobRef, Rollback, Run, Status, Transition
from tests.unit.shared.support import CURATED

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run_through(*statuses: Status) -> Run:
    history = tuple(
        Transition(status=status, at=NOW + timedelta(hours=n), event_id=str(n), event_type="t")
        for n, status in enumerate(statuses)
    )
    return Run(
        id="run-1",
        project="shop",
        status=statuses[-1],
        revision=len(statuses),
        attempt=1,
        created_at=NOW,
        updated_at=history[-1].at,
        deadline_at=None,
        dataset=CURATED.source,
        fingerprint="f",
        history=history,
    )


@pytest.mark.parametrize("status", Status)
def test_every_status_is_an_end_or_leads_on(status: Status) -> None:
    assert (status in TERMINAL) != (status in NON_TERMINAL)
    assert run_through(Status.RECEIVED, status).terminal is (status in TERMINAL)


@pytest.mark.parametrize(
    ("statuses", "hours"),
    [
        ((Status.RECEIVED, Status.TRAINING), None),
        ((Status.RECEIVED, Status.FAILED), 1),
        ((Status.RECEIVED, Status.DEPLOYED, Status.ROLLED_BACK), 1),
    ],
)
def test_a_run_ended_when_it_first_reached_an_end(statuses: tuple[Status, ...], hours: int | None) -> None:
    assert run_through(*statuses).ended_at == (None if hours is None else NOW + timedelta(hours=hours))


def test_the_job_of_a_run_is_its_newest() -> None:
    run = run_through(Status.TRAINING)
    assert run.job is None
    jobs = tuple(JobRef(name=f"j-{n}", kind=JobKind.TRAINING, attempt=n, submitted_at=NOW) for n in (1, 2))
    newest = run.evolve(jobs=jobs).job
    assert newest is not None
    assert newest.name == "j-2"


def test_a_rollback_has_its_reason_and_an_unrecorded_one_says_so() -> None:
    run = run_through(Status.ROLLING_BACK)
    assert run.rollback_reason.code == "rolled_back"
    reason = Problem(code="slow", message="too slow")
    assert run.evolve(rollback=Rollback(reason=reason, by=None, at=NOW)).rollback_reason == reason


def test_a_changed_run_is_validated_again_and_the_first_stays() -> None:
    run = run_through(Status.TRAINING)
    assert run.evolve(attempt=2).attempt == 2
    assert run.attempt == 1
    with pytest.raises(ValidationError):
        run.evolve(attempt="many")
    with pytest.raises(ValidationError):
        run.evolve(attemps=2)
