"""What the emulator refuses, tells and measures."""

from __future__ import annotations

import json
import logging
import re

import httpx
import pytest

from local_stack.azure_ml.strict import ArmError, check_keys, local_path
from shared.domain.errors import InvalidInput
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually, job

LOG_METRICS = """
python -c '
from mlflow.tracking import MlflowClient
import os
client, run = MlflowClient(), os.environ["MLFLOW_RUN_ID"]
for step in range(3):
    client.log_metric(run, "train_loss", 1.0 / (step + 1), step=step)
client.log_param(run, "seed", 42)
client.set_tag(run, "phase", "train")
client.log_batch(run, params=[], tags=[])
print(client.get_run(run).data.params, client.get_run(run).info.status)
'
"""


def test_an_unknown_route_is_501_and_said_loudly(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert local.arm("GET", "computes/gpu").status_code == 501
        assert local.arm("DELETE", "jobs/anything").status_code == 501
    assert f"NOT EMULATED: GET {ARM_WORKSPACE}/computes/gpu" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("jobs/keys", {"properties": {"jobType": "Command", "priority": 1}}, "job.properties.priority"),
        (
            "jobs/keys",
            {"properties": {"inputs": {"data": {"url": "x"}}}},
            "job.properties.inputs.data.url",
        ),
        ("models/m/versions/1", {"properties": {"path": "x"}}, "model.properties.path"),
        ("onlineEndpoints/keys", {"properties": {"auth_mode": "key"}}, "endpoint.properties.auth_mode"),
        ("onlineEndpoints/keys/deployments/blue", {"skus": {}}, "deployment.skus"),
    ],
)
def test_an_unknown_key_in_a_body_is_refused_and_named(
    local: Local, path: str, body: dict[str, object], field: str
) -> None:
    answer = local.arm("PUT", path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UserError")
    assert f"'{field}'" in answer.json()["error"]["message"]


def test_a_body_that_is_no_object_is_refused(local: Local) -> None:
    assert local.arm("PUT", "jobs/list", [1]).status_code == 400


def test_a_uri_cannot_leave_its_datastore(local: Local) -> None:
    outputs = {"model": "azureml://datastores/runs/paths/../../elsewhere/"}
    with pytest.raises(Exception, match="leaves its datastore"):
        local.client.submit(job("escapes", "true", outputs=outputs))


def test_long_and_short_uris_and_registry_models_are_the_same_folders(local: Local) -> None:
    long = f"azureml:/{ARM_WORKSPACE}/datastores/curated/paths/p/1/".replace(
        "providers/Microsoft.MachineLearningServices/", ""
    )
    assert local_path(long, local.blobs) == local_path("azureml://datastores/curated/paths/p/1/", local.blobs)
    registry = local_path("azureml://registries/azureml/models/Phi-4/versions/8", local.blobs)
    assert registry == local.blobs / "registries/azureml/models/Phi-4/versions/8"
    with pytest.raises(ArmError, match="neither a datastore path nor a registry model"):
        local_path("https://example.com/x", local.blobs)


def test_a_token_goes_to_no_foreign_host(local: Local) -> None:
    with pytest.raises(InvalidInput) as refused:
        local.client.session.workspace.reachable("https://example.com/steal")
    assert refused.value.problem.code == "untrusted_host"


def test_metrics_logged_by_mlflow_are_read_back_in_order(local: Local) -> None:
    local.client.submit(job("logs-metrics", LOG_METRICS))
    assert local.finish("logs-metrics").error_message is None
    points = local.client.metric_history("logs-metrics", "train_loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert points[0].at > 1_600_000_000_000
    log = local.emulator.config.root / "jobs/logs-metrics/user_logs/std_log.txt"
    assert log.read_text() == "{'seed': '42'} RUNNING\n"
    assert local.client.metric_history("logs-metrics", "eval_loss") == []


def test_a_long_curve_is_read_over_several_pages(local: Local) -> None:
    local.client.submit(job("long-curve", "true"))
    for step in range(2500):
        local.emulator.store.add_metric("long-curve", "train_loss", step / 10, step, 1_700_000_000_000 + step)
    points = local.client.metric_history("long-curve", "train_loss")
    assert [point.step for point in points] == list(range(2500))


def test_the_curve_of_an_unknown_job_is_empty(local: Local) -> None:
    assert local.client.metric_history("never-submitted", "train_loss") == []


def test_every_change_of_a_job_is_an_event_of_event_grid(local: Local) -> None:
    local.client.submit(job("tells", "true"))
    local.finish("tells")
    mine = eventually(
        lambda: (
            (found := [e for e in local.events if e["data"].get("runId") == "tells"])
            and found[-1]["data"]["runStatus"] == "Completed"
            and found
        )
    )
    assert mine
    names = [event["type"].removeprefix("Microsoft.MachineLearningServices.") for event in mine]
    assert names == ["RunStatusChanged"] * 5 + ["RunCompleted", "RunStatusChanged"]
    states = [event["data"].get("runStatus") for event in mine]
    assert states == ["NotStarted", "Queued", "Preparing", "Running", "Finalizing", None, "Completed"]
    event = mine[5]
    assert set(event) == {"specversion", "id", "source", "type", "subject", "time", "data"}
    assert (event["specversion"], event["source"]) == ("1.0", ARM_WORKSPACE)
    assert re.fullmatch(r"experiments/[0-9a-f-]{36}/runs/tells", event["subject"])
    assert event["data"]["runTags"] == {"project": "p"}
    assert event["data"]["experimentName"] == "droptune"
    assert len({event["id"] for event in mine}) == 7


def test_registering_a_model_is_an_event_once(local: Local) -> None:
    body = {"properties": {"modelUri": "azureml://datastores/models/paths/champion/"}}
    for _ in range(2):
        local.arm("PUT", "models/announced/versions/3", body)
    mine = eventually(lambda: [e for e in local.events if e["data"].get("ModelName") == "announced"])
    assert [(event["subject"], event["data"]["ModelVersion"]) for event in mine] == [("models/announced:3", "3")]


def test_events_can_be_lost_on_purpose(local: Local) -> None:
    eventually(lambda: local.emulator.store.next_event() is None)
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": "drop_events", "count": 6}, headers=local.token)
    local.client.submit(job("no-event", "true"))
    local.finish("no-event")
    eventually(lambda: local.emulator.store.next_event() is None)
    mine = [e for e in local.events if e["data"].get("runId") == "no-event"]
    assert [event["data"].get("runStatus") for event in mine] == ["Completed"]


def test_an_event_that_is_not_accepted_is_sent_again(local: Local) -> None:
    local.refusals.append(RuntimeError("the bus is down"))
    local.client.submit(job("persists", "true"))
    local.finish("persists")
    mine = eventually(lambda: [e for e in local.events if e["data"].get("runId") == "persists"])
    assert (mine[0]["data"]["runStatus"], local.refusals) == ("NotStarted", [])


def test_the_own_api_lists_jobs_with_their_times_and_the_requests_seen(local: Local) -> None:
    local.client.submit(job("ledger", "true"))
    local.finish("ledger")
    jobs = httpx.get(f"{local.url}/_emulator/jobs", headers=local.token).json()["jobs"]
    mine = next(item for item in jobs if item["name"] == "ledger")
    times = [step["at"] for step in mine["history"]]
    assert times == sorted(times)
    requests = httpx.get(f"{local.url}/_emulator/requests", headers=local.token).json()["requests"]
    put = next(item for item in requests if item["method"] == "PUT" and item["path"].endswith("jobs/ledger"))
    assert put["api_version"] == "2025-01-01-preview"
    assert (
        httpx.post(f"{local.url}/_emulator/faults", json={"kind": "earthquake"}, headers=local.token).status_code == 400
    )


def test_free_form_fields_take_any_key() -> None:
    # must not raise
    check_keys("job", json.loads('{"properties": {"tags": {"any": "thing"}, "inputs": {"x": {"uri": "y"}}}}'))
