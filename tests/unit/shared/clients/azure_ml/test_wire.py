"""States, URIs and inputs in the words of Azure ML."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import TypeAdapter

from shared.clients.azure_ml.connection import Workspace
from shared.clients.azure_ml.wire import deployment_body, input_type, short_uri, status_of, with_traffic
from shared.domain.catalog import CATALOG, BaseModelEntry
from shared.domain.jobs import JobStatus
from shared.domain.run import Status
from shared.pipeline import DEADLINES
from tests.unit.local_stack.azure_ml.support import deployment


@pytest.mark.parametrize(
    ("names", "status"),
    [
        (("NotStarted", "Queued", "Starting", "Provisioning", "Preparing"), JobStatus.QUEUED),
        (("Running", "Finalizing", "NotResponding", "Paused"), JobStatus.RUNNING),
        (("CancelRequested",), JobStatus.CANCELLING),
        (("Completed", "completed"), JobStatus.COMPLETED),
        (("Failed",), JobStatus.FAILED),
        (("Canceled",), JobStatus.CANCELLED),
    ],
)
def test_the_states_of_azure_ml_are_merged(names: tuple[str, ...], status: JobStatus) -> None:
    assert {status_of(name) for name in names} == {status}


@pytest.mark.parametrize("name", ["Unknown", "Teleporting", None])
def test_a_state_not_known_counts_as_running_and_is_logged(name: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert status_of(name) is JobStatus.RUNNING
    assert "treated as running" in caplog.text


def test_long_and_short_forms_of_a_uri_are_equal() -> None:
    short = "azureml://datastores/runs/paths/r/model/"
    long = f"azureml://subscriptions/S/resourcegroups/R/workspaces/W/{short.removeprefix('azureml://')}"
    assert short_uri(long) == short_uri(short) == short.rstrip("/")


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("azureml://datastores/curated/paths/p/recipe.json", "uri_file"),
        ("azureml://datastores/curated/paths/p/recipe.json/", "uri_folder"),
        ("azureml://datastores/models/paths/Llama-3.1-8B", "uri_folder"),
        ("azureml://registries/azureml-meta/models/Llama-3.1-8B/versions/4", "mlflow_model"),
    ],
)
def test_the_kind_of_an_input_follows_from_its_uri(uri: str, kind: str) -> None:
    assert input_type(uri) == kind


@pytest.mark.parametrize("entry", [one for one in CATALOG.values() if one.architecture], ids=lambda one: str(one.id))
def test_no_probe_gives_up_on_a_server_that_still_reads_its_weights(entry: BaseModelEntry) -> None:
    """At the 100 MB/s of a small premium disk, and ten minutes to compile."""
    spec = deployment("shop", "d-1", "shop:1", weights_bytes=entry.parameters * 2)
    sent = deployment_body(spec, Workspace("s", "g", "w"), "westeurope")["properties"]
    starts_s = 600 + entry.parameters * 2 / 100e6
    liveness, readiness = (
        {name: iso_seconds(value) if name != "failureThreshold" else value for name, value in sent[probe].items()}
        for probe in ("livenessProbe", "readinessProbe")
    )
    assert starts_s <= liveness["initialDelay"] <= starts_s + 1
    patience_s = readiness["initialDelay"] + readiness["period"] * readiness["failureThreshold"]
    assert starts_s <= patience_s < DEADLINES[Status.DEPLOYING].total_seconds() / 2
    # A server that hangs is restarted within minutes; one that is busy has longer than Azure's 2 s to answer.
    assert (liveness["period"] * liveness["failureThreshold"], liveness["timeout"]) == (300, 10)


def iso_seconds(duration: str) -> float:
    return TypeAdapter(timedelta).validate_python(duration).total_seconds()


@pytest.mark.parametrize(
    ("identity", "kept"),
    [
        ({"type": "SystemAssigned", "principalId": "p", "tenantId": "t"}, {"type": "SystemAssigned"}),
        (
            {"type": "UserAssigned", "userAssignedIdentities": {"/id": {"principalId": "p", "clientId": "c"}}},
            {"type": "UserAssigned", "userAssignedIdentities": {"/id": {}}},
        ),
    ],
)
def test_an_endpoint_with_another_traffic_is_otherwise_the_same_but_for_what_only_the_service_writes(
    identity: dict[str, object], kept: dict[str, object]
) -> None:
    settings = {
        "authMode": "AADToken",
        "publicNetworkAccess": "Disabled",
        "properties": {"a": "b"},
        "mirrorTraffic": {},
    }
    written = {
        "provisioningState": "Succeeded",
        "scoringUri": "https://x",
        "traffic": {"blue": 100},
        "description": None,
    }
    known = {"id": "/x", "location": "here", "tags": {"project": "p"}, "systemData": {}, "identity": identity}
    assert with_traffic({**known, "properties": settings | written}, {"blue": 0, "green": 100}) == {
        "location": "here",
        "tags": {"project": "p"},
        "identity": kept,
        "properties": settings | {"traffic": {"blue": 0, "green": 100}},
    }
