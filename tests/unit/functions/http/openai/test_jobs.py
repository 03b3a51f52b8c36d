"""OpenAI's own client: jobs are created, looked at and cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from shared.domain.events import CancelRequested
from shared.domain.run import Status
from shared.ports import Services
from tests.unit.functions.http.openai.support import BASE, create, receive, recipe
from tests.unit.functions.http.support import SettableClock, enter
from tests.unit.shared.support import ROW, events_at

if TYPE_CHECKING:
    from openai import OpenAI


def test_a_job_is_a_run_of_the_project_its_suffix_names(
    ai: OpenAI, training: str, services: Services, clock: SettableClock
) -> None:
    clock.moment = clock.now()
    held_out = ai.files.create(file=("check.jsonl", ROW), purpose="fine-tune").id
    job = create(
        ai,
        training,
        validation_file=held_out,
        suffix="claims",
        seed=7,
        metadata={"use_case": "triage of claims", "team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
    )
    assert job.to_dict() == {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(services.clock.now().timestamp()),
        "finished_at": None,
        "estimated_finish": None,
        "model": BASE,
        "fine_tuned_model": None,
        "organization_id": "claims",
        "status": "validating_files",
        "training_file": training,
        "validation_file": held_out,
        "result_files": [],
        "trained_tokens": None,
        "seed": 7,
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
            },
        },
        "hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"},
        "integrations": [],
        "metadata": {"use_case": "triage of claims", "team": "a"},
        "error": None,
    }
    run = receive(services)
    assert (run.id, run.project, run.status, run.requested_by) == (job.id, "claims", Status.RECEIVED, "local")
    assert b"".join(services.blobs.read(run.dataset.path)) == ROW * 3
    assert recipe(services, run) == {
        "base_model": BASE,
        "method": {"type": "supervised", "hyperparameters": {"n_epochs": 2, "seed": 7}},
        "use_case": "triage of claims",
    }
    folder = run.dataset.path.rsplit("/", 1)[0]
    assert b"".join(services.blobs.read(f"{folder}/eval.jsonl")) == ROW


def test_two_jobs_of_one_file_are_two_runs(ai: OpenAI, training: str, services: Services) -> None:
    ids, runs = set(), []
    for _ in range(2):
        ids.add(create(ai, training).id)
        runs.append(receive(services))
    assert {run.id for run in runs} == ids
    assert [run.status for run in runs] == [Status.RECEIVED, Status.RECEIVED]
    assert len(ids) == 2


def test_an_order_that_was_lost_fails_instead_of_waiting_for_ever(
    ai: OpenAI, training: str, clock: SettableClock
) -> None:
    created = create(ai, training)
    clock.moment = clock.now() + timedelta(hours=1)
    job = ai.fine_tuning.jobs.retrieve(created.id)
    assert (job.status, job.error and job.error.code) == ("failed", "not_received")


def test_a_cancel_asks_and_an_end_stays_an_end(ai: OpenAI, training: str, services: Services) -> None:
    import openai

    job = create(ai, training)
    with pytest.raises(openai.ConflictError) as early:
        ai.fine_tuning.jobs.cancel(job.id)
    assert early.value.code == "job_not_received"
    run = receive(services)
    assert ai.fine_tuning.jobs.cancel(job.id).status == "validating_files"
    (event,) = events_at(services, "cancel_run")
    assert isinstance(event.data, CancelRequested)
    enter(services, run, Status.CANCELLED)
    with pytest.raises(openai.BadRequestError) as late:
        ai.fine_tuning.jobs.cancel(job.id)
    assert late.value.code == "job_finished"


@pytest.mark.parametrize("job_id", ["ftjob-1", "run-000000000000"])
def test_a_job_that_is_not_there_is_404(ai: OpenAI, job_id: str) -> None:
    import openai

    with pytest.raises(openai.NotFoundError) as refused:
        ai.fine_tuning.jobs.retrieve(job_id)
    assert (refused.value.code, refused.value.param) == ("job_not_found", "job_id")
