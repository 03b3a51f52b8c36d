"""OpenAI's own client: jobs are created, looked at and cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from shared.domain.errors import Transient
from shared.domain.events import CancelRequested
from shared.domain.run import Status
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import Services
from shared.records import claims
from tests.unit.functions.http.openai.support import BASE, create, receive, recipe
from tests.unit.functions.http.support import SettableClock, enter
from tests.unit.shared.support import ROW, events_at, take

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


class Unanswered:
    """A transport that hands requests on, and loses the answer to the first that creates a job."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.lost = inner, False

    def handle_request(self, request: Any) -> Any:
        answer = self.inner.handle_request(request)
        if request.method == "POST" and request.url.path.endswith("/jobs") and not self.lost:
            self.lost = True
            raise httpx2.ReadError("lost")
        return answer


def test_a_request_that_a_client_repeats_for_want_of_an_answer_is_one_job(
    ai: OpenAI, client: TestClient, training: str, services: Services
) -> None:
    earlier = create(ai, training, seed=1)
    take(services, STORAGE_EVENTS)
    transport: Any = Unanswered(client._transport)
    client._transport = transport
    job = create(ai.with_options(max_retries=2), training)
    assert transport.lost
    assert [entry.id for entry in ai.fine_tuning.jobs.list()] == [job.id, earlier.id]
    assert {sent.message.id for sent in take(services, STORAGE_EVENTS)} == {job.id}


def test_a_repeated_request_starts_the_run_that_the_first_one_could_not_start(
    ai: OpenAI, training: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    send = services.bus.send

    def busy_at_first(entity: str, messages: Any) -> None:
        calls.append(entity)
        if len(calls) == 1:
            raise Transient("service_bus_busy", "later")
        send(entity, messages)

    monkeypatch.setattr(services.bus, "send", busy_at_first)
    job = create(ai.with_options(max_retries=2), training)
    assert calls == [STORAGE_EVENTS, STORAGE_EVENTS]
    assert [entry.id for entry in ai.fine_tuning.jobs.list()] == [job.id]
    assert receive(services).id == job.id


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ({"key": "a"}, {"key": "a"}, True),
        ({"key": "a"}, {"key": "b"}, False),
        ({"key": "a"}, {}, False),
        ({"key": "a"}, {"key": "a", "seed": 3}, False),
        ({"key": "a"}, {"key": "a", "suffix": "claims"}, False),
        ({}, {}, False),
        ({}, {"retry": "1"}, True),
        ({}, {"retry": "1", "seed": 3}, False),
        ({}, {"retry": "1", "wait_s": 3600}, False),
        ({"key": "a"}, {"retry": "1", "key": "b"}, False),
        ({"retry": "1"}, {}, True),
        ({"retry": "1"}, {"retry": "2"}, True),
        ({"retry": "1"}, {"wait_s": 3600}, False),
    ],
)
def test_a_request_sent_again_is_the_same_job_and_another_one_is_not(
    ai: OpenAI,
    training: str,
    clock: SettableClock,
    first: dict[str, Any],
    second: dict[str, Any],
    is_one: bool,
) -> None:
    clock.moment = clock.now()

    def create_with(key: str | None = None, retry: str = "0", wait_s: int = 0, **parameters: Any) -> str:
        assert clock.moment is not None
        clock.moment += timedelta(seconds=wait_s)
        headers = {"x-stainless-retry-count": retry, **({"Idempotency-Key": key} if key else {})}
        return create(ai, training, extra_headers=headers, **parameters).id

    ids = [create_with(**first), create_with(**second)]
    assert (ids[0] == ids[1]) is is_one
    assert len(list(ai.fine_tuning.jobs.list())) == (1 if is_one else 2)


@pytest.mark.parametrize("retries", [("0", "1", "2"), ("2", "1", "0"), ("1", "2")])
def test_requests_repeated_while_the_first_is_at_work_are_one_job(
    ai: OpenAI, training: str, services: Services, monkeypatch: pytest.MonkeyPatch, retries: tuple[str, ...]
) -> None:
    """Each comes when the one before is about to write the job's files, which may take a client's patience."""
    write, left = services.blobs.write, list(retries)
    ids: list[str] = []

    def send() -> None:
        ids.append(create(ai, training, extra_headers={"x-stainless-retry-count": left.pop(0)}).id)

    def write_late(path: str, *arguments: Any, **options: Any) -> Any:
        if left and "/_jobs/" in path:
            send()
        return write(path, *arguments, **options)

    monkeypatch.setattr(services.blobs, "write", write_late)
    send()
    assert (len(ids), len(set(ids))) == (len(retries), 1)
    assert [job.id for job in ai.fine_tuning.jobs.list()] == ids[:1]
    monkeypatch.undo()
    assert (create(ai, training).id in ids) is ("0" not in retries)


def test_of_two_requests_that_claim_at_once_one_wins(
    ai: OpenAI, training: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = claims.read
    ids: list[str] = []

    def read_late(store: Any, name: str) -> Any:
        held = read(store, name)
        if name.startswith("request:") and not ids:
            ids.append("")
            ids[0] = create(ai, training, extra_headers={"x-stainless-retry-count": "1"}).id
        return held

    monkeypatch.setattr(claims, "read", read_late)
    assert create(ai, training).id == ids[0]
