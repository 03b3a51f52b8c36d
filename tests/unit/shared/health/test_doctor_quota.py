"""Cores asked for against cores granted, through the SDK's own calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local_stack.azure_ml.config import EmulatorConfig, Machine
from shared.api.models import Check, CheckStatus
from shared.clients.azure_ml.wire import core_quota
from shared.domain.catalog import find_sku
from shared.domain.endpoint import ServedDeployment, ServingCosts
from shared.domain.jobs import CoreQuota
from shared.health.doctor import quota_checks
from shared.services import build_config
from shared.settings import Settings
from shared.steps.submit_training import endpoint_cores
from tests.azure_ml_emulator import running
from tests.unit.local_stack.azure_ml.support import client_of

OK, FIX, SKIPPED = CheckStatus.OK, CheckStatus.FIX, CheckStatus.SKIPPED
A100, H100, T4, CPU = (
    "Standard_NC24ads_A100_v4",
    "Standard_NC40ads_H100_v5",
    "Standard_NC4as_T4_v3",
    "Standard_E4ds_v4",
)
REGION = {
    CPU: Machine("standardEDSv4Family", 4),
    A100: Machine("standardNCADSA100v4Family", 24, gpus=1),
    "Standard_NC48ads_A100_v4": Machine("standardNCADSA100v4Family", 48, gpus=2),
    H100: Machine("standardNCadsH100v5Family", 40, gpus=1),
    T4: Machine("standardNCASv3_T4Family", 4, gpus=1),
}

Ask = Callable[..., dict[str, Check]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """The checks for Phi-4 in a region with these machines."""
    with ExitStack() as opened:

        def request(
            machines: dict[str, Machine], base_model: str = "microsoft/Phi-4", costs: Iterable[ServingCosts] = ()
        ) -> dict[str, Check]:
            config = EmulatorConfig(tmp_path / "azure_ml", tmp_path / "blobs", 0, machines=machines)
            emulator = opened.enter_context(running(config, lambda event: None))
            client = client_of(emulator.config.port, emulator.config.secret)
            opened.callback(client.close)
            checks = list(quota_checks(build_config(Settings(default_base_model=base_model)), client, costs))
            assert all(bool(check.fix) == (check.status is FIX) for check in checks)
            return {check.name.removeprefix("quota "): check for check in checks}

        yield request


def with_limits(**limits: int) -> dict[str, Machine]:
    """The region with the limit of each family that ends in the word."""
    return {
        name: replace(machine, limit=limit)
        for name, machine in REGION.items()
        for word, limit in limits.items()
        if word in machine.family
    }


def test_enough_cores_for_the_defaults_are_ok_and_said(ask: Ask) -> None:
    checks = ask(with_limits(EDS=4, A100=72, H100=0, T4=0))
    assert (checks[CPU].status, checks[CPU].detail) == (OK, "free 4 dedicated, 4 spot; a CPU job takes 4 dedicated")
    assert checks[A100].status is OK
    assert checks[A100].detail == (
        "free 72 dedicated, 72 spot; training takes 24 spot, an endpoint takes 24 dedicated, "
        "an update with the previous model kept takes 72 dedicated"
    )


@pytest.mark.parametrize(("limit", "used", "status"), [(72, 48, OK), (72, 0, OK), (71, 0, FIX), (72, 49, FIX)])
def test_an_update_takes_the_cores_of_three_deployments_of_which_some_may_be_in_use(
    ask: Ask, limit: int, used: int, status: CheckStatus
) -> None:
    region = with_limits(EDS=4, A100=limit, H100=0, T4=0)
    checks = ask({name: replace(machine, used=used if "A100" in name else 0) for name, machine in region.items()})
    assert checks[A100].status is status


def test_a_new_subscription_has_none_and_is_told_what_to_ask_for(ask: Ask) -> None:
    checks = ask(with_limits(EDS=4, A100=0, H100=0, T4=0))
    assert checks[A100].status is FIX
    assert checks[A100].fix == (
        "ask for quota of standardNCADSA100v4Family: 24 spot cores for training, "
        "24 dedicated cores for an endpoint, 72 dedicated cores for an update with the previous model kept"
    )
    for name in (H100, T4, "Standard_NC48ads_A100_v4"):
        assert checks[name].status is SKIPPED
        assert checks[name].detail.endswith("only a recipe that names it needs it")


def test_cores_in_use_are_not_free(ask: Ask) -> None:
    busy = {name: replace(machine, used=2) for name, machine in with_limits(EDS=4, A100=25, H100=0, T4=0).items()}
    checks = ask(busy)
    assert checks[CPU].fix == "ask for quota of standardEDSv4Family: 4 dedicated cores for a CPU job"
    assert checks[A100].status is FIX


def test_an_endpoint_takes_a_fifth_more_and_some_sizes_are_exempt(ask: Ask) -> None:
    checks = ask(with_limits(EDS=4, A100=72, H100=120, T4=4))
    assert (checks[H100].status, checks[T4].status) == (OK, SKIPPED)
    assert "an endpoint takes 8 dedicated" in checks[T4].detail
    assert [endpoint_cores(find_sku(name), 4) for name in (T4, A100, H100, "Standard_ND96isr_H100_v5")] == [8, 4, 4, 4]
    assert [endpoint_cores(find_sku(T4), 4, instances) for instances in (2, 5, 6)] == [12, 24, 32]
    assert endpoint_cores(find_sku(A100), 24, 3) == 72


@pytest.mark.parametrize(
    ("size", "most", "limit", "used", "status"),
    [
        (A100, None, 96, 48, OK),  # two machines now, two for the next model
        (A100, None, 95, 48, FIX),
        (A100, 4, 144, 48, OK),
        (A100, 4, 143, 48, FIX),
        (H100, 3, 160, 40, OK),
        (H100, 3, 159, 40, FIX),
    ],
)
def test_an_update_takes_the_most_machines_of_what_is_deployed_beside_it(
    ask: Ask, size: str, most: int | None, limit: int, used: int, status: CheckStatus
) -> None:
    family = REGION[size].family
    region = with_limits(EDS=4, A100=96, H100=0, T4=0) | {
        name: replace(machine, limit=limit, used=used) for name, machine in REGION.items() if machine.family == family
    }
    since = datetime(2026, 11, 30, tzinfo=UTC)
    counts: Any = {"instances": 2 if size == A100 else 1, "max_instances": most, "usd_per_hour": 1.0}
    shop = ServedDeployment(deployment="d-1", run="run-1", instance_type=size, since=since, **counts)
    check = ask(region, costs=[ServingCosts(endpoint="shop", running=(shop,))])[size]
    needed = (most or 2) * REGION[size].cores
    assert f"an update of shop takes {needed} dedicated" in check.detail
    assert check.status is status
    assert (f"{needed} dedicated cores for an update of shop" in check.fix) is (status is FIX)


def test_a_size_the_region_does_not_offer_is_a_fault_of_the_defaults_only(ask: Ask) -> None:
    checks = ask({CPU: REGION[CPU]})
    assert (checks[A100].status, checks[A100].detail) == (FIX, "the region does not offer it")
    assert (checks[H100].status, checks[H100].detail) == (SKIPPED, "the region does not offer it")


def test_a_laptop_has_what_its_own_base_model_needs(ask: Ask) -> None:
    config = EmulatorConfig(Path(), Path(), 0)
    checks = ask(dict(config.machines), "droptune/tiny-llama")
    assert (checks["Local_CPU"].status, checks[CPU].status) == (OK, OK)
    assert {check.status for name, check in checks.items() if name not in ("Local_CPU", CPU)} == {SKIPPED}


def usage(type: str, name: str, used: int, limit: int, id: str = "/subscriptions/s/usages") -> dict[str, Any]:
    """As an item of the answer is."""
    type = f"Microsoft.MachineLearningServices/{type}/usages"
    name_of = {"value": name, "localizedValue": name}
    return {"id": id, "type": type, "name": name_of, "currentValue": used, "limit": limit, "unit": "Count"}


@pytest.mark.parametrize(
    ("item", "quota"),
    [
        # The sample answer of the REST reference, Usages - List.
        (usage("totalCores", "Clusters", 7, 100), None),
        (
            usage("dedicatedCores", "Total Cluster Dedicated Regional vCPUs", 14, 24),
            CoreQuota(family=None, spot=False, used=14, limit=24),
        ),
        (
            usage("vmFamily/dedicatedCores", "Standard D Family Cluster Dedicated vCPUs", 14, 24),
            CoreQuota(family="standarddfamily", spot=False, used=14, limit=24),
        ),
        # As scripts that were run against the service have it.
        (
            usage("lowPriorityCores", "TotalLowPriorityCores", 0, 24),
            CoreQuota(family=None, spot=True, used=0, limit=24),
        ),
        (
            usage("vmFamily/lowPriorityCores", "standardNCADSA100v4Family", 0, -1),
            CoreQuota(family="standardncadsa100v4family", spot=True, used=0, limit=None),
        ),
        (usage("vmFamily/dedicatedCores", "x", 1, 2, id="/subscriptions/s/resourceGroups/r/workspaces/w/usages"), None),
    ],
)
def test_what_the_service_lists_is_read_by_its_type(item: Any, quota: CoreQuota | None) -> None:
    assert core_quota(item) == quota


def test_spot_cores_without_a_limit_of_the_family_end_at_the_total() -> None:
    size = SimpleNamespace(name=A100, family="standardNCADSA100v4Family", cores=24)
    quotas = [
        CoreQuota(family=None, spot=True, used=4, limit=24),
        CoreQuota(family="standardncadsa100v4family", spot=True, used=0, limit=None),
    ]
    launcher: Any = SimpleNamespace(machine_sizes=lambda: [size], core_quotas=lambda: quotas)
    checks = {
        check.name: check
        for check in quota_checks(build_config(Settings(default_base_model="microsoft/Phi-4")), launcher)
    }
    assert checks[f"quota {A100}"].detail.startswith("free 0 dedicated, 20 spot;")
