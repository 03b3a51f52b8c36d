"""JobLauncher through the real SDK against the emulator."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.jobs import JobStatus
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
        ({"environment": "droptune-serving:2"}, "environment"),
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


def test_submission_runs_no_git_prints_nothing_and_reads_no_source(
    local: Local, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("subprocess.check_output", lambda *_, **__: pytest.fail("the SDK started a program"))
    monkeypatch.setattr("inspect.stack", lambda *_, **__: pytest.fail("the SDK reads the source of its callers"))
    local.client.submit(job("quiet", "true"))
    local.finish("quiet")
    assert capfd.readouterr() == ("", "")
    put = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith("quiet"))
    assert put["body"]["properties"]["properties"] == {}


def test_a_long_curve_is_read_over_several_pages(local: Local) -> None:
    local.client.submit(job("long-curve", "true"))
    for step in range(2500):
        local.emulator.store.add_metric("long-curve", "train_loss", step / 10, step, 1_700_000_000_000 + step)
    points = local.client.metric_history("long-curve", "train_loss")
    assert [point.step for point in points] == list(range(2500))


def test_the_curve_of_an_unknown_job_is_empty(local: Local) -> None:
    assert local.client.metric_history("never-submitted", "train_loss") == []
