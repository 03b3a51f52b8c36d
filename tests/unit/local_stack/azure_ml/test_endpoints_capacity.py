"""Machine sizes and core quotas of the emulator."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_stack.azure_ml.config import EmulatorConfig, Environment, Machine, load_environments
from local_stack.azure_ml.endpoints import sizes, usages
from local_stack.azure_ml.store import WorkspaceStore
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.jobs import DeploymentState
from tests.azure_ml_emulator import running
from tests.unit.local_stack.azure_ml.deployed import created, endpoint_with
from tests.unit.local_stack.azure_ml.support import ECHO, Local, client_of, deployment, eventually, job

MACHINES = {
    "small": Machine("one", 4, used=3, limit=10),
    "large": Machine("one", 16, gpus=2, memory_gb=64.0, used=3, limit=10),
    "other": Machine("two", 8, used=1, limit=20),
}
TOTALS = {"dedicatedCores": "Total Cluster Dedicated Regional vCPUs", "lowPriorityCores": "TotalLowPriorityCores"}


def test_sizes_are_those_of_the_table(tmp_path: Path) -> None:
    listed = sizes(EmulatorConfig(tmp_path, tmp_path, 0, machines=MACHINES))["value"]
    found = [(each["name"], each["family"], each["vCPUs"], each["gpus"], each["memoryGB"]) for each in listed]
    assert found == [("small", "one", 4, 0, 8.0), ("large", "one", 16, 2, 64.0), ("other", "two", 8, 0, 8.0)]


def test_cores_of_a_family_are_counted_once_however_many_sizes_it_has(tmp_path: Path) -> None:
    config = EmulatorConfig(tmp_path, tmp_path, 0, machines=MACHINES)
    listed = usages(config, WorkspaceStore(tmp_path / "ml.db"))["value"]
    found = {(each["type"].split("/", 1)[1], each["name"]["value"]): each for each in listed}
    for kind, total in TOTALS.items():
        of_all, of_one = found[f"{kind}/usages", total], found[f"vmFamily/{kind}/usages", "one"]
        assert (of_all["currentValue"], of_all["limit"]) == (4, 30)
        assert (of_one["currentValue"], of_one["limit"]) == (3, 10)
    assert len(listed) == 7


CORES = {"Standard_E4ds_v4": Machine("standardEDSv4Family", 4, used=3, limit=15)}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Local]:
    """A region with 12 free cores, and a name that others have."""
    blobs = tmp_path / "blobs"
    for model in ("champion", "candidate"):
        (blobs / "models" / model).mkdir(parents=True)
    environments = {**load_environments(None), "echo:1": Environment(serve=ECHO)}
    config = EmulatorConfig(
        tmp_path / "ml", blobs, 0, machines=CORES, environments=environments, names_of_others=frozenset({"taken"})
    )
    with running(config, lambda _: None) as emulator:
        client = client_of(emulator.config.port, emulator.config.secret)
        yield Local(emulator, client, blobs)
        client.close()


def used(local: Local, *, spot: bool = False) -> int:
    family = "standardedsv4family"
    [quota] = [one for one in local.client.core_quotas() if one.family == family and one.spot is spot]
    return quota.used


def test_a_deployment_beyond_the_quota_is_refused_and_made_once_another_is_deleted(small: Local) -> None:
    name = endpoint_with(small, "crowded")
    size = {"instance_type": "Standard_E4ds_v4"}
    assert used(small) == 3
    assert created(small, name, "blue", **size).state is DeploymentState.SUCCEEDED
    assert used(small) == 11, "a deployment of one machine takes two: one is kept for upgrades"
    with pytest.raises(PermanentFailure) as refused:
        small.client.begin_deployment(deployment(name, "green", "champion:1", **size))
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.QUOTA, "azure_ml_quota")
    assert "Current usage/limit: 11/15. Additional needed: 8 " in refused.value.problem.message
    assert small.client.get_deployment(name, "green") is None
    small.client.begin_delete_deployment(name, "blue")
    eventually(lambda: used(small) == 3)
    assert created(small, name, "green", **size).state is DeploymentState.SUCCEEDED
    assert used(small) == 11


def test_a_job_uses_cores_of_its_tier_while_it_has_its_machines(small: Local) -> None:
    small.client.submit(job("long", "sleep 600", instance_type="Standard_E4ds_v4", inputs={}))
    eventually(lambda: used(small, spot=True) == 7)
    assert used(small) == 3
    small.client.begin_cancel("long")
    small.finish("long")
    assert (used(small), used(small, spot=True)) == (3, 3)


def test_a_name_that_others_have_is_refused_and_dns_says_so_before(
    small: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PermanentFailure) as refused:
        small.client.begin_endpoint("taken", {})
    assert refused.value.problem.code == "endpoint_name_taken"
    assert refused.value.problem.param == "deployment.endpoint"
    assert small.client.get_endpoint("taken") is None
    assert small.client.begin_endpoint("free", {}) is False
    real, others = socket.getaddrinfo, small.emulator.config.names_of_others

    def look_up(host: str, port: int, *more: Any) -> list[Any]:
        """DNS of a region in which those names have their addresses."""
        name, _, domain = host.partition(".")
        if domain != "local.inference.ml.azure.com":
            return real(host, port, *more)
        if name not in others:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [()]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    session = small.client.session
    session.workspace_resource()
    monkeypatch.setattr(session, "workspace", replace(session.workspace, emulator=None))
    assert [small.client.is_name_taken(name) for name in ("taken", "free")] == [True, False]
