"""Whether a model has a place to go: name and cores x what the platform lists."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import CoreQuota, EndpointView, MachineSize
from shared.domain.recipe import Tier
from shared.domain.run import Run
from shared.ports import Services
from shared.steps.submit_training import require_room
from tests.unit.shared.steps.platform import Platform

NAME = "Standard_NC24ads_A100_v4"
SIZE = MachineSize(name=NAME.lower(), family="standardNCADSA100v4Family", cores=24)
SERVING = EndpointView(name="shop", scoring_uri="http://x/", traffic={"a": 100}, deployments=("a", "b"))


def quota(used: int, limit: int | None, family: str | None = SIZE.family.lower(), *, spot: bool = False) -> CoreQuota:
    return CoreQuota(family=family, spot=spot, used=used, limit=limit)


@pytest.fixture
def run(prepared: Run) -> Run:
    return prepared.evolve(recipe=prepared.resolved.model_copy(update={"serving_instance_type": NAME}))


def looked_at(
    run: Run, services: Services, platform: Platform, view: EndpointView | None, *, trained: bool = True
) -> None:
    ports = replace(services, launcher=platform, models=platform)  # type: ignore[arg-type]
    require_room(run, ports, view, trained=trained)


@pytest.mark.parametrize(
    ("quotas", "missing"),
    [
        ((quota(48, 72),), None),
        ((quota(48, 71),), 1),
        ((quota(48, 48),), 24),
        ((quota(50, 48),), 24),
        ((quota(48, None),), None),
        ((quota(48, 100), quota(90, 100, None)), 14),
        ((quota(0, 0, spot=True), quota(48, 72)), None),
        ((quota(0, 0, "another"),), None),  # of the own one nothing is listed, or under another spelling
        ((), None),
    ],
)
def test_cores_that_are_missing_beside_the_other_deployments_are_counted(
    run: Run, services: Services, quotas: tuple[CoreQuota, ...], missing: int | None
) -> None:
    platform = Platform()
    platform.sizes, platform.quotas = (SIZE,), quotas
    if missing is None:
        looked_at(run, services, platform, SERVING)
        return
    with pytest.raises(PermanentFailure) as refused:
        looked_at(run, services, platform, SERVING)
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.QUOTA, "cores_missing")
    assert refused.value.problem.message == (
        f"24 dedicated cores of {SIZE.family} are needed beside 2 deployments at shop, {missing} are missing"
    )


@pytest.mark.parametrize(
    ("tier", "nodes", "quotas", "missing"),
    [
        ("dedicated", 1, (quota(24, 24),), None),  # in use: its job waits in the queue
        ("dedicated", 2, (quota(0, 47),), 1),
        ("dedicated", 1, (quota(0, 0), quota(0, 100, spot=True)), 24),
        ("spot", 1, (quota(0, 0), quota(0, 24, None, spot=True)), None),
        ("spot", 2, (quota(0, 48), quota(0, 24, None, spot=True)), 24),
        ("spot", 1, (quota(0, 48),), None),  # not listed
    ],
)
@pytest.mark.parametrize("trained", [False, True])
def test_a_quota_that_training_can_never_fit_into_is_said_before_its_job_waits_for_ever(
    run: Run,
    services: Services,
    tier: str,
    nodes: int,
    quotas: tuple[CoreQuota, ...],
    missing: int | None,
    trained: bool,
) -> None:
    requested = run.resolved.requested
    budget = requested.budget.model_copy(update={"tier": Tier(tier), "nodes": nodes})
    changes = {"requested": requested.model_copy(update={"budget": budget}), "training_instance_type": NAME}
    run = run.evolve(recipe=run.resolved.model_copy(update={**changes, "serving_instance_type": "another"}))
    platform = Platform()
    platform.sizes, platform.quotas = (SIZE,), quotas
    if missing is None or trained:
        looked_at(run, services, platform, None, trained=trained)
        return
    with pytest.raises(PermanentFailure, match=f"for training, {missing} are missing") as refused:
        looked_at(run, services, platform, None, trained=False)
    assert (refused.value.failure_class, refused.value.problem.param) == (FailureClass.QUOTA, "budget.instance_type")


@pytest.mark.parametrize("error", [Transient("a", "b"), PermanentFailure(FailureClass.PLATFORM, "denied", "no role")])
def test_what_may_not_be_read_stops_no_run(run: Run, services: Services, error: Exception) -> None:
    class Closed(Platform):
        def core_quotas(self) -> Any:
            raise error

    platform = Closed()
    looked_at(run, services, platform, SERVING)
    platform.sizes = (SIZE,)
    looked_at(run, services, platform, SERVING)


@pytest.mark.parametrize(("view", "taken"), [(None, True), (SERVING, False)])
def test_a_name_that_somebody_else_has_in_the_region_is_said_and_an_own_endpoint_is_none(
    run: Run, services: Services, view: EndpointView | None, taken: bool
) -> None:
    platform = Platform()
    platform.taken = ("shop",)
    with pytest.raises(PermanentFailure) if taken else nullcontext() as refused:
        looked_at(run, services, platform, view)
    if refused is not None:
        problem = refused.value.problem
        assert (problem.code, problem.param) == ("endpoint_name_taken", "deployment.endpoint")
        assert refused.value.failure_class is FailureClass.RECIPE


@pytest.mark.parametrize("machines", [{"instances": 2}, {"max_instances": 2}])
def test_cores_are_counted_for_all_machines_that_a_deployment_may_have(
    run: Run, services: Services, machines: dict[str, int]
) -> None:
    two = run.resolved.requested.deployment.model_copy(update=machines)
    requested = run.resolved.requested.model_copy(update={"deployment": two})
    run = run.evolve(recipe=run.resolved.model_copy(update={"requested": requested}))
    platform = Platform()
    platform.sizes, platform.quotas = (SIZE,), (quota(48, 95),)
    with pytest.raises(PermanentFailure, match=r"48 dedicated cores .* 1 are missing"):
        looked_at(run, services, platform, SERVING)
    platform.quotas = (quota(48, 96),)
    looked_at(run, services, platform, SERVING)
