"""JobLauncher against the emulator."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.core.pipeline.policies import RetryPolicy
from requests import Response

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.jobs import RUN_TAG, JobStatus
from shared.domain.recipe import Tier
from tests.unit.local_stack.azure_ml.support import Local, finished, job


def test_the_same_job_again_is_the_same_job_and_nothing_runs_twice(local: Local) -> None:
    spec = job("replayed", "echo once >> ${{outputs.model}}/runs")
    local.client.submit(spec)
    local.finish("replayed")
    assert local.client.submit(spec).status is JobStatus.COMPLETED
    assert (local.blobs / "runs/replayed/model/runs").read_text() == "once\n"
    puts = [item for item in local.emulator.requests if item["path"].endswith("jobs/replayed")]
    assert [item["method"] for item in puts].count("PUT") == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"command": "false"}, "command"),
        ({"environment": "droptune-serving:4"}, "environment"),
        ({"inputs": {"data": "azureml://datastores/curated/paths/p/2/"}}, "inputs"),
        ({"outputs": {"model": "azureml://datastores/runs/paths/elsewhere/"}}, "outputs"),
        ({"instance_type": "Standard_NC40ads_H100_v5"}, "instance_type"),
        ({"instances": 2}, "instances"),
        ({"processes": 2}, "processes"),
        ({"tier": Tier.DEDICATED}, "tier"),
        ({"timeout_s": 601}, "timeout_s"),
    ],
)
def test_a_taken_job_name_is_refused_and_the_changed_field_named(
    local: Local, changes: dict[str, Any], field: str
) -> None:
    local.client.submit(job("taken", "true"))
    with pytest.raises(PermanentFailure) as refused:
        local.client.submit(job("taken", **{"command": "true", **changes}))
    assert refused.value.problem.code == "job_name_taken"
    assert refused.value.problem.param == field
    assert refused.value.failure_class is FailureClass.PLATFORM


def with_echo(local: Local, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    """The service accepts a job and answers that it is another."""
    real = local.client.session.call

    def answer(method: str, path: str, body: Any = None) -> Any:
        found = real(method, path, body)
        if method == "PUT":
            assert found is not None
            change(found["properties"])
        return found

    monkeypatch.setattr(local.client.session, "call", answer)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda job: job.update(command="sh -c true"), "the job's command is 'sh -c true', not 'true'"),
        (lambda job: job.update(environmentId="azureml:droptune-training:latest"), "is 'droptune-training:latest'"),
        (lambda job: job.update(limits=None), "the job's timeout_s is None, not 600"),
        (lambda job: job.update(queueSettings=None), "the job's tier is None, not 'spot'"),
        (lambda job: job["resources"].pop("instanceType"), "the job's instance_type is '', not 'standard_nc24ads_a100"),
        (lambda job: job.update(distribution={"processCountPerInstance": 2}), "processes is 2"),
        (lambda job: job["inputs"].clear(), "the job's inputs is {}, not {'data':"),
        (lambda job: job.pop("outputs"), "the job's outputs is {}, not {'model':"),
    ],
)
def test_a_job_that_is_echoed_in_other_words_goes_on_and_says_so(
    local: Local,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Any], Any],
    note: str,
) -> None:
    with_echo(local, monkeypatch, change)
    name = f"echoed-{zlib.crc32(note.encode())}"
    submitted = local.client.submit(job(name, "true"))
    assert note in submitted.note
    assert note in caplog.text
    assert local.finish(name).status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("case", "change", "field"),
    [
        (1, lambda job: job["queueSettings"].update(jobTier="Standard"), "tier"),
        (2, lambda job: job["limits"].update(timeout="PT10M1S"), "timeout_s"),
        (3, lambda job: job["resources"].update(instanceType="Standard_ND96isr_H100_v5"), "instance_type"),
        (4, lambda job: job["resources"].update(instanceCount=8), "instances"),
        (5, lambda job: job.update(identity={"clientId": "somebody"}), "identity_client_id"),
    ],
)
def test_a_job_that_would_cost_more_or_have_other_rights_is_stopped(
    local: Local, monkeypatch: pytest.MonkeyPatch, case: int, change: Callable[[Any], Any], field: str
) -> None:
    with_echo(local, monkeypatch, change)
    with pytest.raises(PermanentFailure) as refused:
        local.client.submit(job(f"dear-{case}", "sleep 600"))
    assert (refused.value.problem.code, refused.value.problem.param) == ("job_echo_differs", field)
    assert local.finish(f"dear-{case}").status is JobStatus.CANCELLED


OF_A_RUN: dict[str, Any] = {"command": "true", "tags": {RUN_TAG: "run-1"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": "droptune-serving:2"},
        {"command": "true --with-an-option-of-the-next-version"},
        {"instance_type": "Standard_NC40ads_H100_v5", "processes": 2, "tier": Tier.DEDICATED, "timeout_s": 601},
    ],
)
@pytest.mark.parametrize("race", [False, True])
def test_the_attempt_of_a_run_that_another_version_has_submitted_is_that_job(
    local: Local, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], race: bool
) -> None:
    """In a race both hosts look before either submits, and the service refuses the second."""
    first = local.client.submit(job("attempt", **OF_A_RUN))
    if race:
        real, answers = local.client._get_job, iter([None])
        monkeypatch.setattr(local.client, "_get_job", lambda name: next(answers, None) or real(name))
    second = local.client.submit(job("attempt", **{**OF_A_RUN, **changes}))
    assert (second.name, second.studio_url) == (first.name, first.studio_url)
    assert local.finish("attempt").status is JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"inputs": {"data": "azureml://datastores/curated/paths/p/1/"}}, "inputs"),
        (
            {"environment": "droptune-serving:2", "outputs": {"model": "azureml://datastores/runs/paths/other/"}},
            "outputs",
        ),
        ({"environment": "droptune-serving:2", "tags": {RUN_TAG: "run-2"}}, "environment"),
        ({"environment": "droptune-serving:2", "tags": {}}, "environment"),
    ],
)
def test_a_job_of_another_run_or_with_other_data_is_not_this_attempt(
    local: Local, changes: dict[str, Any], field: str
) -> None:
    local.client.submit(job("attempt", **OF_A_RUN))
    with pytest.raises(PermanentFailure) as refused:
        local.client.submit(job("attempt", **{**OF_A_RUN, **changes}))
    assert (refused.value.problem.code, refused.value.problem.param) == ("job_name_taken", field)


def test_a_path_in_a_command_is_one_word_whatever_it_contains(local: Local) -> None:
    outputs = {"model": "azureml://datastores/runs/paths/it's; touch pwned/"}
    local.client.submit(job("quoted", "touch ${{outputs.model}}/done", outputs=outputs))
    assert local.finish("quoted").status is JobStatus.COMPLETED
    assert (local.blobs / "runs/it's; touch pwned/done").exists()


def test_cancelling_a_finished_or_unknown_job_is_fine(local: Local) -> None:
    local.client.submit(job("done", "true"))
    local.finish("done")
    local.client.begin_cancel("done")
    local.client.begin_cancel("never-submitted")
    assert finished(local.client, "done").status is JobStatus.COMPLETED


def test_an_unknown_job_is_none(local: Local) -> None:
    assert local.client.get_job("never-submitted") is None


def test_an_environment_that_is_not_registered_is_refused_at_submission(local: Local) -> None:
    with pytest.raises(PermanentFailure) as refused:
        local.client.submit(job("no-env", "true", environment="somebody-elses:7"))
    assert refused.value.problem.code == "azure_ml_refused"
    assert re.search(r"environment .*somebody-elses/versions/7' was not found", refused.value.problem.message)
    assert local.client.get_job("no-env") is None


def test_a_long_curve_is_read_over_several_pages(local: Local) -> None:
    local.client.submit(job("long-curve", "true"))
    for step in range(2500):
        local.emulator.store.add_metric("long-curve", "train_loss", step / 10, step, 1_700_000_000_000 + step)
    points = local.client.metric_history("long-curve", "train_loss")
    assert [point.step for point in points] == list(range(2500))


def test_the_curve_of_an_unknown_job_is_empty(local: Local) -> None:
    assert local.client.metric_history("never-submitted", "train_loss") == []


def answering(status: int, text: str) -> Response:
    answer = Response()
    answer.status_code, answer.raw, answer.encoding = status, io.BytesIO(text.encode()), "utf-8"
    return answer


@pytest.mark.parametrize(
    "answer",
    [answering(403, "no"), answering(500, "busy"), answering(200, "<html>"), requests.ConnectionError("down")],
    ids=["refused", "busy", "not JSON", "unreachable"],
)
def test_a_failed_job_whose_details_cannot_be_read_has_failed_all_the_same(
    local: Local, monkeypatch: pytest.MonkeyPatch, answer: Response | Exception
) -> None:
    real = requests.Session.request

    def respond(session: requests.Session, method: str, url: str, **more: Any) -> Response:
        if "/history/" not in url:
            return real(session, method, url, **more)
        if isinstance(answer, Exception):
            raise answer
        return answer

    local.client.submit(job("without-details", "exit 3"))
    assert local.finish("without-details").error_message is not None
    monkeypatch.setattr(requests.Session, "request", respond)
    monkeypatch.setattr(RetryPolicy, "sleep", lambda *_, **__: None)
    view = local.client.get_job("without-details")
    assert view is not None
    assert (view.status, view.error_code) == (JobStatus.FAILED, None)
    assert str(view.error_message).startswith("its details cannot be read: ")


def test_a_job_that_was_canceled_says_who_changed_it_last_and_has_no_error_code(local: Local) -> None:
    local.client.submit(job("canceled-by-somebody", "sleep 600"))
    local.arm("POST", "jobs/canceled-by-somebody/cancel")
    view = local.finish("canceled-by-somebody")
    assert (view.status, view.error_code) == (JobStatus.CANCELLED, None)
    assert view.error_message == "its run history was last changed by local"
