"""Command jobs through the real SDK against the emulator."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.azure_ml.image import variables_of
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.jobs import JobStatus
from shared.domain.recipe import Tier
from tests.paths import ROOT
from tests.unit.local_stack.azure_ml.support import Local, eventually, finished, job, started

COPY = (
    'python -c \'import sys; open(sys.argv[2] + "/out", "w").write(open(sys.argv[1]).read())\''
    " ${{inputs.recipe}} ${{outputs.model}}"
)


def test_a_job_reads_its_inputs_and_leaves_its_outputs_in_the_datastore(local: Local) -> None:
    assert local.client.submit(job("copies", COPY)).status is JobStatus.QUEUED
    view = local.finish("copies")
    assert view.status is JobStatus.COMPLETED
    assert view.error_code is None
    assert (local.blobs / "runs/copies/model/out").read_text() == '{"a": 1}'
    assert view.studio_url is not None
    assert view.studio_url.startswith("https://ml.azure.com/runs/copies")


def test_a_job_passes_through_the_states_of_azure_ml_in_order(local: Local) -> None:
    local.client.submit(job("in-order", "true"))
    local.finish("in-order")
    stored = next(item for item in local.emulator.store.all("job") if item["name"] == "in-order")
    assert [step["status"] for step in stored["history"]] == [
        "NotStarted", "Queued", "Preparing", "Running", "Finalizing", "Completed",
    ]  # fmt: skip


def test_a_job_finds_the_environment_variables_azure_ml_sets(local: Local) -> None:
    local.client.submit(job("variables", "env | sort > ${{outputs.model}}/env; pwd"))
    local.finish("variables")
    found = dict(
        line.split("=", 1)
        for line in (local.blobs / "runs/variables/model/env").read_text().splitlines()
        if "=" in line
    )
    assert found["AZUREML_RUN_ID"] == found["MLFLOW_RUN_ID"] == "variables"
    assert found["MLFLOW_EXPERIMENT_NAME"] == "droptune"
    assert found["MLFLOW_TRACKING_URI"].startswith(f"{local.url}/mlflow/v2.0/subscriptions/local/")
    assert (found["HF_HUB_OFFLINE"], found["MLFLOW_DISABLE_TELEMETRY"]) == ("1", "true")
    assert found["AZURE_ML_INPUT_data"].endswith("curated/p/1")
    assert found["AZURE_ML_OUTPUT_model"].endswith("runs/variables/model")
    log = local.emulator.config.root / "jobs/variables/user_logs/std_log.txt"
    assert log.read_text().strip().endswith("jobs/variables/wd")


def test_a_job_finds_our_code_because_the_training_image_says_where_it_is(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    local.client.submit(job("path", "echo $PYTHONPATH > ${{outputs.model}}/path"))
    local.finish("path")
    assert (local.blobs / "runs/path/model/path").read_text().strip() == str(ROOT)


def test_without_the_image_s_word_a_job_has_no_path_to_our_code(tmp_path: Path) -> None:
    silent = tmp_path / "Dockerfile"
    silent.write_text("WORKDIR /app\nENV A=1 \\\n  PATH=/opt/venv/bin:$PATH\n")
    assert variables_of(silent) == {"A": "1"}


def test_the_same_job_again_is_the_same_job_and_nothing_runs_twice(local: Local) -> None:
    spec = job("replayed", "echo once >> ${{outputs.model}}/runs")
    local.client.submit(spec)
    local.finish("replayed")
    assert local.client.submit(spec).status is JobStatus.COMPLETED
    assert (local.blobs / "runs/replayed/model/runs").read_text() == "once\n"
    puts = [item for item in local.emulator.requests if item["path"].endswith("jobs/replayed")]
    assert [item["method"] for item in puts].count("PUT") == 1


def test_the_service_too_takes_the_same_body_again_without_running_it(local: Local) -> None:
    local.client.submit(job("twice", "echo once >> ${{outputs.model}}/runs"))
    local.finish("twice")
    body = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith("twice"))
    answer = local.arm("PUT", "jobs/twice", body["body"])
    assert (answer.status_code, answer.json()["properties"]["status"]) == (200, "Completed")
    assert (local.blobs / "runs/twice/model/runs").read_text() == "once\n"


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


def test_the_service_too_refuses_a_changed_field_and_takes_a_changed_tag(local: Local) -> None:
    local.client.submit(job("frozen", "true"))
    put = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith("frozen"))
    body = json.loads(json.dumps(put["body"]))
    body["properties"]["command"] = "false"
    answer = local.arm("PUT", "jobs/frozen", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UserError")
    assert "'command' is immutable" in answer.json()["error"]["message"]
    body["properties"] |= {"command": "true", "tags": {"project": "q"}}
    assert local.arm("PUT", "jobs/frozen", body).json()["properties"]["tags"] == {"project": "q"}


def test_a_failed_job_says_why(local: Local) -> None:
    local.client.submit(job("fails", "python -c 'raise SystemExit(3)'"))
    view = local.finish("fails")
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message == "Execution failed. User process exited with status code 3."


def test_a_missing_input_fails_the_job_and_is_named(local: Local) -> None:
    missing = {"data": "azureml://datastores/curated/paths/nothing/"}
    local.client.submit(job("no-input", "ls ${{inputs.data}}", inputs=missing))
    view = local.finish("no-input")
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message is not None
    assert "input 'data' was not found" in view.error_message


def test_a_path_in_a_command_is_one_word_whatever_it_contains(local: Local) -> None:
    outputs = {"model": "azureml://datastores/runs/paths/it's; touch pwned/"}
    local.client.submit(job("quoted", "touch ${{outputs.model}}/done", outputs=outputs))
    assert local.finish("quoted").status is JobStatus.COMPLETED
    assert (local.blobs / "runs/it's; touch pwned/done").exists()


def test_a_queued_job_can_be_cancelled(local: Local) -> None:
    for name in ("long-1", "long-2"):
        local.client.submit(job(name, "sleep 60"))
    local.client.submit(job("waits", "true"))
    started(local.client, "long-1")
    local.client.begin_cancel("waits")
    assert local.finish("waits").status is JobStatus.CANCELLED
    for name in ("long-1", "long-2"):
        local.client.begin_cancel(name)
    assert {local.finish(name).status for name in ("long-1", "long-2")} == {JobStatus.CANCELLED}


def test_a_running_job_is_asked_to_stop_before_it_is_killed(local: Local) -> None:
    script = "trap 'echo asked > ${{outputs.model}}/asked; exit 0' TERM; echo > ${{outputs.model}}/up; sleep 60 & wait"
    local.client.submit(job("stops", script))
    eventually((local.blobs / "runs/stops/model/up").exists)
    local.client.begin_cancel("stops")
    assert local.finish("stops").status is JobStatus.CANCELLED
    assert (local.blobs / "runs/stops/model/asked").read_text() == "asked\n"
    stored = next(item for item in local.emulator.store.all("job") if item["name"] == "stops")
    assert [step["status"] for step in stored["history"]][-2:] == ["CancelRequested", "Canceled"]


def test_a_job_that_ignores_the_request_is_killed(local: Local) -> None:
    local.client.submit(job("stubborn", "trap '' TERM; echo > ${{outputs.model}}/up; while :; do sleep 0.1; done"))
    eventually((local.blobs / "runs/stubborn/model/up").exists)
    local.client.begin_cancel("stubborn")
    assert local.finish("stubborn").status is JobStatus.CANCELLED


def test_a_job_over_its_time_limit_is_cancelled_by_the_service(local: Local) -> None:
    local.client.submit(job("too-long", "sleep 60", timeout_s=1))
    assert local.finish("too-long").status is JobStatus.CANCELLED


def test_cancelling_a_finished_or_unknown_job_is_fine(local: Local) -> None:
    local.client.submit(job("done", "true"))
    local.finish("done")
    local.client.begin_cancel("done")
    local.client.begin_cancel("never-submitted")
    assert finished(local.client, "done").status is JobStatus.COMPLETED


def test_an_unknown_job_is_none(local: Local) -> None:
    assert local.client.get_job("never-submitted") is None


@pytest.mark.parametrize(
    ("kind", "code"),
    [("quota", "OutOfQuota"), ("capacity", "AllocationFailed"), ("job_failure", "UserError")],
)
def test_a_fault_can_be_ordered_for_the_next_job(local: Local, kind: str, code: str) -> None:
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": kind}, headers=local.token, verify=False)
    local.client.submit(job(f"fault-{kind}".replace("_", "-"), "true"))
    view = local.finish(f"fault-{kind}".replace("_", "-"))
    assert (view.status, view.error_code) == (JobStatus.FAILED, code)


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
