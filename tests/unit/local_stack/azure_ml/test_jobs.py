"""Command jobs through the real SDK against the emulator."""

from __future__ import annotations

import json

import pytest

from shared.domain.jobs import JobStatus
from tests.unit.local_stack.azure_ml.support import Local, eventually, job, started

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


def test_the_service_too_takes_the_same_body_again_without_running_it(local: Local) -> None:
    local.client.submit(job("twice", "echo once >> ${{outputs.model}}/runs"))
    local.finish("twice")
    body = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith("twice"))
    answer = local.arm("PUT", "jobs/twice", body["body"])
    assert (answer.status_code, answer.json()["properties"]["status"]) == (200, "Completed")
    assert (local.blobs / "runs/twice/model/runs").read_text() == "once\n"


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


@pytest.mark.parametrize(
    ("name", "command"), [("symbolic", "ln -s /etc/passwd"), ("hard", "echo > x; ln x"), ("pipe", "mkfifo")]
)
def test_a_link_or_a_pipe_in_an_output_fails_the_job_as_no_mount_would_have_it(
    local: Local, name: str, command: str
) -> None:
    local.client.submit(job(f"leaves-{name}", f"cd ${{{{outputs.model}}}}; mkdir in; {command} in/it"))
    view = local.finish(f"leaves-{name}")
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message is not None
    assert "is a link or a pipe" in view.error_message


def test_a_missing_input_fails_the_job_and_is_named(local: Local) -> None:
    missing = {"data": "azureml://datastores/curated/paths/nothing/"}
    local.client.submit(job("no-input", "ls ${{inputs.data}}", inputs=missing))
    view = local.finish("no-input")
    assert (view.status, view.error_code) == (JobStatus.FAILED, "UserError")
    assert view.error_message is not None
    assert "input 'data' was not found" in view.error_message


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
