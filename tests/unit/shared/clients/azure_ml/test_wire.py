"""States, URIs and inputs in the words of Azure ML."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.clients.azure_ml.connection import Workspace
from shared.clients.azure_ml.wire import (
    deployment_body,
    input_type,
    job_body,
    job_differences,
    name_version,
    short_uri,
    status_of,
    with_traffic,
)
from shared.domain.catalog import CATALOG, BaseModelEntry
from shared.domain.jobs import JobStatus
from shared.domain.recipe import Tier
from shared.domain.run import Status
from shared.pipeline import DEADLINES
from tests.unit.local_stack.azure_ml.support import deployment, job


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
        (
            {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/id": {"clientId": "c"}}},
            {"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": {"/id": {}}},
        ),
        (None, {"type": "SystemAssigned"}),
    ],
)
def test_an_endpoint_with_another_traffic_is_otherwise_the_same_but_for_what_only_the_service_writes(
    identity: dict[str, object] | None, kept: dict[str, object]
) -> None:
    settings = {
        "authMode": "AADToken",
        "description": "of a person",
        "publicNetworkAccess": "Disabled",
        "properties": {"a": "b"},
        "mirrorTraffic": {},
    }
    written = {"provisioningState": "Succeeded", "scoringUri": "https://x", "traffic": {"blue": 100}}
    known = {"id": "/x", "location": "here", "tags": {"project": "p"}, "systemData": {}, "identity": identity}
    assert with_traffic({**known, "properties": settings | written}, {"blue": 0, "green": 100}) == {
        "location": "here",
        "tags": {"project": "p"},
        "identity": kept,
        "properties": settings | {"traffic": {"green": 100}},
    }
    nothing = with_traffic({"identity": identity, "properties": dict.fromkeys(settings)}, {})
    assert nothing == {"identity": kept, "properties": {"traffic": {}}}


HERE = Workspace("s", "g", "w")
URI = "datastores/curated/paths/p/1"


@pytest.mark.parametrize(
    ("where", "echoes"),
    [
        (("limits", "timeout"), ("PT600S", "P0DT0H10M0S", "PT10M0.000S", "00:10:00")),
        (("queueSettings", "jobTier"), ("spot", "SPOT")),
        (("resources", "instanceType"), ("STANDARD_NC24ADS_A100_V4",)),
        (("resources", "instanceCount"), (None, "1")),
        (("distribution",), (None, {}, {"distributionType": "PyTorch", "processCountPerInstance": None})),
        (("distribution",), ({"distributionType": "PyTorch", "processCountPerInstance": "1"},)),
        (("identity", "clientId"), ("A-1",)),
        (("identity", "identityType"), ("managed", None)),
        (("tags",), (None, {"added": "by a policy"})),
        (
            ("environmentId",),
            (
                "azureml:droptune-training:6",
                "droptune-training:6",
                f"azureml:{HERE.arm_id}/environments/droptune-training/versions/6",
                f"{HERE.arm_id.lower()}/environments/droptune-training/Versions/6",
                f"{HERE.arm_id.upper()}/ENVIRONMENTS/DROPTUNE-TRAINING/VERSIONS/6",
                "azureml://registries/r/environments/droptune-training/versions/6",
            ),
        ),
        (
            ("inputs", "data", "uri"),
            (f"azureml://{URI}", f"azureml://subscriptions/s/ResourceGroups/g/Workspaces/w/{URI}/"),
        ),
        (("outputs", "default"), ({"jobOutputType": "uri_folder", "uri": None},)),
    ],
)
def test_a_job_in_other_words_of_the_same_meaning_is_the_same_job(
    where: tuple[str, ...], echoes: tuple[Any, ...]
) -> None:
    spec = job("a", "true")
    sent = job_body(spec, HERE, "a-1")
    assert job_differences(spec, sent, "a-1") == ({}, {})
    for echo in echoes:
        assert job_differences(spec, echoed(sent, where, echo), "a-1") == ({}, {}), echo


def echoed(sent: Any, where: tuple[str, ...], echo: Any) -> Any:
    body = copy.deepcopy(sent)
    place = body["properties"]
    for name in where[:-1]:
        place = place[name]
    place[where[-1]] = echo
    return body


AWAY: tuple[Any, ...] = (None, {})


@pytest.mark.parametrize(
    ("field", "where", "silent", "others"),
    [
        ("tier", ("queueSettings",), (*AWAY, {"jobTier": "Null"}), ({"jobTier": "Standard"}, {"jobTier": "Premium"})),
        ("instance_type", ("resources", "instanceType"), (None, ""), ("Standard_ND96isr_H100_v5",)),
        ("instances", ("resources", "instanceCount"), (None, ""), (3, "3", 1)),
        ("processes", ("distribution",), (), (*AWAY, {"processCountPerInstance": "4"})),
        ("timeout_s", ("limits",), (*AWAY, {"jobLimitsType": "Command"}), ({"timeout": "PT601S"}, {"timeout": "P1D"})),
        ("timeout_s", ("limits", "timeout"), ("1.00:00:00", "soon"), ("PT5M",)),
        (
            "identity_client_id",
            ("identity",),
            (*AWAY, {"identityType": "Managed"}, {"identityType": "Managed", "resourceId": "/x"}),
            ({"clientId": "b"}, {"identityType": "UserIdentity"}, {"identityType": "AMLToken"}),
        ),
        ("inputs", ("inputs",), (*AWAY, {"data": None}, {"data": {"uri": None}}), ({"data": {"uri": "azureml://x"}},)),
        ("outputs", ("outputs",), (*AWAY, {"default": {"uri": "azureml://x"}}), ({"model": {"uri": "azureml://x"}},)),
        ("command", ("command",), (None, ""), ("false",)),
        ("environment", ("environmentId",), (None, ""), ("azureml:droptune-training:5", "azureml:x@latest")),
    ],
)
def test_what_an_answer_leaves_out_is_told_from_what_it_says_otherwise(
    field: str, where: tuple[str, ...], silent: tuple[Any, ...], others: tuple[Any, ...]
) -> None:
    spec = job("a", "true", instances=2, processes=2, tier=Tier.SPOT)
    sent = job_body(spec, HERE, "a-1")
    for echo in silent:
        found = job_differences(spec, echoed(sent, where, echo), "a-1")
        assert [list(fields) for fields in found] == [[], [field]], echo
    for echo in others:
        found = job_differences(spec, echoed(sent, where, echo), "a-1")
        assert [list(fields) for fields in found] == [[field], []], echo


@pytest.mark.parametrize(
    ("identity", "others"),
    [(None, []), ({"identityType": "AMLToken"}, []), ({"identityType": "Managed", "clientId": "b"}, ["b"])],
)
def test_a_job_without_an_identity_has_that_of_a_token(identity: Any, others: list[str]) -> None:
    spec = job("a", "true")
    sent = job_body(spec, HERE, None)
    found, _ = job_differences(spec, echoed(sent, ("identity",), identity), None)
    assert [text.split("'")[1] for text in found.values()] == others


def test_dedicated_machines_are_what_a_job_gets_that_names_no_tier() -> None:
    spec = job("a", "true", tier=Tier.DEDICATED)
    sent = job_body(spec, HERE, None)
    for echo in (None, {}, {"jobTier": None}, {"jobTier": "Null"}):
        assert job_differences(spec, echoed(sent, ("queueSettings",), echo), None) == ({}, {})
    assert list(job_differences(spec, echoed(sent, ("queueSettings", "jobTier"), "Spot"), None)[0]) == ["tier"]


@pytest.mark.parametrize(("timeout", "shown"), [("1.00:00:00", "'1.00:00:00'"), (None, "None"), ("P1D", "86400.0")])
def test_a_time_limit_that_is_not_the_one_sent_is_shown(timeout: str | None, shown: str) -> None:
    spec = job("a", "true")
    body = echoed(job_body(spec, HERE, None), ("limits", "timeout"), timeout)
    others, silent = job_differences(spec, body, None)
    assert (others | silent) == {"timeout_s": f"{shown}, not 600"}


@pytest.mark.parametrize(
    "reference", [None, "", "m", "m:1", "/a/b", "azureml:m:1", f"{HERE.arm_id}/models/m/versions/1"]
)
def test_any_reference_has_a_name(reference: str | None) -> None:
    assert name_version(reference) == ("m:1" if reference and reference[-1] == "1" else reference or "")
