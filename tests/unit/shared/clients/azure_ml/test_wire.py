"""States, URIs and inputs in the words of Azure ML."""

from __future__ import annotations

import pytest

from shared.clients.azure_ml.wire import input_type, managed_deployment, short_uri, status_of
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
    sent = managed_deployment(deployment("shop", "d-1", "shop:1", weights_bytes=entry.parameters * 2))
    starts_s = 600 + entry.parameters * 2 / 100e6
    liveness, readiness = sent.liveness_probe, sent.readiness_probe
    assert starts_s <= liveness.initial_delay <= starts_s + 1
    patience_s = readiness.initial_delay + readiness.period * readiness.failure_threshold
    assert starts_s <= patience_s < DEADLINES[Status.DEPLOYING].total_seconds() / 2
    # A server that hangs is restarted within minutes; one that is busy has longer than Azure's 2 s to answer.
    assert (liveness.period * liveness.failure_threshold, liveness.timeout) == (300, 10)
